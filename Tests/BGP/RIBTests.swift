import Testing
import Wire

@testable import BGP

/// A RIB with peers around it, each of which remembers what it has been told.
private final class Network {
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
  }

  struct Kind {
    var autonomousSystem: UInt32
    var role: Capability.Role?
    var fourOctet = true
    var families: AddressFamilies = [.ipv4Unicast, .ipv6Unicast]
    var extended = false
    var maximumPrefixes: Int?
  }

  init(_ kinds: [Kind]) throws {
    for (index, kind) in kinds.enumerated() {
      var configuration = PeerConfiguration(
        localAS: Self.localAS, identifier: IPv4Address(10, 0, 0, 1), peerAS: kind.autonomousSystem)
      configuration.families = kind.families
      configuration.offersExtendedMessages = kind.extended
      let counterpart = kind.role?.counterpart
      configuration.role = counterpart
      var other = PeerConfiguration(
        localAS: kind.autonomousSystem, identifier: IPv4Address(10, 0, 1, UInt8(index)), peerAS: Self.localAS)
      other.families = kind.families
      other.role = kind.role
      var open = other.open
      if !kind.fourOctet { open.capabilities.removeAll { $0.code == 65 } }
      parameters.append(try SessionParameters(configuration, peer: open))
      peers.append(
        rib.addPeer(
          address: .v4(IPv4Address(10, 0, 1, UInt8(index))), autonomousSystem: kind.autonomousSystem, role: kind.role,
          maximumPrefixes: kind.maximumPrefixes))
      var context = UpdateReader.Context(families: kind.families, localAS: Self.localAS, peerAS: kind.autonomousSystem)
      context.usesFourOctetAS = kind.fourOctet
      readers.append(UpdateReader(context))
      var rule = ExportRules(localAS: Self.localAS, peerAS: kind.autonomousSystem)
      rule.role = counterpart
      rule.nextHopIPv4 = IPv4Address(10, 0, 0, 1)
      rule.nextHopIPv6 = IPv6Address(high: 0x2001_0db8_0000_0000, low: 1)
      rules.append(rule)
      views.append(View())
      up(index)
    }
  }

  func destination(_ prefix: IPPrefix) -> RIB.Destination? { rib.destination(prefix) }

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
    }
    for (nlri, isMultiprotocol) in [(update.reachable, false), (update.mpReachable ?? .none(.ipv6Unicast), true)] {
      guard !nlri.isEmpty else { continue }
      let attributes = reader.withCanonicalAttributes(of: update, isMultiprotocol: isMultiprotocol) {
        PathAttributes(canonical: $0)
      }
      for prefix in nlri.prefixes { views[index].routes[prefix] = attributes }
    }
  }
}

private func attributes(
  _ path: [UInt32], nextHop: IPAddress = .v4(IPv4Address(10, 0, 1, 9)),
  _ change: (inout PathAttributes) -> Void = { _ in }
) -> PathAttributes {
  var attributes = PathAttributes()
  attributes.asPath = ASPath(path)
  attributes.nextHop = nextHop
  change(&attributes)
  return attributes
}

@Suite("The tables")
struct RIBTests {
  private let v6Hop = IPAddress.v6(IPv6Address(high: 0x2001_0db8_0000_0000, low: 9))

  @Test func aRouteGoesFromOnePeerToAnother() throws {
    let network = try Network([.init(autonomousSystem: 65_001), .init(autonomousSystem: 65_002)])
    let routes = [try prefix("203.0.113.0/24"), try prefix("198.51.100.0/24")]
    network.announce(
      routes,
      attributes([65_001, 9]) {
        $0.multiExitDisc = 5
        $0.communities = [Community(65_001, 7)]
      }, from: 0)
    network.deliver()
    #expect(network.views[0].routes.isEmpty, "not back to where it came from")
    let got = try #require(network.views[1].routes[routes[0]])
    #expect(got.asPath == ASPath([64_512, 65_001, 9]) && got.nextHop == .v4(IPv4Address(10, 0, 0, 1)))
    #expect(got.multiExitDisc == nil && got.localPreference == nil && got.communities == [Community(65_001, 7)])
    #expect(network.views[1].routes.count == 2)
    // Both routes in one message, and an End-of-RIB for each family.
    #expect(network.views[1].updates == 3 && network.views[1].ends == [.ipv4Unicast, .ipv6Unicast])

    network.withdraw([routes[0]], from: 0)
    network.deliver()
    #expect(Array(network.views[1].routes.keys) == [routes[1]])
    network.down(0)
    network.deliver()
    #expect(network.views[1].routes.isEmpty)
    let counts = network.rib.counts
    #expect(counts.destinations == 0 && counts.routes == 0 && counts.attributeSets == 0, "nothing is left behind")
  }

