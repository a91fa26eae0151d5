import Wire

@testable import QUIC

/// What must hold of everything that two ends put on the wire, whatever the path does to it. Each rule has a name,
/// which begins the sentence that says how it was broken.
struct WireInvariants {
  /// What one end has sent, and what it may.
  private struct End {
    let configuration: Configuration
    var lastNumber: [UInt64?] = [nil, nil, nil]
    /// Numbers of the peer's packets that came undamaged, by space.
    var arrived: [[Bool]] = [[], [], []]
    /// The highest number that an ACK which came acknowledged, by space.
    var acknowledged: [UInt64?] = [nil, nil, nil]
    /// The peer's limits, as far as word of them came.
    var maxData: UInt64?
    var maxStreamData: [StreamID: UInt64] = [:]
    var maxStreams: [StreamDirection: UInt64] = [:]
    /// How far each stream was sent, and where it ends.
    var sentEnd: [StreamID: UInt64] = [:]
    var finalSize: [StreamID: UInt64] = [:]
    var sentTotal: UInt64 = 0
    var hasHeardClose = false
    /// Key updates of its own and of the peer's that came, and the first number of the present generation.
    var generation = 0
    var arrivedGeneration = 0
    var generationStart: UInt64 = 0
    /// The local address that each of the peer's IDs was used from.
    var locals: [ConnectionID: SocketAddress] = [:]
  }

  private var ends: [ObjectIdentifier: End] = [:]
  private var addresses: [SocketAddress: Credit] = [:]
  /// Data of the server's challenges, and the address that each went to.
  private var challenges: [UInt64: SocketAddress] = [:]

  /// Bytes to and from an address of the client's until it is validated (RFC 9000 §8).
  struct Credit {
    var received = 0
    var sent = 0
    var isValidated = false
  }

  private func end(_ peer: Peer) -> End {
    ends[ObjectIdentifier(peer)] ?? End(configuration: peer.connection.configuration)
  }

  /// The highest number that `peer` has used in a space.
  func lastNumber(_ peer: Peer, _ space: PacketNumberSpace) -> UInt64? {
    ends[ObjectIdentifier(peer)]?.lastNumber[Int(space.rawValue)]
  }

  // MARK: What is sent

  /// What the other end allows: now, and in the connection whose ticket brought early data.
  struct Limits {
    var now: Configuration
    var remembered: Configuration?
  }

  /// Checks the packets of one datagram of `peer`'s.
  /// - Returns: how a rule was broken, or nil.
  mutating func sent(
    _ packets: [WireObserver.Packet], datagramSize: Int, by peer: Peer, on path: Path, limits: Limits
  ) -> String? {
    let key = ObjectIdentifier(peer)
    var end = ends.removeValue(forKey: key) ?? End(configuration: peer.connection.configuration)
    defer { ends[key] = end }
    for packet in packets {
      if let fault = Self.checkNumber(packet, &end) { return fault }
      if let fault = Self.checkKeys(packet, &end, peer) { return fault }
      if let fault = Self.checkID(packet, &end, peer, path) { return fault }
      let allowed = packet.level == .zeroRTT ? limits.remembered ?? limits.now : limits.now
      for frame in packet.frames {
        switch frame {
        case .ack(let ranges, _):
          if let fault = Self.checkAcknowledgment(ranges, packet, end) { return fault }
        case .stream(let id, let offset, let data, let isFin):
          if let fault = Self.checkStream(id, offset, data, isFin, &end, peer, allowed) { return fault }
        case .pathChallenge(let data):
          if peer.role == .server { challenges[data] = path.remote }
        default: break
        }
      }
      if let fault = Self.checkSize(packet, datagramSize, peer.role) { return fault }
    }
    // RFC 9000 §10.2.2: an endpoint in the draining state "MUST NOT send any packets".
    if end.hasHeardClose, peer.connection.isClosed {
      if case .peerApplication = peer.closeReason { return "draining: \(peer.role) sent after the peer's close" }
    }
    return nil
  }

