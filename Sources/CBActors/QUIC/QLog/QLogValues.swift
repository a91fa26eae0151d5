import Wire

/// The compound values of qlog events.
extension JSONText {
  mutating func packetHeader(_ level: EncryptionLevel, _ number: UInt64) {
    key("header")
    beginObject()
    member("packet_type", level.qlogName)
    member("packet_number", number)
    endObject()
  }

  /// The members of parameters_set. The stateless reset token is left out: who has it can end the connection.
  mutating func write(_ parameters: TransportParameters) {
    if let id = parameters.originalDestinationConnectionID { member("original_destination_connection_id", id) }
    if let id = parameters.initialSourceConnectionID { member("initial_source_connection_id", id) }
    if let id = parameters.retrySourceConnectionID { member("retry_source_connection_id", id) }
    member("ack_delay_exponent", parameters.ackDelayExponent)
    member("max_ack_delay", parameters.maxAckDelay)
    writeRestored(parameters)
  }

  /// The members of parameters_restored: what a client may go by before the server has spoken.
  mutating func writeRestored(_ parameters: TransportParameters) {
    member("disable_active_migration", parameters.disableActiveMigration)
    member("max_idle_timeout", parameters.maxIdleTimeout)
    member("max_udp_payload_size", parameters.maxUDPPayloadSize)
    member("active_connection_id_limit", parameters.activeConnectionIDLimit)
    member("initial_max_data", parameters.initialMaxData)
    member("initial_max_stream_data_bidi_local", parameters.initialMaxStreamDataBidiLocal)
    member("initial_max_stream_data_bidi_remote", parameters.initialMaxStreamDataBidiRemote)
    member("initial_max_stream_data_uni", parameters.initialMaxStreamDataUni)
    member("initial_max_streams_bidi", parameters.initialMaxStreamsBidi)
    member("initial_max_streams_uni", parameters.initialMaxStreamsUni)
    member("max_datagram_frame_size", parameters.maxDatagramFrameSize)
    member("grease_quic_bit", parameters.greaseQUICBit)
  }

  /// The members of recovery_metrics_updated that have changed.
  mutating func write(_ metrics: QLogState.Metrics, since old: QLogState.Metrics?, hasSample: Bool) {
    if hasSample {
      if old?.minimum != metrics.minimum { member("min_rtt", metrics.minimum) }
      if old?.latest != metrics.latest { member("latest_rtt", metrics.latest) }
    }
    if old?.smoothed != metrics.smoothed { member("smoothed_rtt", metrics.smoothed) }
    if old?.variance != metrics.variance { member("rtt_variance", metrics.variance) }
    if old?.probeTimeouts != metrics.probeTimeouts { member("pto_count", metrics.probeTimeouts) }
    if old?.window != metrics.window { member("congestion_window", metrics.window) }
    if old?.inFlight != metrics.inFlight { member("bytes_in_flight", metrics.inFlight) }
  }

  /// The members of connection_closed.
  mutating func write(_ reason: CloseReason) {
    switch reason {
    case .localTransport(let error), .peerTransport(let error):
      if case .localTransport = reason { member("initiator", "local") } else { member("initiator", "remote") }
      transportError("connection_error", error.code)
      member("reason", error.reason)
      member("trigger", error.code == .noError ? "unspecified" : "error")
    case .localApplication(let code, let text), .peerApplication(let code, let text):
      if case .localApplication = reason { member("initiator", "local") } else { member("initiator", "remote") }
      member("application_error", "unknown")
      member("error_code", code)
      member("reason", text)
      member("trigger", "application")
    case .idleTimeout: member("trigger", "idle_timeout")
    case .handshakeTimeout:
      member("reason", "the handshake took too long")
      member("trigger", "aborted")
    case .statelessReset:
      member("initiator", "remote")
      member("trigger", "stateless_reset")
    case .versionMismatch: member("trigger", "version_mismatch")
    }
  }
}

extension EncryptionLevel {
  var qlogName: String {
    switch self {
    case .initial: "initial"
    case .handshake: "handshake"
    case .zeroRTT: "0RTT"
    case .oneRTT: "1RTT"
    }
  }
}

extension PacketType {
  var qlogName: String {
    switch self {
    case .retry: "retry"
    case .versionNegotiation: "version_negotiation"
    case .initial, .zeroRTT, .handshake, .oneRTT: level?.qlogName ?? "unknown"
    }
  }
}
