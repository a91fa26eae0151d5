import Testing
import Wire

@testable import BGP

/// A RIB with peers around it, each of which remembers what it has been told.
final class RIBNetwork {
  static let localAS: UInt32 = 64_512
  var rib = RIB(localAS: localAS, identifier: IPv4Address(10, 0, 0, 1), seed: 42)
  var peers: [PeerID] = []
  var views: [View] = []
  var readers: [UpdateReader] = []
  var parameters: [SessionParameters] = []
  var rules: [ExportRules] = []

  struct View {
    var routes: [IPPrefix: PathAttributes] = [:]
    var ends: [AddressFamily] = []
    var refreshes: [RouteRefreshMessage] = []
    var updates = 0
    var withdrawn: Set<IPPrefix> = []
    var flows: [FlowspecRule: PathAttributes] = [:]
  }

  struct Kind {
    var autonomousSystem: UInt32
    var role: Capability.Role?
    var fourOctet = true
    var families: AddressFamilies = [.ipv4Unicast, .ipv6Unicast]
    var extended = false
    var maximumPrefixes: Int?
    var restart: GracefulRestartConfiguration?
  }

  init(_ kinds: [Kind]) throws {
    for (index, kind) in kinds.enumerated() {
      parameters.append(try negotiate(index, kind))
      peers.append(
        rib.addPeer(
          address: .v4(IPv4Address(10, 0, 1, UInt8(index))), autonomousSystem: kind.autonomousSystem, role: kind.role,
          maximumPrefixes: kind.maximumPrefixes))
      var context = UpdateReader.Context(families: kind.families, localAS: Self.localAS, peerAS: kind.autonomousSystem)
      context.usesFourOctetAS = kind.fourOctet
      readers.append(UpdateReader(context))
      var rule = ExportRules(localAS: Self.localAS, peerAS: kind.autonomousSystem)
      rule.role = kind.role?.counterpart
      rule.nextHopIPv4 = IPv4Address(10, 0, 0, 1)
      rule.nextHopIPv6 = IPv6Address(high: 0x2001_0db8_0000_0000, low: 1)
      rules.append(rule)
      views.append(View())
      up(index)
    }
  }

  /// What two OPEN messages come to.
  ///
  /// - Parameter preserved: of the peer, after a restart of its.
  func negotiate(_ index: Int, _ kind: Kind, preserved: AddressFamilies? = nil) throws -> SessionParameters {
    var configuration = PeerConfiguration(
      localAS: Self.localAS, identifier: IPv4Address(10, 0, 0, 1), peerAS: kind.autonomousSystem)
    configuration.families = kind.families
    configuration.offersExtendedMessages = kind.extended
    configuration.role = kind.role?.counterpart
    configuration.gracefulRestart = kind.restart
    var other = PeerConfiguration(
      localAS: kind.autonomousSystem, identifier: IPv4Address(10, 0, 1, UInt8(index)), peerAS: Self.localAS)
    other.families = kind.families
    other.role = kind.role
    other.gracefulRestart = kind.restart
    var open = other.open(afterRestartPreserving: preserved)
    if !kind.fourOctet { open.capabilities.removeAll { $0.code == 65 } }
    return try SessionParameters(configuration, peer: open)
  }

  func destination(_ prefix: IPPrefix) -> RIB.Destination? { rib.destination(prefix) }

  /// Judges all that waits for it, in parts; whether the peer must be asked again.
  @discardableResult
  func setPolicy(_ policy: PeerPolicy, for peer: PeerID) -> Bool {
    let mustAsk = rib.setPolicy(policy, for: peer)
    review()
    return mustAsk
  }

  func setOrigins(_ table: OriginTable, changed: [IPPrefix]? = nil) {
    rib.setOrigins(table, changed: changed)
    review()
  }

  private func review() { while rib.hasReviews { rib.review(limit: 2) } }

  func up(_ index: Int) {
    views[index] = View()
    rib.sessionUp(peers[index], parameters[index], export: rules[index])
  }

  func down(_ index: Int) {
    views[index] = View()
    rib.sessionDown(peers[index])
  }

  /// Peer `index` advertises or withdraws.
  func receive(_ body: [UInt8], from index: Int) -> RIB.Application? {
    body.withUnsafeBytes { bytes in
      guard let update = try? readers[index].read(bytes) else { return nil }
      return rib.apply(update, &readers[index], from: peers[index])
    }
  }

