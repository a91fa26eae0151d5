/// `nlmsg_type` (linux/netlink.h, linux/rtnetlink.h).
public struct MessageType: RawRepresentable, Hashable, Sendable {
  public let rawValue: UInt16
  public init(rawValue: UInt16) { self.rawValue = rawValue }
  init(_ rawValue: UInt16) { self.rawValue = rawValue }

  static let noop = MessageType(1)
  static let error = MessageType(2)
  static let done = MessageType(3)
  static let overrun = MessageType(4)

  public static let newLink = MessageType(16)
  public static let deleteLink = MessageType(17)
  static let getLink = MessageType(18)
  public static let newAddress = MessageType(20)
  public static let deleteAddress = MessageType(21)
  static let getAddress = MessageType(22)
  public static let newRoute = MessageType(24)
  public static let deleteRoute = MessageType(25)
  static let getRoute = MessageType(26)
  public static let newRule = MessageType(32)
  public static let deleteRule = MessageType(33)
  static let getRule = MessageType(34)
  public static let newNextHop = MessageType(104)
  public static let deleteNextHop = MessageType(105)
  static let getNextHop = MessageType(106)
}

/// `nlmsg_flags` (linux/netlink.h).
public struct MessageFlags: OptionSet, Hashable, Sendable {
  public let rawValue: UInt16
  public init(rawValue: UInt16) { self.rawValue = rawValue }

  static let request = MessageFlags(rawValue: 0x1)
  static let multi = MessageFlags(rawValue: 0x2)
  static let ack = MessageFlags(rawValue: 0x4)
  /// The dump is not of one moment: what it lists changed meanwhile.
  static let dumpInterrupted = MessageFlags(rawValue: 0x10)
  static let dump = MessageFlags(rawValue: 0x300)
  static let replace = MessageFlags(rawValue: 0x100)
  static let exclusive = MessageFlags(rawValue: 0x200)
  static let create = MessageFlags(rawValue: 0x400)
  /// An error message holds no more of the request than its header.
  static let capped = MessageFlags(rawValue: 0x100)
  /// Attributes of the extended ACK follow.
  static let ackAttributes = MessageFlags(rawValue: 0x200)
}

/// Groups of notifications (`RTNLGRP_*` of linux/rtnetlink.h), to be joined by a socket.
public enum NotificationGroup: UInt32, Hashable, Sendable {
  case link = 1
  case ipv4Address = 5
  case ipv4Route = 7
  case ipv6Address = 9
  case ipv6Route = 11
  case nextHop = 32
}

/// Who put a route into the kernel: `rtm_protocol` (linux/rtnetlink.h, and iproute2's rt_protos).
public struct RouteOrigin: RawRepresentable, Hashable, Sendable {
  public let rawValue: UInt8
  public init(rawValue: UInt8) { self.rawValue = rawValue }

  public static let kernel = RouteOrigin(rawValue: 2)
  public static let boot = RouteOrigin(rawValue: 3)
  public static let administrator = RouteOrigin(rawValue: 4)
  /// Ours unless the settings give another. Free in linux/rtnetlink.h and in iproute2's table of names; not
  /// RTPROT_BGP, which FRR uses, so that neither sweeps up what is the other's.
  public static let cloudBridge = RouteOrigin(rawValue: 203)
}

/// Numbers of routing tables that the kernel knows by itself (linux/rtnetlink.h).
public enum RoutingTable {
  public static let main: UInt32 = 254
  public static let local: UInt32 = 255
}

/// Address families as the messages carry them.
enum Family {
  static let unspecified: UInt8 = 0
  static let ipv4: UInt8 = 2
  static let ipv6: UInt8 = 10
}

/// `rtm_scope` (linux/rtnetlink.h).
enum Scope {
  static let universe: UInt8 = 0
  static let link: UInt8 = 253
  static let host: UInt8 = 254
  static let nowhere: UInt8 = 255
}

/// `RTA_*` (linux/rtnetlink.h).
enum RouteAttribute {
  static let destination: UInt16 = 1
  static let outputInterface: UInt16 = 4
  static let gateway: UInt16 = 5
  static let priority: UInt16 = 6
  static let preferredSource: UInt16 = 7
  static let multipath: UInt16 = 9
  static let table: UInt16 = 15
  static let via: UInt16 = 18
  static let nextHopID: UInt16 = 30
}

/// `NHA_*` (linux/nexthop.h).
enum NextHopAttribute {
  static let id: UInt16 = 1
  static let group: UInt16 = 2
  static let blackhole: UInt16 = 4
  static let outputInterface: UInt16 = 5
  static let gateway: UInt16 = 6
}

/// `FRA_*` (linux/fib_rules.h).
enum RuleAttribute {
  static let destination: UInt16 = 1
  static let source: UInt16 = 2
  static let inputInterface: UInt16 = 3
  static let priority: UInt16 = 6
  static let mark: UInt16 = 10
  static let table: UInt16 = 15
  static let markMask: UInt16 = 16
  static let outputInterface: UInt16 = 17
  static let origin: UInt16 = 21
}

/// `IFLA_*` (linux/if_link.h).
enum LinkAttribute {
  static let name: UInt16 = 3
  static let mtu: UInt16 = 4
  static let master: UInt16 = 10
}

/// `IFA_*` (linux/if_addr.h).
enum AddressAttribute {
  static let address: UInt16 = 1
  static let local: UInt16 = 2
  static let flags: UInt16 = 8
}
