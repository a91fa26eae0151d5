public import Wire

/// A message of the BGP Monitoring Protocol, version 3 (RFC 7854): what a router tells a monitoring station.
public enum BMPMessage: Hashable, Sendable {
  /// An UPDATE of a peer's, as a whole message (§4.6).
  case routeMonitoring(Peer, update: [UInt8])
  /// §4.8.
  case statistics(Peer, [Statistic])
  /// §4.9.
  case peerDown(Peer, PeerDownReason)
  /// Both OPEN messages whole (§4.10).
  case peerUp(Peer, localAddress: IPAddress, localPort: UInt16, remotePort: UInt16, sent: [UInt8], received: [UInt8])
  /// §4.3, with the information of §4.4.
  case initiation(description: String, name: String, texts: [String])
  /// §4.5.
  case termination(TerminationReason, text: String)

  /// The per-peer header (§4.2) of a global instance.
  public struct Peer: Hashable, Sendable {
    public var address: IPAddress
    public var autonomousSystem: UInt32
    public var identifier: IPv4Address
    /// L: behind the policy of the way in.
    public var isPostPolicy = false
    /// A: its messages have AS paths of two octets.
    public var hasTwoOctetPaths = false
    /// Since 1970.
    public var seconds: UInt32
    public var microseconds: UInt32

    public init(
      address: IPAddress, autonomousSystem: UInt32, identifier: IPv4Address, seconds: UInt32, microseconds: UInt32 = 0
    ) {
      self.address = address
      self.autonomousSystem = autonomousSystem
      self.identifier = identifier
      self.seconds = seconds
      self.microseconds = microseconds
    }
  }

  public enum PeerDownReason: Hashable, Sendable {
    /// 1, with the NOTIFICATION that was sent.
    case sentNotification([UInt8])
    /// 2, with the number of the FSM's event, or 0.
    case closed(event: UInt16)
    /// 3.
    case receivedNotification([UInt8])
    /// 4.
    case closedByPeer
    /// 5.
    case monitoringEnds
  }

  /// §4.8; a counter has 32 bits, a gauge 64.
  public struct Statistic: Hashable, Sendable {
    public enum Kind: UInt16, Hashable, Sendable {
      case rejectedPrefixes = 0
      case duplicateAdvertisements
      case duplicateWithdrawals
      case clusterListLoops
      case asPathLoops
      case originatorIDs
      case confederationLoops
      case adjRIBInRoutes
      case locRIBRoutes
      /// RFC 7854 §4.8, 11.
      case treatedAsWithdraw = 11

      var isGauge: Bool { self == .adjRIBInRoutes || self == .locRIBRoutes }
    }
    public var kind: Kind
    public var value: UInt64
    public init(_ kind: Kind, _ value: UInt64) {
      self.kind = kind
      self.value = value
    }
  }

  public enum TerminationReason: UInt16, Hashable, Sendable {
    case closed = 0
    case unspecified
    case outOfResources
    case redundantConnection
    case closedForGood
  }
}

// MARK: - Writing

extension BMPMessage {
  /// Appends a route monitoring message of an UPDATE that is at hand, header and all, without another copy of it.
  public static func append(routeMonitoring update: UnsafeRawBufferPointer, of peer: Peer, to octets: inout [UInt8]) {
    octets.append(3)
    octets.append(bigEndian: UInt32(6 + Peer.length + update.count))
    octets.append(0)
    octets += peer.octets
    octets.append(contentsOf: update)
  }

  public var serialized: [UInt8] {
    switch self {
    case .routeMonitoring(let peer, let update): Self.message(0, peer.octets + update)
    case .statistics(let peer, let all):
      Self.message(
        1,
        peer.octets + UInt32(all.count).octets
          + all.flatMap { one in
            let value = one.kind.isGauge ? one.value.octets : UInt32(clamping: one.value).octets
            return one.kind.rawValue.octets + UInt16(value.count).octets + value
          })
    case .peerDown(let peer, let reason):
      switch reason {
      case .sentNotification(let octets): Self.message(2, peer.octets + [1] + octets)
      case .closed(let event): Self.message(2, peer.octets + [2] + event.octets)
      case .receivedNotification(let octets): Self.message(2, peer.octets + [3] + octets)
      case .closedByPeer: Self.message(2, peer.octets + [4])
      case .monitoringEnds: Self.message(2, peer.octets + [5])
      }
    case .peerUp(let peer, let address, let localPort, let remotePort, let sent, let received):
      Self.message(3, peer.octets + Self.padded(address) + localPort.octets + remotePort.octets + sent + received)
    case .initiation(let description, let name, let texts):
      Self.message(
        4, Self.information(1, description) + Self.information(2, name) + texts.flatMap { Self.information(0, $0) })
    case .termination(let reason, let text):
      Self.message(
        5, (text.isEmpty ? [] : Self.information(0, text)) + [0, 1, 0, 2] + reason.rawValue.octets)
    }
  }

  private static func message(_ type: UInt8, _ body: [UInt8]) -> [UInt8] {
    [3] + UInt32(6 + body.count).octets + [type] + body
  }

  private static func information(_ type: UInt16, _ text: String) -> [UInt8] {
    let octets = Array(text.utf8.prefix(Int(UInt16.max)))
    return type.octets + UInt16(octets.count).octets + octets
  }

