public import Wire

/// A set of path attributes, taken apart: for routes of our own, for people, and for policy.
public struct PathAttributes: Hashable, Sendable {
  public var origin = Origin.igp
  public var asPath = ASPath()
  /// Nil: each session's own address.
  public var nextHop: IPAddress?
  /// Told beside a global one, for who is on the same link (RFC 2545 §3). Never passed on.
  public var linkLocalNextHop: IPv6Address?
  public var multiExitDisc: UInt32?
  public var localPreference: UInt32?
  public var isAtomicAggregate = false
  public var aggregator: Aggregator?
  public var communities: [Community] = []
  public var originatorID: IPv4Address?
  public var clusterList: [IPv4Address] = []
  public var extendedCommunities: [ExtendedCommunity] = []
  public var largeCommunities: [LargeCommunity] = []
  public var onlyToCustomer: UInt32?
  /// Those that are passed on unread.
  public var others: [Other] = []

  public struct Aggregator: Hashable, Sendable {
    public var autonomousSystem: UInt32
    public var address: IPv4Address
  }

  public struct Other: Hashable, Sendable {
    public var type: AttributeType
    public var flags: AttributeFlags
    public var value: [UInt8]
  }

  public init() {}

  /// Takes a canonical form apart.
  init(canonical bytes: UnsafeRawBufferPointer) {
    var iterator = AttributeIterator(bytes)
    while let attribute = iterator.next() {
      var reader = ByteReader(attribute.value)
      switch attribute.type {
      case .origin: origin = reader.readUInt8().flatMap { Origin(rawValue: $0) } ?? .incomplete
      case .asPath: asPath = ASPath(attribute.value, fourOctet: true) ?? ASPath()
      case .nextHop: nextHop = IPAddress(networkBytes: attribute.value)
      case .mpReachNLRI:
        if reader.skip(3), let length = reader.readUInt8(), let address = reader.readBytes(Int(length)) {
          let first = UnsafeRawBufferPointer(rebasing: address.prefix(16))
          let second = UnsafeRawBufferPointer(rebasing: address.dropFirst(16))
          nextHop = IPAddress(networkBytes: first)
          if case .v6(let six)? = IPAddress(networkBytes: second) { linkLocalNextHop = six }
        }
      case .multiExitDisc: multiExitDisc = reader.readUInt32()
      case .localPreference: localPreference = reader.readUInt32()
      case .atomicAggregate: isAtomicAggregate = true
      case .aggregator:
        if let number = reader.readUInt32(), let address = reader.readUInt32() {
          aggregator = Aggregator(autonomousSystem: number, address: IPv4Address(rawValue: address))
        }
      case .communities: while let word = reader.readUInt32() { communities.append(Community(rawValue: word)) }
      case .originatorID: originatorID = reader.readUInt32().map { IPv4Address(rawValue: $0) }
      case .clusterList: while let word = reader.readUInt32() { clusterList.append(IPv4Address(rawValue: word)) }
      case .extendedCommunities:
        while let word = reader.readUInt64() { extendedCommunities.append(ExtendedCommunity(rawValue: word)) }
      case .largeCommunities:
        while let global = reader.readUInt32(), let one = reader.readUInt32(), let two = reader.readUInt32() {
          largeCommunities.append(LargeCommunity(global, one, two))
        }
      case .onlyToCustomer: onlyToCustomer = reader.readUInt32()
      default:
        others.append(Other(type: attribute.type, flags: attribute.flags, value: Array(attribute.value)))
      }
    }
  }

  /// Writes the canonical form for routes of one family.
  func write(to writer: inout AttributeWriter, for family: AddressFamily) {
    writer.removeAll()
    if let nextHop, family != .ipv4Unicast {
      writer.append(nextHop: nextHop, linkLocal: linkLocalNextHop, of: family)
    }
    writer.append(.origin, .transitive, [origin.rawValue])
    writer.append(.asPath, .transitive, asPath.value(fourOctet: true))
    if let nextHop, family == .ipv4Unicast { writer.append(nextHop: nextHop, of: family) }
    if let multiExitDisc { writer.append(.multiExitDisc, .optional, multiExitDisc) }
    if let localPreference { writer.append(.localPreference, .transitive, localPreference) }
    if isAtomicAggregate { writer.append(.atomicAggregate, .transitive, []) }
    if let aggregator {
      writer.append(
        .aggregator, .defined, words([aggregator.autonomousSystem, aggregator.address.rawValue]))
    }
    if !communities.isEmpty { writer.append(.communities, .defined, words(communities.map(\.rawValue))) }
    if let originatorID { writer.append(.originatorID, .optional, originatorID.rawValue) }
    if !clusterList.isEmpty { writer.append(.clusterList, .optional, words(clusterList.map(\.rawValue))) }
    if !extendedCommunities.isEmpty {
      let pairs = extendedCommunities.flatMap { [UInt32($0.rawValue >> 32), UInt32($0.rawValue & 0xffff_ffff)] }
      writer.append(.extendedCommunities, .defined, words(pairs))
    }
    let late = others.sorted { $0.type.rawValue < $1.type.rawValue }
    for other in late where other.type.rawValue < AttributeType.largeCommunities.rawValue {
      writer.append(other.type, other.flags, other.value)
    }
    if !largeCommunities.isEmpty {
      writer.append(.largeCommunities, .defined, words(largeCommunities.flatMap { [$0.global, $0.local1, $0.local2] }))
    }
    if let onlyToCustomer { writer.append(.onlyToCustomer, .defined, onlyToCustomer) }
    for other in late where other.type.rawValue > AttributeType.largeCommunities.rawValue {
      writer.append(other.type, other.flags, other.value)
    }
  }

  /// As a reader would have summed them up.
  var summary: AttributeSummary {
    var summary = AttributeSummary()
    summary.nextHop = nextHop
    summary.linkLocalNextHop = linkLocalNextHop?.low ?? 0
    summary.origin = origin
    summary.asPathLength = UInt16(clamping: asPath.length)
    if let first = asPath.segments.first, !first.isSet { summary.neighborAS = first.numbers.first ?? 0 }
    summary.multiExitDisc = multiExitDisc
    summary.localPreference = localPreference
    summary.originatorID = originatorID?.rawValue
    summary.clusterListLength = UInt16(clamping: clusterList.count)
    for community in communities {
      summary.wellKnownCommunities.formUnion(WellKnownCommunities(community: community.rawValue))
    }
    summary.onlyToCustomer = onlyToCustomer
    return summary
  }

  private func words(_ values: [UInt32]) -> [UInt8] {
    values.flatMap { [UInt8($0 >> 24), UInt8($0 >> 16 & 0xff), UInt8($0 >> 8 & 0xff), UInt8($0 & 0xff)] }
  }
}