  @discardableResult
  func announce(_ prefixes: [IPPrefix], _ attributes: PathAttributes, from index: Int) -> RIB.Application? {
    var writer = AttributeWriter()
    let isIPv4 = prefixes[0].address.isIPv4
    let nlri = prefixes.flatMap(Self.encoded)
    attributes.write(to: &writer, for: isIPv4 ? .ipv4Unicast : .ipv6Unicast)
    var bytes = Array(writer.bytes)
    if !parameters[index].usesFourOctetAS {
      let wide = bytes
      wide.withUnsafeBytes { writer.narrow($0) }
      bytes = Array(writer.bytes)
    }
    if isIPv4 { return receive(updateBody(bytes, nlri: nlri), from: index) }
    let length = Int(bytes[2])
    let reach = attribute(0x80, 14, Array(bytes[3..<3 + length]) + nlri)
    return receive(updateBody(reach + bytes[(3 + length)...]), from: index)
  }

  func withdraw(_ prefixes: [IPPrefix], from index: Int) {
    let nlri = prefixes.flatMap(Self.encoded)
    let body =
      prefixes[0].address.isIPv4
      ? updateBody(withdrawn: nlri) : updateBody(attribute(0x80, 15, [0, 2, 1] + nlri))
    _ = receive(body, from: index)
  }

  static func encoded(_ prefix: IPPrefix) -> [UInt8] {
    [UInt8(prefix.length)] + prefix.address.networkBytes.prefix((prefix.length + 7) / 8)
  }

  /// Lets every peer that is up read up to so many messages.
  func deliver(limit: Int = .max) {
    for index in peers.indices {
      var other = UpdateReader.Context(
        families: parameters[index].families, localAS: parameters[index].peerAS, peerAS: Self.localAS)
      other.usesFourOctetAS = parameters[index].usesFourOctetAS
      other.isInternal = parameters[index].isInternal
      var reader = UpdateReader(other)
      var left = limit
      withUnsafeTemporaryAllocation(byteCount: 65_535, alignment: 8) { buffer in
        while left > 0 {
          let count = rib.nextMessage(for: peers[index], into: buffer)
          guard count > 0 else { break }
          left -= 1
          let message = UnsafeRawBufferPointer(rebasing: buffer[..<count])
          take(message, &reader, index)
        }
        if limit == .max {
          let isWaiting = rib.hasMessages(for: peers[index])
          #expect(!isWaiting)
        }
      }
    }
  }

  private func take(_ message: UnsafeRawBufferPointer, _ reader: inout UpdateReader, _ index: Int) {
    let header = try? MessageHeader(message, maximumLength: parameters[index].maximumMessageLength)
    #expect(header?.messageLength == message.count)
    let body = UnsafeRawBufferPointer(rebasing: message[19...])
    if header?.type == .routeRefresh {
      if let refresh = try? RouteRefreshMessage(body: body) { views[index].refreshes.append(refresh) }
      return
    }
    guard let update = try? reader.read(body) else {
      Issue.record("peer \(index) cannot read what it was sent")
      return
    }
    #expect(update.fault == nil && update.discardedAttributes == 0)
    views[index].updates += 1
    if let end = update.endOfRIB { views[index].ends.append(end) }
    for nlri in [update.withdrawn, update.mpUnreachable].compactMap({ $0 }) {
      for prefix in nlri.prefixes {
        #expect(views[index].routes.removeValue(forKey: prefix) != nil, "withdrawn, but never advertised")
        views[index].withdrawn.insert(prefix)
      }
      for rule in nlri.flows ?? [] {
        #expect(views[index].flows.removeValue(forKey: rule) != nil, "withdrawn, but never advertised")
      }
    }
    for (nlri, isMultiprotocol) in [(update.reachable, false), (update.mpReachable ?? .none(.ipv6Unicast), true)] {
      guard !nlri.isEmpty else { continue }
      let attributes = reader.withCanonicalAttributes(of: update, isMultiprotocol: isMultiprotocol) {
        PathAttributes(canonical: $0)
      }
      for prefix in nlri.prefixes { views[index].routes[prefix] = attributes }
      for rule in nlri.flows ?? [] { views[index].flows[rule] = attributes }
    }
  }
}

func attributes(
  _ path: [UInt32], nextHop: IPAddress = .v4(IPv4Address(10, 0, 1, 9)),
  _ change: (inout PathAttributes) -> Void = { _ in }
) -> PathAttributes {
  var attributes = PathAttributes()
  attributes.asPath = ASPath(path)
  attributes.nextHop = nextHop
  change(&attributes)
  return attributes
}