  @Test func ipv6RoutesToo() throws {
    let network = try Network([.init(autonomousSystem: 65_001), .init(autonomousSystem: 65_002)])
    let routes = [try prefix("2001:db8:1::/48"), try prefix("2001:db8:2::/47"), try prefix("::/0")]
    network.announce(routes, attributes([65_001], nextHop: v6Hop), from: 0)
    network.deliver()
    #expect(Set(network.views[1].routes.keys) == Set(routes))
    #expect(network.views[1].routes[routes[2]]?.nextHop == .v6(IPv6Address(high: 0x2001_0db8_0000_0000, low: 1)))
    network.withdraw(routes, from: 0)
    network.deliver()
    #expect(network.views[1].routes.isEmpty && network.rib.counts.attributeSets == 0)
  }

  @Test func ourOwnRoutesGoToAll() throws {
    let network = try Network([.init(autonomousSystem: 65_001), .init(autonomousSystem: 64_512)])
    let own = try prefix("192.0.2.0/24")
    network.rib.originate(own)
    network.deliver()
    #expect(network.views[0].routes[own]?.asPath == ASPath([64_512]))
    #expect(network.views[0].routes[own]?.localPreference == nil)
    #expect(network.views[1].routes[own]?.asPath == ASPath())
    #expect(network.views[1].routes[own]?.localPreference == 100)
    #expect(network.views[1].routes[own]?.nextHop == .v4(IPv4Address(10, 0, 0, 1)))
    // Whatever others say of it.
    network.announce([own], attributes([65_001]), from: 0)
    network.deliver()
    #expect(network.destination(own)?.step == .local)
    #expect(network.views[1].routes[own]?.asPath == ASPath())
    var marked = PathAttributes()
    marked.communities = [.gracefulShutdown]
    network.rib.originate(own, marked)
    network.deliver()
    #expect(network.views[0].routes[own]?.communities == [.gracefulShutdown])
    network.rib.withdraw(own)
    network.deliver()
    #expect(network.views[0].routes.isEmpty, "it is its own route that is left")
    #expect(network.views[1].routes[own]?.asPath == ASPath([65_001]))
  }

  @Test func internalPeersAreNotTheNextForInternalRoutes() throws {
    let internalKind = Network.Kind(autonomousSystem: 64_512)
    let network = try Network([internalKind, internalKind, .init(autonomousSystem: 65_001)])
    let route = try prefix("203.0.113.0/24")
    network.announce(
      [route],
      attributes([7]) {
        $0.localPreference = 200
        $0.multiExitDisc = 3
      }, from: 0)
    network.deliver()
    #expect(network.views[1].routes.isEmpty && network.views[2].routes[route]?.asPath == ASPath([64_512, 7]))
    #expect(network.views[2].routes[route]?.multiExitDisc == nil)
    // An external route goes to internal peers as it came, with a degree of preference.
    let other = try prefix("198.51.100.0/24")
    network.announce([other], attributes([65_001]) { $0.multiExitDisc = 4 }, from: 2)
    network.deliver()
    let got = try #require(network.views[1].routes[other])
    #expect(got.asPath == ASPath([65_001]) && got.localPreference == 100 && got.multiExitDisc == 4)
    #expect(got.nextHop == .v4(IPv4Address(10, 0, 1, 9)))
  }

