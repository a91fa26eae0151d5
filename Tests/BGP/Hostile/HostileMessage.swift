import Testing
import Wire

@testable import BGP

/// A message, or octets that are none, from a peer that is broken or means harm; and the answer that the RFCs want.
struct HostileMessage: Sendable, CustomTestStringConvertible {
  enum Answer: Hashable, Sendable, CustomStringConvertible {
    /// The session ends with this.
    case notification(NotificationMessage)
    /// The session ends, and nothing is said (RFC 4271 §6.4).
    case closes
    /// The routes in it count as withdrawn (RFC 7606 §2, treat-as-withdraw); so do those that may not be used.
    case withdraws
    /// Its routes are taken without an attribute (RFC 7606 §2, attribute discard).
    case discards
    /// It counts, as if nothing were wrong.
    case takes
    /// Nothing comes of it.
    case ignores

    var description: String {
      switch self {
      case .notification(let notification):
        "NOTIFICATION \(notification.code.rawValue)/\(notification.subcode)"
          + (notification.data.isEmpty ? "" : " " + hexadecimal(notification.data))
      case .closes: "closes"
      case .withdraws: "withdraws"
      case .discards: "discards"
      case .takes: "takes"
      case .ignores: "ignores"
      }
    }
  }

  /// Where in a session it comes.
  enum Stage: String, Sendable { case openSent, openConfirm, established }

  enum Peering: String, CaseIterable, Sendable {
    case external, `internal`
    /// We are customer and insist on roles (RFC 9234).
    case role
    /// With extended messages (RFC 8654).
    case extended
  }

  var name: String
  /// What the answer is after.
  var source: String
  var stage: Stage
  var peering: Peering
  var octets: [UInt8]
  var answer: Answer
  /// It is the IPv6 route that it concerns.
  var isIPv6 = false

  var testDescription: String { name }
}

func hexadecimal(_ octets: [UInt8]) -> String {
  octets.map { octet in
    let digits = String(octet, radix: 16)
    return digits.count == 1 ? "0" + digits : digits
  }.joined()
}

extension HostileMessage.Peering {
  static let localAS: UInt32 = 64_512
  static let localAddress = IPv4Address(10, 0, 0, 1)
  var peerAS: UInt32 { self == .internal ? Self.localAS : 65_001 }

  var configuration: PeerConfiguration {
    var configuration = PeerConfiguration(localAS: Self.localAS, identifier: Self.localAddress, peerAS: peerAS)
    configuration.families = .unicast
    configuration.isPassive = true
    if self == .role {
      configuration.role = .customer
      configuration.requiresRole = true
    }
    return configuration
  }

  /// The peer's OPEN, where it is not the hostile message itself.
  var open: OpenMessage {
    var peer = PeerConfiguration(localAS: peerAS, identifier: IPv4Address(10, 0, 0, 2), peerAS: Self.localAS)
    peer.families = .unicast
    peer.offersExtendedMessages = self == .extended
    if self == .role { peer.role = .provider }
    return peer.open
  }

  /// An AS path of the peer's that ends so.
  func path(_ last: UInt32) -> [UInt8] {
    attribute(0x40, 2, ASPath(self == .internal ? [7, last] : [65_001, last]).value(fourOctet: true))
  }

  /// The attributes of a good route, but for the path's end.
  func attributes(_ last: UInt32) -> [UInt8] {
    HostileMessage.origin + path(last) + HostileMessage.nextHop
      + (self == .internal ? attribute(0x40, 5, [0, 0, 0, 100]) : [])
  }

  /// What the peer has advertised before the hostile message comes: one route of each family, the path ending in AS 1.
  var before: [[UInt8]] {
    [
      message(2, updateBody(attributes(1), nlri: HostileMessage.nlri)),
      message(2, updateBody(HostileMessage.reach() + HostileMessage.origin + path(1))),
    ]
  }
}

extension HostileMessage {
  static let origin = attribute(0x40, 1, [0])
  static let nextHop = attribute(0x40, 3, [10, 0, 0, 2])
  /// 203.0.113.0/24.
  static let nlri: [UInt8] = [24, 203, 0, 113]
  /// 2001:db8:1::/48.
  static let nlri6: [UInt8] = [48, 0x20, 1, 0x0d, 0xb8, 0, 1]
  static let nextHop6: [UInt8] = [0x20, 1, 0x0d, 0xb8] + Array(repeating: 0, count: 11) + [2]

  static func reach(
    _ flags: UInt8 = 0x80, hop: [UInt8] = nextHop6, reserved: UInt8 = 0, nlri: [UInt8] = nlri6
  ) -> [UInt8] {
    attribute(flags, 14, [0, 2, 1, UInt8(hop.count)] + hop + [reserved] + nlri)
  }

  /// What our core makes of it, and the routes before it.
  func play() throws -> Answer {
    var session = Session(peering.configuration, entropy: SeededEntropy(seed: 1))
    session.localAddress = .v4(HostileMessage.Peering.localAddress)
    var rib = RIB(localAS: HostileMessage.Peering.localAS, identifier: HostileMessage.Peering.localAddress, seed: 1)
    let peer = rib.addPeer(address: .v4(IPv4Address(10, 0, 0, 2)), autonomousSystem: peering.peerAS)
    var result: Answer?
    var discarded = 0
    session.start(now: .zero)
    let accepted = session.accept(now: .zero)
    let id = try #require(accepted)

    func take(_ events: inout Session) {
      while let event = events.nextEvent() {
        switch event {
        case .send(_, let octets) where octets[18] == 3:
          result =
            result
            ?? octets.withUnsafeBytes {
              .notification(NotificationMessage(body: UnsafeRawBufferPointer(rebasing: $0[19...])))
            }
        case .close: result = result ?? .closes
        case .established(_, let parameters):
          rib.sessionUp(peer, parameters, export: ExportRules(localAS: 64_512, peerAS: peering.peerAS))
        default: break
        }
      }
    }
    func send(_ octets: [UInt8]) {
      octets.withUnsafeBytes { bytes in
        var rest = bytes
        while true {
          switch session.receive(from: &rest, on: id, now: .zero) {
          case .update(let update):
            discarded += update.discardedAttributes
            _ = rib.apply(update, &session.reader, from: peer)
          case .other: take(&session)
          case .nothing: return
          }
        }
      }
    }
    take(&session)
    if stage != .openSent { send(peering.open.serialized) }
    if stage == .established {
      send(MessageHeader.keepalive)
      for update in peering.before { send(update) }
      #expect(session.state == .established && discarded == 0)
    }
    #expect(result == nil, "the peer has done nothing wrong yet")
    send(octets)
    if let result { return result }
    if stage != .established { return session.state == .openConfirm ? .takes : .ignores }
    let destination = rib.destination(try prefix(isIPv6 ? "2001:db8:1::/48" : "203.0.113.0/24"))
    guard let route = destination?.routes.first else { return .withdraws }
    if route.attributes.asPath.segments.last?.numbers.last == 1 { return .ignores }
    return discarded > 0 ? .discards : .takes
  }
}
