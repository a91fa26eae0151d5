import Wire

/// Pacing rate, send quantum and window from the model (draft-ietf-ccwg-bbr, "Updating Control Parameters").
extension BBR {
  mutating func updateControlParameters(_ rtt: RTTEstimator) {
    if !hasSeenRTT, rs.rtt != nil {
      hasSeenRTT = true
      // InitPacingRate() again, with an RTT to go by.
      let seconds = max(rtt.smoothed.seconds, 1e-6)
      pacingBytesPerSecond = Self.startupPacingGain * Double(initialWindow) / seconds
    }
    setPacingRate(gain: state.pacingGain)
    setSendQuantum()
    setCwnd()
  }

  /// SetPacingRateWithGain(). Until the pipe has been full the rate only rises: low samples may be the application's.
  mutating func setPacingRate(gain: Double) {
    let rate = gain * bw * (1 - Self.pacingMargin)
    guard rate > 0 else { return }
    if fullBwReached || rate > pacingBytesPerSecond { pacingBytesPerSecond = rate }
  }

  private mutating func setSendQuantum() {
    quantum = max(min(pacingBytesPerSecond * Self.quantumTime.seconds, Self.largestQuantum), 2 * smss)
  }

  private mutating func setCwnd() {
    let maxInflight = maxInflight
    if fullBwReached {
      cwnd = min(cwnd + rs.newlyAcked, maxInflight)
    } else if !conservesPackets, cwnd < maxInflight || delivered < initialWindow {
      cwnd += rs.newlyAcked
    }
    cwnd = max(cwnd, minPipeCwnd)
    if state == .probeRTT { cwnd = min(cwnd, probeRTTCwnd) }
    boundCwndForModel()
  }

  /// BoundCwndForModel(): the column "Volume Cap" of the table.
  private mutating func boundCwndForModel() {
    var cap =
      switch state {
      case .startup: Double.infinity
      case .drain, .probeDown, .probeRefill, .probeUp: inflightLongterm
      case .probeCruise, .probeRTT: inflightWithHeadroom
      }
    cap = max(min(cap, inflightShortterm), minPipeCwnd)
    cwnd = min(cwnd, cap)
  }
}