  @Test func communitiesHoldRoutesBack() throws {
    let network = try Network([
      .init(autonomousSystem: 65_001), .init(autonomousSystem: 65_002), .init(autonomousSystem: 64_512),
    ])
    let (stays, secret) = (try prefix("203.0.113.0/24"), try prefix("198.51.100.0/24"))
    network.announce([stays], attributes([65_001]) { $0.communities = [.noExport] }, from: 0)
    network.announce([secret], attributes([65_001]) { $0.communities = [.noAdvertise] }, from: 0)
    network.deliver()
    #expect(network.views[1].routes.isEmpty)
    #expect(Array(network.views[2].routes.keys) == [stays])
    // A route that may go no more is withdrawn.
    network.announce([stays], attributes([65_001]) { $0.communities = [.noAdvertise] }, from: 0)
    network.deliver()
    #expect(network.views[2].routes.isEmpty)
  }

  /// RFC 9234 §5.
  @Test func onlyToCustomer() throws {
    let network = try Network([
      .init(autonomousSystem: 65_001, role: .provider), .init(autonomousSystem: 65_002, role: .customer),
      .init(autonomousSystem: 65_003, role: .peer),
    ])
    let (up, down, leak) = (try prefix("10.1.0.0/16"), try prefix("10.2.0.0/16"), try prefix("10.3.0.0/16"))
    network.announce([up], attributes([65_001]), from: 0)
    network.announce([down], attributes([65_002]), from: 1)
    network.announce([leak], attributes([65_002]) { $0.onlyToCustomer = 1 }, from: 1)
    network.deliver()
    #expect(network.views[1].routes[up]?.onlyToCustomer == 65_001, "a provider's route is for customers only")
    #expect(network.views[2].routes[up] == nil)
    #expect(network.views[0].routes[down]?.onlyToCustomer == nil)
    #expect(network.views[2].routes[down]?.onlyToCustomer == 64_512)
    #expect(network.destination(leak) == nil, "a customer does not send what is for customers only")
  }

  @Test func aFaultyOrLoopingUpdateIsAWithdrawal() throws {
    let network = try Network([.init(autonomousSystem: 65_001), .init(autonomousSystem: 65_002)])
    let route = try prefix("203.0.113.0/24")
    for wrong in [attributes([65_001, 64_512]), attributes([65_009])] {
      network.announce([route], attributes([65_001]), from: 0)
      network.deliver()
      #expect(network.views[1].routes[route] != nil)
      network.announce([route], wrong, from: 0)
      network.deliver()
      #expect(network.views[1].routes.isEmpty)
    }
  }

  @Test func aPeerOfTwoOctetsGetsBothPaths() throws {
    let network = try Network([.init(autonomousSystem: 65_001), .init(autonomousSystem: 65_002, fourOctet: false)])
    let route = try prefix("203.0.113.0/24")
    network.announce(
      [route],
      attributes([65_001, 400_000]) {
        $0.aggregator = .init(autonomousSystem: 400_000, address: .loopback)
        $0.largeCommunities = [LargeCommunity(1, 2, 3)]
      }, from: 0)
    network.deliver()
    let got = try #require(network.views[1].routes[route])
    #expect(got.asPath == ASPath([64_512, 65_001, 400_000]))
    #expect(got.aggregator?.autonomousSystem == 400_000 && got.largeCommunities == [LargeCommunity(1, 2, 3)])
  }

  @Test func tooManyPrefixes() throws {
    let network = try Network([.init(autonomousSystem: 65_001, maximumPrefixes: 2)])
    let three = [try prefix("10.1.0.0/16"), try prefix("10.2.0.0/16"), try prefix("10.3.0.0/16")]
    #expect(network.announce(Array(three.prefix(2)), attributes([65_001]), from: 0) == .applied)
    #expect(network.announce(Array(three.prefix(2)), attributes([65_001, 1]), from: 0) == .applied)
    #expect(network.announce(three, attributes([65_001]), from: 0) == .tooManyPrefixes)
  }

