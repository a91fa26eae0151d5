import Wire

/// ProbeRTT, the round-trip time, and restarting from idle (draft-ietf-ccwg-bbr, "ProbeRTT Logic", "Restarting From Idle").
extension BBR {
  /// UpdateMinRTT(): the least RTT of 5 s schedules ProbeRTT, the least of 10 s is what the model uses.
  mutating func updateMinRTT() {
    probeRTTExpired = now > probeRTTMinStamp + Self.probeRTTInterval
    if let rtt = rs.rtt, rtt < probeRTTMinDelay || probeRTTExpired {
      probeRTTMinDelay = rtt
      probeRTTMinStamp = now
    }
    let isMinRTTExpired = now > minRTTStamp + Self.minRTTFilterLength
    if probeRTTMinDelay < minRTT || isMinRTTExpired {
      minRTT = probeRTTMinDelay
      minRTTStamp = probeRTTMinStamp
    }
  }

  mutating func checkProbeRTT() {
    if state != .probeRTT, probeRTTExpired, !idleRestart {
      // Before the state changes, or SaveCwnd() would take it for a window that ProbeRTT has cut.
      saveCwnd()
      state = .probeRTT
      probeRTTDoneStamp = nil
      ackPhase = .probeStopping
      startRound()
    }
    if state == .probeRTT { handleProbeRTT() }
    if rs.delivered > 0 { idleRestart = false }
  }

  /// HandleProbeRTT(). That its samples are low is marked by ``isSendingLessThanPathDelivers``.
  private mutating func handleProbeRTT() {
    if probeRTTDoneStamp != nil {
      if roundStart { probeRTTRoundDone = true }
      if probeRTTRoundDone { checkProbeRTTDone() }
    } else if Double(inFlight) <= probeRTTCwnd {
      probeRTTDoneStamp = now + Self.probeRTTDuration
      probeRTTRoundDone = false
      startRound()
    }
  }

  private mutating func checkProbeRTTDone() {
    guard let probeRTTDoneStamp, now > probeRTTDoneStamp else { return }
    probeRTTMinStamp = now
    restoreCwnd()
    exitProbeRTT()
  }

  private mutating func exitProbeRTT() {
    resetShortTermModel()
    probeRTTEnd = delivered + inFlight
    guard fullBwReached else {
      state = .startup
      return
    }
    startProbeDown()
    // What is in flight is below the BDP already.
    state = .probeCruise
  }

  var probeRTTCwnd: Double { max(bdpMultiple(bw, Self.probeRTTCwndGain), minPipeCwnd) }

  /// HandleRestartFromIdle(): nothing was in flight, because the application had nothing.
  mutating func handleRestartFromIdle() {
    idleRestart = true
    extraAckedIntervalStart = now
    if state.isProbeBW {
      setPacingRate(gain: 1)
    } else if state == .probeRTT {
      checkProbeRTTDone()
    }
  }
}
