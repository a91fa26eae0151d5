/// The records of one zone, in memory.
public struct Zone: Sendable {
  public let origin: DNSName
  public let soa: Record
  private var nodes: [DNSName: [Record]]
  /// Names that exist only because a name under them does (RFC 8020 §2).
  private var emptyNonTerminals: Set<DNSName> = []

  public enum ZoneError: Error, Hashable, Sendable {
    /// A record whose name is not at or under the origin.
    case outOfZone(DNSName)
    /// RFC 1034 §3.6.2: where a CNAME is, no other data may be.
    case aliasWithOtherData(DNSName)
  }

  /// - Parameter negativeTTL: How long resolvers may keep that something does not exist, in seconds.
  public init(origin: DNSName, negativeTTL: UInt32 = 60) {
    self.origin = origin
    soa = Record(
      origin, ttl: negativeTTL,
      .soa(
        StartOfAuthority(
          primary: origin, mailbox: origin, serial: 1, refresh: 3_600, retry: 600, expire: 86_400,
          minimum: negativeTTL)))
    nodes = [origin: [soa]]
  }

  public mutating func insert(_ record: Record) throws(ZoneError) {
    guard record.name.isEqualOrUnder(origin) else { throw .outOfZone(record.name) }
    let present = nodes[record.name] ?? []
    let hasAlias = present.contains { $0.type == .cname }
    guard present.isEmpty || (!hasAlias && record.type != .cname) else { throw .aliasWithOtherData(record.name) }
    nodes[record.name] = present + [record]
    var ancestor = record.name.parent
    while let name = ancestor, name != origin, name.isEqualOrUnder(origin) {
      emptyNonTerminals.insert(name)
      ancestor = name.parent
    }
  }

  func exists(_ name: DNSName) -> Bool { nodes[name] != nil || emptyNonTerminals.contains(name) }

  func records(_ name: DNSName) -> [Record] { nodes[name] ?? [] }
}