  /// RFC 2918 and RFC 7313.
  @Test func refreshes() throws {
    let network = try Network([.init(autonomousSystem: 65_001), .init(autonomousSystem: 65_002)])
    let (one, two) = (try prefix("10.1.0.0/16"), try prefix("10.2.0.0/16"))
    network.announce([one, two], attributes([65_001]), from: 0)
    network.deliver()
    let updates = network.views[1].updates
    network.views[1].routes = [:]
    network.rib.refresh(.init(.ipv4Unicast), of: network.peers[1], marked: true)
    network.deliver()
    #expect(network.views[1].routes.count == 2 && network.views[1].updates == updates + 1)
    #expect(network.views[1].refreshes == [.init(.ipv4Unicast, .beginning), .init(.ipv4Unicast, .end)])
    // The other way: what the peer does not name again is gone.
    network.rib.refresh(.init(.ipv4Unicast, .beginning), of: network.peers[0], marked: true)
    network.announce([two], attributes([65_001]), from: 0)
    network.rib.refresh(.init(.ipv4Unicast, .end), of: network.peers[0], marked: true)
    network.deliver()
    #expect(Array(network.views[1].routes.keys) == [two])
  }

  /// Routes of one set of attributes share messages, each filled as far as it goes.
  @Test(arguments: [false, true]) func updatesArePacked(extended: Bool) throws {
    let network = try Network([
      .init(autonomousSystem: 65_001), .init(autonomousSystem: 65_002, extended: extended),
    ])
    let many = (0..<6_000).compactMap { IPPrefix(.v4(IPv4Address(10, UInt8($0 >> 8), UInt8($0 & 255), 0)), length: 24) }
    let even = many.enumerated().filter { $0.offset % 2 == 0 }.map(\.element)
    let odd = many.enumerated().filter { $0.offset % 2 == 1 }.map(\.element)
    for start in stride(from: 0, to: 3_000, by: 500) {
      network.announce(Array(even[start..<start + 500]), attributes([65_001, 1]), from: 0)
      network.announce(Array(odd[start..<start + 500]), attributes([65_001, 2]), from: 0)
    }
    network.deliver()
    #expect(network.views[1].routes.count == 6_000)
    // 3,000 prefixes of 4 octets: 12,000 octets a set.
    #expect(network.views[1].updates == (extended ? 2 : 6) + 2)
    network.withdraw(Array(many.prefix(1_000)), from: 0)
    network.deliver()
    #expect(network.views[1].updates == (extended ? 2 : 6) + 3)
    #expect(network.views[1].routes.count == 5_000)
  }

  @Test func aFlappingRouteIsSentAsItIsInTheEnd() throws {
    let network = try Network([.init(autonomousSystem: 65_001), .init(autonomousSystem: 65_002)])
    let route = try prefix("10.1.0.0/16")
    network.announce([route], attributes([65_001]), from: 0)
    network.deliver()
    let updates = network.views[1].updates
    for _ in 0..<50 {
      network.withdraw([route], from: 0)
      network.announce([route], attributes([65_001, 1]), from: 0)
      network.announce([route], attributes([65_001]), from: 0)
    }
    network.deliver()
    #expect(network.views[1].updates == updates, "the peer has it already")
  }

