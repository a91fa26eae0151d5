import PacketCrypto
import Wire

/// What a connection writes to its qlog. Packets are written as they pass; of the state, what has changed since the
/// last call that fed the connection. Nothing here runs for a connection that keeps none.
extension Connection {
  /// Begins a trace, when the configuration asks for one.
  static func trace(
    _ configuration: Configuration, role: Role, originalDestinationID: ConnectionID, now: Instant
  ) -> QLogTrace? {
    guard let makeSink = configuration.qlog else { return nil }
    let subject = QLogSubject(role: role, originalDestinationID: originalDestinationID)
    return makeSink(subject).map { QLogTrace($0, subject: subject, now: now) }
  }

  mutating func logStart() {
    guard let qlog else { return }
    let path = active.path
    qlog.known.path = path
    qlog.event("connection_started", at: clock) {
      $0.endpoint("local", path.local)
      $0.endpoint("remote", path.remote)
    }
    logVersion()
    let parameters = ourTransportParameters()
    qlog.event("parameters_set", at: clock) {
      $0.member("initiator", "local")
      $0.write(parameters)
    }
    qlog.event("recovery_parameters_set", at: clock) {
      $0.member("reordering_threshold", LossRecovery.packetThreshold)
      // A multiple of the RTT, 9/8, and not a time: but the number is written alike.
      $0.member("time_threshold", Interval.microseconds(1_125))
      $0.member("timer_granularity", UInt64(RTTEstimator.granularity.milliseconds))
      $0.member("initial_rtt", RTTEstimator.defaultInitial)
      $0.member("persistent_congestion_threshold", UInt64(LossRecovery.persistentCongestionThreshold))
    }
    recovery.lostPackets = []
    streams.touched = []
    logChanges()
  }

  // MARK: Packets

  /// A packet about to be sealed.
  mutating func logSending(_ level: EncryptionLevel, _ start: PacketStart, _ writer: ByteWriter) {
    guard let qlog, !writer.overflowed, writer.count >= start.payloadOffset else { return }
    let payload = UnsafeRawBufferPointer(rebasing: writer.written[start.payloadOffset...])
    qlog.event("packet_sent", at: clock) {
      $0.packetHeader(level, start.packetNumber)
      $0.raw(length: writer.count - start.offset + PacketKey.tagLength, payload: payload.count)
      $0.frames(payload, level: level, delayExponent: 3)
    }
  }

  /// An authentic packet, before its frames are processed.
  mutating func logReceived(_ packet: OpenedPacket, length: Int) {
    guard let qlog else { return }
    let exponent = packet.level == .oneRTT ? peerTransportParameters?.ackDelayExponent ?? 3 : 3
    qlog.event("packet_received", at: clock) {
      $0.packetHeader(packet.level, packet.packetNumber)
      $0.raw(length: length, payload: packet.payload.count)
      $0.frames(UnsafeRawBufferPointer(packet.payload), level: packet.level, delayExponent: exponent)
    }
  }

  /// Packets that were dropped since this was last asked, each with why.
  mutating func logDrops(_ type: PacketType?, length: Int) {
    guard let qlog, counts.drops != qlog.known.drops else { return }
    let before = qlog.known.drops.byReason
    for (index, (reason, count)) in counts.drops.byReason.enumerated() where count != before[index].count {
      qlog.event("packet_dropped", at: clock) {
        if let type {
          $0.key("header")
          $0.beginObject()
          $0.member("packet_type", type.qlogName)
          $0.endObject()
        }
        if length > 0 { $0.raw(length: length) }
        $0.member("trigger", Self.dropTrigger(reason))
        $0.key("details")
        $0.beginObject()
        $0.member("reason", reason)
        $0.endObject()
      }
    }
    qlog.known.drops = counts.drops
  }

  /// The draft's word for a reason of ours.
  private static func dropTrigger(_ reason: String) -> String {
    switch reason {
    case "malformed": "invalid"
    case "noKeys": "key_unavailable"
    case "undecryptable": "decryption_failure"
    case "duplicate": "duplicate"
    case "mismatched", "unexpectedPath": "rejected"
    default: "general"
    }
  }

  // MARK: State

  /// After each call that feeds the connection: of its state, what has changed.
  mutating func logChanges() {
    guard let qlog else { return }
    logDrops(nil, length: 0)
    logVersion()
    logKeys(qlog)
    logState(qlog)
    logPath(qlog)
    if !qlog.known.hasParameters, let parameters = peerTransportParameters {
      qlog.known.hasParameters = true
      qlog.event("parameters_set", at: clock) {
        $0.member("initiator", "remote")
        $0.write(parameters)
      }
    }
    if !qlog.known.hasRestored, let parameters = rememberedParameters {
      qlog.known.hasRestored = true
      qlog.event("parameters_restored", at: clock) { $0.writeRestored(parameters) }
    }
    logSpin(qlog)
    logStreams(qlog)
    logRecovery(qlog)
  }

  private mutating func logPath(_ qlog: QLogTrace) {
    if qlog.known.path != active.path {
      qlog.known.path = active.path
      qlog.assignTuple(active.path, at: clock)
    }
    if let id = peerIDs.id(active.peerIDSequence), id != qlog.known.peerID {
      let old = qlog.known.peerID
      qlog.known.peerID = id
      qlog.event("connection_id_updated", at: clock) {
        $0.member("initiator", "remote")
        if let old { $0.member("old", old) }
        $0.member("new", id)
      }
    }
    if qlog.known.mtu != mtu.current {
      let old = qlog.known.mtu
      let new = mtu.current
      qlog.known.mtu = new
      qlog.event("mtu_updated", at: clock) {
        if old > 0 { $0.member("old", old) }
        $0.member("new", new)
      }
    }
  }

