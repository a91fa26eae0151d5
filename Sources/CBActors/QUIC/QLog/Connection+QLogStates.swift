import PacketCrypto
import Wire

/// The states that a qlog tells of: of the connection, of its streams, and what it has agreed on.
extension Connection {
  // MARK: Versions

  /// The version that packets are sent in, when it is another than was said last. An end says which versions it speaks
  /// itself.
  mutating func logVersion() {
    guard let qlog, qlog.known.version != version else { return }
    let (chosen, ours) = (version, configuration.versions)
    qlog.known.version = chosen
    qlog.event("version_information", at: clock) {
      $0.member(role == .client ? "client_versions" : "server_versions", ours)
      $0.member("chosen_version", chosen)
    }
  }

  /// A Version Negotiation packet has ended the attempt; the next begins with what both ends speak, if anything.
  mutating func logVersionMismatch(_ qlog: QLogTrace, _ offered: [Version]) {
    let (ours, choice) = (configuration.versions, configuration.choice(among: offered))
    qlog.event("version_information", at: clock) {
      if !offered.isEmpty { $0.member("server_versions", offered) }
      $0.member("client_versions", ours)
      if let choice { $0.member("chosen_version", choice) }
    }
  }

  // MARK: The connection

  /// The draft's ConnectionStates, in the order in which a connection passes through them.
  private static let states: [StaticString] = [
    "attempted", "handshake_started", "peer_validated", "early_write", "handshake_complete", "handshake_confirmed",
    "closing", "draining", "closed",
  ]

  private mutating func hasReached(_ state: Int) -> Bool {
    let handshake = spaces[1].nextPacketNumber > 0 || spaces[1].received.largest != nil || spaces[1].isDiscarded
    switch state {
    case 0: return spaces[0].nextPacketNumber > 0 || counts.packetsReceived > 0
    case 1: return handshake
    // A client has proved its address when it sends in the Handshake space; a server knows.
    case 2: return role == .client ? spaces[1].nextPacketNumber > 0 : active.isValidated
    case 3: return role == .server && oneRTT != nil && !isHandshakeComplete
    case 4: return isHandshakeComplete
    case 5: return isHandshakeConfirmed
    case 6: if case .closing = lifecycle { return true } else { return false }
    case 7: if case .draining = lifecycle { return true } else { return false }
    default: return isDrained
    }
  }

  /// Says each state that the connection has come to since.
  mutating func logState(_ qlog: QLogTrace) {
    for state in Self.states.indices where qlog.known.states & 1 << state == 0 && hasReached(state) {
      let (old, new) = (qlog.known.state, Self.states[state])
      qlog.known.state = new
      qlog.known.states |= 1 << state
      qlog.event("connection_state_updated", at: clock) {
        if let old { $0.member("old", old.description) }
        $0.member("new", new.description)
      }
    }
  }

  mutating func logSpin(_ qlog: QLogTrace) {
    guard let present = spin.shown, present != qlog.known.spin else { return }
    qlog.known.spin = present
    qlog.event("spin_bit_updated", at: clock) { $0.member("state", present) }
  }

  // MARK: Packets

  /// A packet waits for its keys.
  mutating func logBuffered(_ packet: UnsafeRawBufferPointer) {
    guard let qlog else { return }
    let header = try? PacketHeader(packet, shortIDLength: localIDs.length, takesAnyFixedBit: true)
    qlog.event("packet_buffered", at: clock) {
      if let header {
        $0.key("header")
        $0.beginObject()
        $0.member("packet_type", header.type.qlogName)
        $0.endObject()
      }
      $0.raw(length: packet.count)
      $0.member("trigger", "keys_unavailable")
    }
  }

  // MARK: Streams

  mutating func logStreams(_ qlog: QLogTrace) {
    guard let touched = streams.touched, !touched.isEmpty else { return }
    streams.touched = []
    var seen: Set<StreamID> = []
    for id in touched where seen.insert(id).inserted {
      let isTwoWay = id.direction == .bidirectional
      let isOurs = id.initiator == role
      let stream = streams.table.peek(id)
      let old = qlog.known.streams[id.rawValue] ?? QLogState.StreamSides()
      var new = old
      if isTwoWay || isOurs { new.sending = stream.map { $0.pointee.send.isEnded } ?? true ? .closed : .open }
      if isTwoWay || !isOurs { new.receiving = stream.map { $0.pointee.receive.isEnded } ?? true ? .closed : .open }
      qlog.known.streams[id.rawValue] = stream == nil ? nil : new
      if old.sending != new.sending { logStream(qlog, id, "sending", old.sending, new.sending) }
      if old.receiving != new.receiving { logStream(qlog, id, "receiving", old.receiving, new.receiving) }
    }
  }

  private func logStream(
    _ qlog: QLogTrace, _ id: StreamID, _ side: String, _ old: QLogState.StreamState, _ new: QLogState.StreamState
  ) {
    qlog.event("stream_state_updated", at: clock) {
      $0.member("stream_id", id.rawValue)
      $0.streamType(id.direction)
      $0.member("old", old.rawValue)
      $0.member("new", new.rawValue)
      $0.member("stream_side", side)
      // Who opened it is sure; who ended it is not, when both ends had a part in it.
      if new == .open { $0.member("trigger", id.initiator == role ? "local" : "remote") }
    }
  }
}