  /// Against a plain model, through announcements, withdrawals, sessions that come and go, and peers that read slowly.
  @Test(arguments: 1...12 as ClosedRange<UInt64>) func agreesWithAModel(seed: UInt64) throws {
    let entropy = SeededEntropy(seed: seed)
    func random(_ bound: Int) -> Int { Int(entropy.nextUInt64() % UInt64(bound)) }
    let systems: [UInt32] = [65_001, 65_002, 65_003, 64_512]
    let network = try Network(systems.map { .init(autonomousSystem: $0, fourOctet: $0 != 65_003) })
    var isUp = [true, true, true, true]
    var model: [IPPrefix: [Int: PathAttributes]] = [:]
    let pool = try (0..<60).map { number -> IPPrefix in
      number % 3 == 0
        ? try prefix("2001:db8:\(String(number, radix: 16))::/48")
        : try #require(
          IPPrefix(.v4(IPv4Address(10, UInt8(number / 8), UInt8(number % 8 * 32), 0)), length: 16 + number % 12))
    }
    for _ in 0..<1_500 {
      let peer = random(4)
      switch random(20) {
      case 0:
        if isUp[peer] {
          network.down(peer)
          for key in model.keys { model[key]?[peer] = nil }
        } else {
          network.up(peer)
        }
        isUp[peer].toggle()
      case 1:
        if isUp[peer] { network.rib.refresh(.init(.ipv4Unicast), of: network.peers[peer], marked: random(2) == 0) }
      case 2...4: network.deliver(limit: random(3))
      case 5...9 where isUp[peer]:
        let route = pool[random(pool.count)]
        network.withdraw([route], from: peer)
        model[route]?[peer] = nil
      default:
        guard isUp[peer] else { continue }
        let route = pool[random(pool.count)]
        let first: [UInt32] = peer == 3 ? [] : [systems[peer]]
        let set = attributes(
          first + (0..<random(3)).map { UInt32(1 + $0) },
          nextHop: route.address.isIPv4 ? .v4(IPv4Address(10, 0, 1, 9)) : v6Hop
        ) {
          $0.multiExitDisc = random(2) == 0 ? UInt32(random(3)) : nil
          $0.origin = random(4) == 0 ? .incomplete : .igp
          if peer == 3 { $0.localPreference = UInt32(99 + random(3)) }
        }
        network.announce([route], set, from: peer)
        model[route, default: [:]][peer] = set
      }
    }
    network.deliver()
    for route in pool {
      let paths = model[route] ?? [:]
      let destination = network.destination(route)
      #expect((destination?.routes.count ?? 0) == paths.count)
      guard let best = destination?.routes.first, let address = best.peer,
        let source = (0..<4).first(where: { address == .v4(IPv4Address(10, 0, 1, UInt8($0))) })
      else {
        for view in network.views { #expect(view.routes[route] == nil) }
        continue
      }
      #expect(paths[source] == best.attributes)
      #expect(source == Self.best(paths), "\(route)")
      for peer in 0..<4 where isUp[peer] {
        let view = network.views[peer].routes[route]
        if peer == source || peer == 3 && source == 3 {
          #expect(view == nil)
        } else {
          let path = best.attributes.asPath.segments.first?.numbers ?? []
          #expect(view?.asPath == ASPath(peer == 3 ? path : [64_512] + path))
        }
      }
    }
    for peer in 0..<4 where isUp[peer] { network.down(peer) }
    let counts = network.rib.counts
    #expect(counts.destinations == 0 && counts.routes == 0 && counts.attributeSets == 0)
  }

  /// RFC 4271 §9.1 by hand, for four peers of ascending identifiers.
  private static func best(_ paths: [Int: PathAttributes]) -> Int? {
    var left = Array(paths.keys)
    func keep(_ value: (Int) -> Int) {
      let lowest = left.map(value).min() ?? 0
      left.removeAll { value($0) > lowest }
    }
    keep { -Int(paths[$0]?.localPreference ?? 100) }
    keep { paths[$0]?.asPath.length ?? 0 }
    keep { Int(paths[$0]?.origin.rawValue ?? 0) }
    let before = left
    left.removeAll { m in
      before.contains { n in
        paths[n]?.summary.neighborAS == paths[m]?.summary.neighborAS
          && (paths[n]?.multiExitDisc ?? 0) < (paths[m]?.multiExitDisc ?? 0)
      }
    }
    keep { $0 == 3 ? 1 : 0 }
    return left.min()
  }
}

/// RFC 4271 §9.1, step by step: two routes that differ in one thing alone, or in a later one the other way.
@Suite("The decision process")
struct DecisionTests {
  private struct Route {
    var summary = AttributeSummary()
    var peer = PeerState(autonomousSystem: 65_001, address: .v4(IPv4Address(10, 0, 1, 1)))
    var identifier: UInt32 = 0
    init(_ change: (inout Route) -> Void = { _ in }) {
      summary.asPathLength = 3
      summary.neighborAS = 65_001
      peer.identifier = 5
      change(&self)
    }
  }

