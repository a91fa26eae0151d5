/// A change of what the kernel has.
public enum Change: Hashable, Sendable {
  /// Refused with ``KernelError/exists`` where anyone has a route of that key: another's is never replaced.
  case addRoute(Route)
  /// Refused with ``KernelError/noSuchEntry`` where there is none.
  case replaceRoute(Route)
  /// Of the route's origin alone; refused with ``KernelError/noSuchProcess`` where there is none.
  case removeRoute(Route)
  /// Refused with ``KernelError/exists`` where anyone has an object of that identifier.
  case addNextHop(NextHopObject)
  case replaceNextHop(NextHopObject)
  /// The kernel removes the routes that still point at it as well.
  case removeNextHop(NextHopObject)
  case addRule(Rule)
  case removeRule(Rule)

  /// False where the message does not fit.
  func write(to writer: inout MessageWriter, sequence: UInt32) -> Bool {
    switch self {
    case .addRoute(let route):
      writer.message(.newRoute, [.create, .exclusive], sequence: sequence) { route.write(to: &$0) }
    case .replaceRoute(let route):
      writer.message(.newRoute, .replace, sequence: sequence) { route.write(to: &$0) }
    case .removeRoute(let route):
      writer.message(.deleteRoute, [], sequence: sequence) { route.writeDeletion(to: &$0) }
    case .addNextHop(let object):
      writer.message(.newNextHop, [.create, .exclusive], sequence: sequence) { object.write(to: &$0) }
    case .replaceNextHop(let object):
      writer.message(.newNextHop, .replace, sequence: sequence) { object.write(to: &$0) }
    case .removeNextHop(let object):
      writer.message(.deleteNextHop, [], sequence: sequence) { object.writeDeletion(to: &$0) }
    case .addRule(let rule):
      writer.message(.newRule, [.create, .exclusive], sequence: sequence) { rule.write(to: &$0) }
    case .removeRule(let rule):
      writer.message(.deleteRule, [], sequence: sequence) { rule.write(to: &$0) }
    }
  }
}

/// A list of what the kernel has.
public enum Dump: Hashable, Sendable {
  /// Of one origin, where the socket has NETLINK_GET_STRICT_CHK; of all without it.
  case routes(isIPv4: Bool, origin: RouteOrigin?)
  case nextHops
  case rules(isIPv4: Bool)
  case links
  case addresses

  func write(to writer: inout MessageWriter, sequence: UInt32) -> Bool {
    switch self {
    case .routes(let isIPv4, let origin):
      writer.message(.getRoute, .dump, sequence: sequence) {
        $0.host(isIPv4 ? Family.ipv4 : Family.ipv6)
        $0.host(UInt8(0))
        $0.host(UInt16(0))
        $0.host(UInt8(0))
        $0.host(origin?.rawValue ?? 0)
        $0.host(UInt16(0))
        $0.host(UInt32(0))
      }
    case .nextHops: writer.message(.getNextHop, .dump, sequence: sequence) { $0.host(UInt64(0)) }
    case .rules(let isIPv4):
      writer.message(.getRule, .dump, sequence: sequence) {
        $0.host(isIPv4 ? Family.ipv4 : Family.ipv6)
        $0.host(UInt8(0))
        $0.host(UInt16(0))
        $0.host(UInt64(0))
      }
    case .links:
      writer.message(.getLink, .dump, sequence: sequence) {
        $0.host(UInt64(0))
        $0.host(UInt64(0))
      }
    case .addresses: writer.message(.getAddress, .dump, sequence: sequence) { $0.host(UInt64(0)) }
    }
  }
}

/// Something that the kernel tells of.
public enum Item: Hashable, Sendable {
  case route(Route)
  case nextHop(NextHopObject)
  case rule(Rule)
  case link(Link)
  case address(InterfaceAddress)

  /// Nil for what is malformed or unknown here.
  static func read(_ message: MessageReader.Message) -> (item: Item, notice: Notice)? {
    let item: Item? =
      switch message.type {
      case .newRoute, .deleteRoute: Route(message.body).map { .route($0) }
      case .newNextHop, .deleteNextHop: NextHopObject(message.body).map { .nextHop($0) }
      case .newRule, .deleteRule: Rule(message.body).map { .rule($0) }
      case .newLink, .deleteLink: Link(message.body).map { .link($0) }
      case .newAddress, .deleteAddress: InterfaceAddress(message.body).map { .address($0) }
      default: nil
      }
    let removals: [MessageType] = [.deleteRoute, .deleteNextHop, .deleteRule, .deleteLink, .deleteAddress]
    let notice: Notice =
      removals.contains(message.type) ? .removal : message.flags.contains(.replace) ? .replacement : .presence
    return item.map { ($0, notice) }
  }
}

/// What has become of an item that a notification tells of.
public enum Notice: Hashable, Sendable {
  case presence
  /// It stands where another with the same key has stood (`NLM_F_REPLACE`): of the end of that one the kernel says nothing.
  case replacement
  case removal
}