  private mutating func logKeys(_ qlog: QLogTrace) {
    for index in 0..<3 {
      let has = index == 2 ? oneRTT != nil : spaces[index].writeKeys != nil
      guard has != qlog.known.hasKeys[index] else { continue }
      qlog.known.hasKeys[index] = has
      let level = index == 0 ? "initial" : index == 1 ? "handshake" : "1rtt"
      for end in ["client", "server"] {
        qlog.event(has ? "key_updated" : "key_discarded", at: clock) {
          $0.member("key_type", "\(end)_\(level)_secret")
          if index == 2 { $0.member("key_phase", 0) }
          $0.member("trigger", "tls")
        }
      }
    }
    guard let oneRTT else { return }
    // A write key that is ahead was our doing; one that caught up followed the peer's.
    let isLocal = oneRTT.writeGeneration > oneRTT.readGeneration || qlog.known.writeGeneration == oneRTT.writeGeneration
    if qlog.known.writeGeneration != oneRTT.writeGeneration {
      qlog.known.writeGeneration = oneRTT.writeGeneration
      logUpdate(qlog, role, oneRTT.writeGeneration, isLocal: isLocal)
    }
    if qlog.known.readGeneration != oneRTT.readGeneration {
      qlog.known.readGeneration = oneRTT.readGeneration
      logUpdate(qlog, role.peer, oneRTT.readGeneration, isLocal: isLocal)
    }
  }

  private func logUpdate(_ qlog: QLogTrace, _ end: Role, _ generation: UInt64, isLocal: Bool) {
    qlog.event("key_updated", at: clock) {
      $0.member("key_type", end == .client ? "client_1rtt_secret" : "server_1rtt_secret")
      $0.member("key_phase", generation)
      $0.member("trigger", isLocal ? "local_update" : "remote_update")
    }
  }

  private mutating func logRecovery(_ qlog: QLogTrace) {
    for lost in recovery.lostPackets ?? [] {
      qlog.event("packet_lost", at: clock) {
        $0.packetHeader(
          lost.space == .initial ? .initial : lost.space == .handshake ? .handshake : .oneRTT, lost.number)
        if lost.isMTUProbe { $0.member("is_mtu_probe_packet", true) }
        $0.member("trigger", lost.isReordered ? "reordering_threshold" : "time_threshold")
      }
    }
    recovery.lostPackets?.removeAll(keepingCapacity: true)
    let metrics = QLogState.Metrics(
      minimum: recovery.rtt.minimum, smoothed: recovery.rtt.smoothed, latest: recovery.rtt.latest,
      variance: recovery.rtt.variance, probeTimeouts: recovery.probeTimeoutCount,
      window: recovery.controller.congestionWindow, inFlight: recovery.bytesInFlight)
    if metrics != qlog.known.metrics {
      let old = qlog.known.metrics
      let hasSample = recovery.rtt.hasSample
      qlog.known.metrics = metrics
      qlog.event("recovery_metrics_updated", at: clock) { $0.write(metrics, since: old, hasSample: hasSample) }
    }
    let congestion: StaticString =
      recovery.controller.isInSlowStart
      ? "slow_start" : recovery.controller.recoveryStart != nil ? "recovery" : "congestion_avoidance"
    if qlog.known.congestion?.description != congestion.description {
      let old = qlog.known.congestion
      qlog.known.congestion = congestion
      qlog.event("congestion_state_updated", at: clock) {
        if let old { $0.member("old", old.description) }
        $0.member("new", congestion.description)
      }
    }
    if recovery.ecn.state != .off, qlog.known.ecn != recovery.ecn.state {
      let old = qlog.known.ecn
      let new = recovery.ecn.state
      qlog.known.ecn = new
      qlog.event("ecn_state_updated", at: clock) {
        if let old { $0.member("old", "\(old)") }
        $0.member("new", "\(new)")
      }
    }
  }

  // MARK: What the application hears and moves

  mutating func logEvent(_ event: Event) {
    guard let qlog else { return }
    switch event {
    case .handshakeCompleted:
      if let name = tls.applicationProtocol {
        qlog.event("alpn_information", at: clock) {
          $0.key("chosen_alpn")
          $0.beginObject()
          $0.member("string_value", name)
          $0.endObject()
        }
      }
    case .closed(let reason):
      if case .versionMismatch(let offered) = reason { logVersionMismatch(qlog, offered) }
      qlog.event("connection_closed", at: clock) { $0.write(reason) }
      qlog.flush()
    default: break
    }
  }

  /// Stream data that went from the application to the transport, or the other way.
  func logMoved(_ stream: StreamID, _ count: Int, fromApplication: Bool, fin: Bool) {
    guard let qlog, count > 0 || fin else { return }
    qlog.event("stream_data_moved", at: clock) {
      $0.member("stream_id", stream.rawValue)
      $0.member("from", fromApplication ? "application" : "transport")
      $0.member("to", fromApplication ? "transport" : "application")
      if fin { $0.member("additional_info", "fin_set") }
      $0.raw(length: count)
    }
  }

  func logMoved(datagram count: Int, fromApplication: Bool) {
    guard let qlog else { return }
    qlog.event("datagram_data_moved", at: clock) {
      $0.member("from", fromApplication ? "application" : "transport")
      $0.member("to", fromApplication ? "transport" : "application")
      $0.raw(length: count)
    }
  }
}