  /// §4.2: IPv4 in the last four of sixteen octets.
  private static func padded(_ address: IPAddress) -> [UInt8] {
    address.isIPv4 ? Array(repeating: 0, count: 12) + address.networkBytes : address.networkBytes
  }
}

extension BMPMessage.Peer {
  /// Octets of the header.
  static let length = 42

  fileprivate var octets: [UInt8] {
    let flags: UInt8 = (address.isIPv4 ? 0 : 0x80) | (isPostPolicy ? 0x40 : 0) | (hasTwoOctetPaths ? 0x20 : 0)
    var octets: [UInt8] = [0, flags] + Array(repeating: 0, count: 8)
    octets += address.isIPv4 ? Array(repeating: 0, count: 12) + address.networkBytes : address.networkBytes
    octets += autonomousSystem.octets + identifier.rawValue.octets + seconds.octets + microseconds.octets
    return octets
  }
}

// MARK: - Reading

extension BMPMessage {
  /// Reads one whole message, as a station does. Nil for one that is malformed, of another version or an unknown type.
  public init?(_ bytes: UnsafeRawBufferPointer) {
    var reader = ByteReader(bytes)
    guard reader.readUInt8() == 3, let length = reader.readUInt32(), Int(length) == bytes.count,
      let type = reader.readUInt8()
    else { return nil }
    if type == 4 || type == 5 {
      guard let message = Self.unbound(type, &reader) else { return nil }
      self = message
      return
    }
    guard let peer = Peer(&reader) else { return nil }
    switch type {
    case 0: self = .routeMonitoring(peer, update: Array(reader.rest))
    case 1:
      guard let count = reader.readUInt32(), count <= 1_000 else { return nil }
      var all: [Statistic] = []
      for _ in 0..<count {
        guard let kind = reader.readUInt16(), let length = reader.readUInt16(),
          let value = reader.readBytes(Int(length))
        else { return nil }
        guard let kind = Statistic.Kind(rawValue: kind) else { continue }
        var number = ByteReader(value)
        guard value.count == (kind.isGauge ? 8 : 4),
          let read = kind.isGauge ? number.readUInt64() : number.readUInt32().map(UInt64.init)
        else { return nil }
        all.append(.init(kind, read))
      }
      self = .statistics(peer, all)
    case 2:
      guard let reason = reader.readUInt8() else { return nil }
      switch reason {
      case 1: self = .peerDown(peer, .sentNotification(Array(reader.rest)))
      case 2:
        guard let event = reader.readUInt16() else { return nil }
        self = .peerDown(peer, .closed(event: event))
      case 3: self = .peerDown(peer, .receivedNotification(Array(reader.rest)))
      case 4: self = .peerDown(peer, .closedByPeer)
      case 5: self = .peerDown(peer, .monitoringEnds)
      default: return nil
      }
    case 3:
      guard let padded = reader.readBytes(16), let localPort = reader.readUInt16(),
        let remotePort = reader.readUInt16(),
        let sent = Self.open(&reader), let received = Self.open(&reader),
        let address = IPAddress(
          networkBytes: peer.address.isIPv4 ? UnsafeRawBufferPointer(rebasing: padded[12...]) : padded)
      else { return nil }
      self = .peerUp(
        peer, localAddress: address, localPort: localPort, remotePort: remotePort, sent: sent, received: received)
    default: return nil
    }
  }

  /// A whole message by its own length.
  private static func open(_ reader: inout ByteReader) -> [UInt8]? {
    guard let header = try? MessageHeader(reader.rest, maximumLength: MessageHeader.maximumLength) else { return nil }
    return reader.readBytes(header.messageLength).map { Array($0) }
  }

  private static func unbound(_ type: UInt8, _ reader: inout ByteReader) -> BMPMessage? {
    var texts: [String] = []
    var names: [UInt16: String] = [:]
    var reason: TerminationReason?
    while !reader.isAtEnd {
      guard let kind = reader.readUInt16(), let length = reader.readUInt16(), let value = reader.readBytes(Int(length))
      else { return nil }
      let text = String(decoding: value, as: UTF8.self)
      switch (type, kind) {
      case (_, 0): texts.append(text)
      case (4, _): names[kind] = text
      case (_, 1):
        var number = ByteReader(value)
        reason = number.readUInt16().flatMap { TerminationReason(rawValue: $0) }
      default: break
      }
    }
    if type == 4 { return .initiation(description: names[1] ?? "", name: names[2] ?? "", texts: texts) }
    return reason.map { .termination($0, text: texts.first ?? "") }
  }
}

extension BMPMessage.Peer {
  fileprivate init?(_ reader: inout ByteReader) {
    guard reader.readUInt8() == 0, let flags = reader.readUInt8(), reader.skip(8), let padded = reader.readBytes(16),
      let address = IPAddress(
        networkBytes: flags & 0x80 == 0 ? UnsafeRawBufferPointer(rebasing: padded[12...]) : padded),
      let number = reader.readUInt32(), let identifier = reader.readUInt32(), let seconds = reader.readUInt32(),
      let microseconds = reader.readUInt32()
    else { return nil }
    self.init(
      address: address, autonomousSystem: number, identifier: IPv4Address(rawValue: identifier), seconds: seconds,
      microseconds: microseconds)
    isPostPolicy = flags & 0x40 != 0
    hasTwoOctetPaths = flags & 0x20 != 0
  }
}
