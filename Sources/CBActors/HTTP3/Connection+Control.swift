public import QUIC
internal import Wire

// SETTINGS and GOAWAY as they take effect (RFC 9114 §5.2, §7.2.4).
extension Connection {
  /// Puts into effect what the control stream brought.
  mutating func applyControl<T: StreamTransport & ~Copyable>(on transport: inout T) {
    if let new = inbound.control.newSettings {
      inbound.control.newSettings = nil
      // RFC 9114 §7.2.4.2: "If a server accepts 0-RTT but then sends settings that are not compatible with the
      // previously specified settings, this MUST be treated as a connection error of type H3_SETTINGS_ERROR."
      if let remembered, let name = new.downgrade(from: remembered) {
        return fail(ConnectionError(.settingsError, "\(name) went below its remembered value"), on: &transport)
      }
      // RFC 9204 §3.2.3: "If it specifies any other value, or omits SETTINGS_QPACK_MAX_TABLE_CAPACITY from SETTINGS,
      // the encoder must treat this as a connection error of type QPACK_DECODER_STREAM_ERROR."
      if let remembered, remembered.qpackMaximumTableCapacity > 0,
        new.qpackMaximumTableCapacity != remembered.qpackMaximumTableCapacity
      {
        return fail(ConnectionError(.qpackDecoderStreamError, "the remembered table capacity changed"), on: &transport)
      }
      peerSettings = new
      hasPeerSettings = true
      encoder.apply(new)
      events.push(.settingsReceived(new))
    }
    applyPriorityUpdates(on: &transport)
    if let identifier = inbound.control.newGoAway {
      inbound.control.newGoAway = nil
      receivedGoAway = identifier
      events.push(.goAway(identifier: identifier))
      guard role == .client else { return }
      // RFC 9114 §5.2: such requests "will not be processed"; their streams are cleaned up here.
      for id in streams.keys.sorted() where id.rawValue >= identifier {
        cancel(id, code: .requestCancelled, on: &transport)
        events.push(.streamReset(id, .requestRejected))
      }
    }
  }

  /// Says that no request from `identifier` on will be answered (RFC 9114 §5.2); requests below go on.
  ///
  /// A server calls this twice for a shutdown that loses nothing: first `final: false`, which forbids nothing
  /// but tells the client to stop; a round trip later `final: true`, which rejects what comes from then on.
  /// A client's GOAWAY speaks of pushes, of which there are none.
  public mutating func goAway<T: StreamTransport & ~Copyable>(final: Bool, on transport: inout T) {
    guard state == .open else { return }
    // RFC 9114 §5.2: the greatest value is 2^62-4 for servers.
    let identifier: UInt64 =
      switch (role, final) {
      case (.server, true): nextRequestStream
      case (.server, false): Varint.max - 3
      case (.client, _): 0
      }
    // RFC 9114 §5.2: "the identifier in each frame MUST NOT be greater than the identifier in any previous frame"
    guard identifier < sentGoAway ?? .max else { return }
    var frame: [UInt8] = []
    frame.appendVarint(FrameType.goAway.rawValue)
    frame.appendVarint(UInt64(Varint.length(of: identifier)))
    frame.appendVarint(identifier)
    guard outbound.enqueue(frame) else { return }
    sentGoAway = identifier
    outbound.flush(.control, on: &transport)
  }
}
