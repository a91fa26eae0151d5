public import Wire

/// Which targets a proxy opens tunnels to (RFC 9298 §7, RFC 9114 §10.5.2).
///
/// It judges the address that will be connected to, not the name that was asked for, so a name that resolves
/// to an address inside is refused like the address itself. The caller resolves, asks for each address, and
/// connects to one that was allowed, without resolving again.
public struct TargetPolicy: Hashable, Sendable {
  /// An opening in what is otherwise refused as special-purpose.
  public struct Opening: Hashable, Sendable {
    public var prefix: IPPrefix
    public var ports: [ClosedRange<UInt16>]
    public init(_ prefix: IPPrefix, ports: [ClosedRange<UInt16>] = [1...65535]) {
      self.prefix = prefix
      self.ports = ports
    }
  }

  /// The proxy's own and its management's addresses. No opening overrides them.
  public var ownAddresses: [IPPrefix]
  /// Refused besides. No opening overrides them.
  public var deniedPrefixes: [IPPrefix]
  /// What may be reached although it is private, shared, loopback or the like.
  public var openings: [Opening]
  /// The ports that may be reached at addresses outside of openings.
  public var ports: [ClosedRange<UInt16>]

  public init(
    ownAddresses: [IPPrefix] = [], deniedPrefixes: [IPPrefix] = [], openings: [Opening] = [],
    ports: [ClosedRange<UInt16>] = [1...65535]
  ) {
    self.ownAddresses = ownAddresses
    self.deniedPrefixes = deniedPrefixes
    self.openings = openings
    self.ports = ports
  }

  public enum Decision: Hashable, Sendable {
    case allow
    case deny(Reason)
  }

  public enum Reason: Hashable, Sendable {
    case ownAddress
    case deniedPrefix(IPPrefix)
    case special(SpecialPurpose)
    case port(UInt16)
    /// A name that stands for this host or this network, whatever it resolves to.
    case localName
  }

  /// - Parameters:
  ///   - host: As it was asked for; nil when only the address is known.
  ///   - address: What it resolved to and what will be connected to.
  public func decide(host: Target.Host? = nil, address: IPAddress, port: UInt16) -> Decision {
    if case .name(let name) = host, Self.isLocalName(name) { return .deny(.localName) }
    guard port != 0 else { return .deny(.port(0)) }
    // An address that carries another is judged as both.
    let meant = address.embeddedIPv4.map { [address, .v4($0)] } ?? [address]
    for address in meant {
      if ownAddresses.contains(where: { $0.contains(address) }) { return .deny(.ownAddress) }
      if let prefix = deniedPrefixes.first(where: { $0.contains(address) }) { return .deny(.deniedPrefix(prefix)) }
      if let special = SpecialPurpose(address), !special.canBeOpened { return .deny(.special(special)) }
    }
    for address in meant where openings.contains(where: { $0.prefix.contains(address) }) {
      let isOpen = openings.contains { opening in
        opening.prefix.contains(address) && opening.ports.contains { $0.contains(port) }
      }
      return isOpen ? .allow : .deny(.port(port))
    }
    if let special = meant.lazy.compactMap(SpecialPurpose.init).first { return .deny(.special(special)) }
    return ports.contains { $0.contains(port) } ? .allow : .deny(.port(port))
  }

  /// RFC 6761 §6.3, RFC 6762 §3.
  private static func isLocalName(_ name: String) -> Bool {
    ["localhost", "local"].contains { name == $0 || name.hasSuffix("." + $0) }
  }
}

extension TargetPolicy.Reason: CustomStringConvertible {
  public var description: String {
    switch self {
    case .ownAddress: "the proxy's own address"
    case .deniedPrefix: "an address the proxy does not serve"
    case .special(let special): special.rawValue
    case .port(let port): "port \(port) is not allowed"
    case .localName: "a name of the local host or network"
    }
  }

  /// What to answer a request that was denied for this.
  public var rejection: Rejection {
    switch self {
    // RFC 9209 §2.3.5 is for addresses; a port or a name is refused by policy (RFC 9209 §2.3.21).
    case .ownAddress, .deniedPrefix, .special: Rejection(.destinationIPProhibited, description)
    case .port, .localName: Rejection(.httpRequestDenied, description)
    }
  }
}