  /// RFC 9000 §12.3: a number is used once; they rise. §17.1: enough of each is sent.
  private static func checkNumber(_ packet: WireObserver.Packet, _ end: inout End) -> String? {
    let space = Int(packet.level.packetNumberSpace.rawValue)
    if let last = end.lastNumber[space], packet.number <= last {
      return "packet-number: \(packet.number) of \(packet.level) after \(last)"
    }
    end.lastNumber[space] = packet.number
    let unacknowledged = end.acknowledged[space].map { packet.number - min($0, packet.number) } ?? packet.number + 1
    if packet.numberLength < 4, unacknowledged * 2 >= UInt64(1) << UInt64(8 * packet.numberLength) {
      return "packet-number-length: \(packet.numberLength) bytes for \(packet.number), "
        + "acknowledged up to \(String(describing: end.acknowledged[space]))"
    }
    return nil
  }

  /// RFC 9001 §6.1, §6.2: a key update follows the peer's, or the acknowledgment of a packet with the present keys.
  /// §4.9.3, RFC 9000 §17.2.3: 0-RTT keys are done with when there are others.
  private static func checkKeys(_ packet: WireObserver.Packet, _ end: inout End, _ peer: Peer) -> String? {
    switch packet.level {
    case .initial, .handshake: return nil
    case .zeroRTT:
      return peer.connection.isHandshakeComplete ? "early-data: \(packet.number) after the handshake" : nil
    case .oneRTT: break
    }
    guard packet.generation != end.generation else { return nil }
    let isAcknowledged = end.acknowledged[2].map { $0 >= end.generationStart } ?? false
    let mayBegin = isAcknowledged && peer.connection.isHandshakeConfirmed
    guard packet.generation == end.generation + 1, mayBegin || end.arrivedGeneration >= packet.generation else {
      return "key-update: \(peer.role) sent \(packet.number) with generation \(packet.generation) after "
        + "\(end.generation), which began at \(end.generationStart), acknowledged \(String(describing: end.acknowledged[2]))"
    }
    end.generation = packet.generation
    end.generationStart = packet.number
    return nil
  }

  /// RFC 9000 §9.5: an ID is used from one local address alone.
  private static func checkID(
    _ packet: WireObserver.Packet, _ end: inout End, _ peer: Peer, _ path: Path
  ) -> String? {
    guard packet.level == .oneRTT else { return nil }
    if let known = end.locals[packet.destinationID], known != path.local {
      return "connection-id: \(peer.role) used \(packet.destinationID) from \(known) and from \(path.local)"
    }
    end.locals[packet.destinationID] = path.local
    return nil
  }

  /// RFC 9001 §4.6.2: the streams of early data that was refused never were.
  mutating func refusedEarlyData(of peer: Peer) {
    let key = ObjectIdentifier(peer)
    ends[key]?.sentEnd = [:]
    ends[key]?.finalSize = [:]
    ends[key]?.sentTotal = 0
  }

  /// RFC 9000 §13.1: an ACK names only packets that were received.
  private static func checkAcknowledgment(
    _ ranges: [ClosedRange<UInt64>], _ packet: WireObserver.Packet, _ end: End
  ) -> String? {
    let space = Int(packet.level.packetNumberSpace.rawValue)
    for range in ranges {
      guard range.upperBound < UInt64(end.arrived[space].count) else {
        return "acknowledgment: of \(range), though nothing above \(end.arrived[space].count) came, in \(packet.level)"
      }
      let missing = end.arrived[space].withUnsafeBufferPointer { arrived -> Int? in
        var number = Int(range.lowerBound)
        while number <= Int(range.upperBound) {
          if !arrived[number] { return number }
          number += 1
        }
        return nil
      }
      if let missing { return "acknowledgment: of \(missing), which never came, in \(packet.level)" }
    }
    return nil
  }