  private func decide(_ routes: [Route]) -> (index: UInt32, step: DecisionStep)? {
    var decision = DecisionProcess()
    decision.begin()
    for (index, route) in routes.enumerated() {
      decision.add(.init(index: UInt32(index), route.summary, route.peer, pathIdentifier: route.identifier))
    }
    return decision.decide()
  }

  private func expect(_ step: DecisionStep, better: Route, worse: Route) {
    for (routes, best) in [([better, worse], 0), ([worse, better], 1), ([worse, better, worse], 1)] {
      let result = decide(routes)
      #expect(result?.step == step)
      #expect(result?.index == UInt32(best))
    }
  }

  @Test func theStepsInTheirOrder() {
    #expect(decide([]) == nil)
    #expect(decide([Route()])?.step == .onlyRoute)
    expect(.local, better: Route { $0.peer.isLocal = true }, worse: Route { $0.summary.localPreference = 500 })
    expect(
      .localPreference,
      better: Route {
        $0.summary.localPreference = 101; $0.summary.asPathLength = 9
      }, worse: Route())
    expect(
      .localPreference, better: Route { $0.summary.asPathLength = 9 },
      worse: Route { $0.summary.wellKnownCommunities = .gracefulShutdown })
    expect(
      .asPathLength,
      better: Route {
        $0.summary.asPathLength = 2; $0.summary.origin = .incomplete
      }, worse: Route())
    expect(.origin, better: Route { $0.summary.multiExitDisc = 9 }, worse: Route { $0.summary.origin = .egp })
    expect(.multiExitDisc, better: Route { $0.peer.isInternal = true }, worse: Route { $0.summary.multiExitDisc = 1 })
    expect(.external, better: Route { $0.peer.identifier = 9 }, worse: Route { $0.peer.isInternal = true })
    expect(
      .bgpIdentifier,
      better: Route {
        $0.peer.identifier = 4; $0.peer.address = .v4(IPv4Address(10, 0, 1, 9))
      },
      worse: Route())
    expect(
      .bgpIdentifier,
      better: Route {
        $0.summary.originatorID = 4; $0.peer.identifier = 9
      }, worse: Route())
    expect(.clusterListLength, better: Route { $0.identifier = 9 }, worse: Route { $0.summary.clusterListLength = 1 })
    expect(
      .peerAddress, better: Route { $0.identifier = 9 },
      worse: Route { $0.peer.address = .v4(IPv4Address(10, 0, 1, 2)) })
    expect(.peerAddress, better: Route(), worse: Route { $0.peer.address = .v6(.loopback) })
    expect(.pathIdentifier, better: Route { $0.identifier = 1 }, worse: Route { $0.identifier = 2 })
  }

  @Test func medIsComparedWithinOneNeighborAlone() {
    let high = Route { $0.summary.multiExitDisc = 10 }
    let low = Route {
      $0.summary.multiExitDisc = 1; $0.summary.neighborAS = 65_002; $0.peer.identifier = 9
    }
    let result = decide([high, low])
    #expect(result?.index == 0 && result?.step == .bgpIdentifier)
    // The third beats the first by its MED, which leaves the second and the third.
    let third = Route {
      $0.summary.multiExitDisc = 3; $0.peer.identifier = 7
    }
    for (routes, best) in [([high, low, third], 2), ([third, high, low], 0), ([low, third, high], 1)] {
      #expect(decide(routes)?.index == UInt32(best))
    }
  }

  @Test func equalsAreThoseThatOnlyTheLastStepsTellApart() {
    var decision = DecisionProcess()
    decision.begin()
    let routes = [Route { $0.peer.identifier = 9 }, Route(), Route { $0.summary.asPathLength = 4 }]
    for (index, route) in routes.enumerated() {
      decision.add(.init(index: UInt32(index), route.summary, route.peer, pathIdentifier: 0))
    }
    #expect(decision.decide()?.index == 1)
    #expect(Set(decision.equals) == [0, 1])
  }
}