  /// RFC 9000 §4: what is sent stays within the limits that the sender has heard of, and what was sent once at an
  /// offset stays what it was (§2.2).
  private static func checkStream(
    _ id: StreamID, _ offset: UInt64, _ data: [UInt8], _ isFin: Bool, _ end: inout End, _ peer: Peer,
    _ opposite: Configuration
  ) -> String? {
    let upTo = offset + UInt64(data.count)
    let isOwn = id.initiator == peer.role
    let initial =
      id.direction == .unidirectional
      ? opposite.initialMaxStreamDataUni
      : isOwn ? opposite.initialMaxStreamDataBidiRemote : opposite.initialMaxStreamDataBidiLocal
    let limit = end.maxStreamData[id] ?? initial
    if upTo > limit { return "stream-credit: \(peer.role) sent \(upTo) of stream \(id) with a limit of \(limit)" }
    let former = end.sentEnd[id] ?? 0
    end.sentEnd[id] = max(former, upTo)
    end.sentTotal += max(former, upTo) - former
    let connectionLimit = end.maxData ?? opposite.initialMaxData
    if end.sentTotal > connectionLimit {
      return "connection-credit: \(peer.role) sent \(end.sentTotal) with a limit of \(connectionLimit)"
    }
    let most =
      end.maxStreams[id.direction]
      ?? (id.direction == .bidirectional ? opposite.maxStreamsBidi : opposite.maxStreamsUni)
    if isOwn, id.sequence >= most { return "stream-count: \(peer.role) opened stream \(id) with a limit of \(most)" }
    if let final = end.finalSize[id], upTo > final || (isFin && upTo != final) {
      return "final-size: \(peer.role) sent stream \(id) up to \(upTo), \(isFin), after an end at \(final)"
    }
    if isFin { end.finalSize[id] = upTo }
    let isIntact = data.withUnsafeBytes { TransferPlan.matches($0, at: Int(offset), of: id, from: peer.role) }
    if peer.checksContent, !isIntact {
      return "stream-content: \(peer.role) sent other bytes at \(offset) of stream \(id)"
    }
    return nil
  }

  /// RFC 9000 §14.1 and §8.2.1: what must be padded is.
  private static func checkSize(_ packet: WireObserver.Packet, _ size: Int, _ role: Role) -> String? {
    if packet.level == .initial, size < 1200, role == .client || packet.isAckEliciting {
      return "datagram-size: \(size) bytes with an Initial packet of the \(role)'s"
    }
    return nil
  }

  // MARK: What arrives

  /// Notes what reached `peer`: `damaged` is the bit that was flipped on the way.
  mutating func arrived(_ packets: [WireObserver.Packet], damaged: Int?, at peer: Peer) {
    let key = ObjectIdentifier(peer)
    var end = ends.removeValue(forKey: key) ?? End(configuration: peer.connection.configuration)
    defer { ends[key] = end }
    for packet in packets {
      if let damaged, packet.range.contains(damaged / 8) { continue }
      let space = Int(packet.level.packetNumberSpace.rawValue)
      while end.arrived[space].count <= Int(packet.number) { end.arrived[space].append(false) }
      end.arrived[space][Int(packet.number)] = true
      if packet.level == .oneRTT { end.arrivedGeneration = max(end.arrivedGeneration, packet.generation) }
      for frame in packet.frames {
        switch frame {
        case .ack(let ranges, _):
          if let first = ranges.first {
            end.acknowledged[space] = max(end.acknowledged[space] ?? 0, first.upperBound)
          }
        case .maxData(let limit): end.maxData = max(end.maxData ?? 0, limit)
        case .maxStreamData(let id, let limit): end.maxStreamData[id] = max(end.maxStreamData[id] ?? 0, limit)
        case .maxStreams(let direction, let limit):
          end.maxStreams[direction] = max(end.maxStreams[direction] ?? 0, limit)
        case .pathResponse(let data):
          if peer.role == .server, let address = challenges[data] {
            addresses[address, default: Credit()].isValidated = true
          }
        case .close: end.hasHeardClose = true
        default: break
        }
      }
    }
  }

  // MARK: Amplification

  /// RFC 9000 §8.1, §9.3.1: not more than three times what came, until the address is validated. Counted for each
  /// address, over everything that the server's host sends there.
  mutating func serverSent(_ size: Int, to address: SocketAddress) -> String? {
    guard addresses[address]?.isValidated != true else { return nil }
    addresses[address, default: Credit()].sent += size
    let credit = addresses[address]!
    guard credit.sent > 3 * credit.received else { return nil }
    return "amplification: \(credit.sent) bytes to \(address) for \(credit.received)"
  }

  mutating func serverReceived(_ size: Int, from address: SocketAddress) {
    addresses[address, default: Credit()].received += size
  }

  /// A token, or a Handshake packet, came from there.
  mutating func validate(_ address: SocketAddress) { addresses[address, default: Credit()].isValidated = true }

  func credit(_ address: SocketAddress) -> Credit { addresses[address] ?? Credit() }
}
