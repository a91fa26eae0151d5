import Testing
import Wire

@testable import BGP

@Suite("BGP monitoring (RFC 7854)")
struct BMPTests {
  private var peer: BMPMessage.Peer {
    BMPMessage.Peer(
      address: .v4(IPv4Address(192, 0, 2, 9)), autonomousSystem: 65_001, identifier: .loopback, seconds: 7,
      microseconds: 8)
  }

  private var messages: [BMPMessage] {
    var six = peer
    six.address = .v6(.loopback)
    six.isPostPolicy = true
    six.hasTwoOctetPaths = true
    let open = SessionPair.configuration(.a).open.serialized
    let cease = NotificationMessage.cease(.administrativeShutdown).serialized
    return [
      .initiation(description: "cbpop 1.0", name: "pop1", texts: ["one", "two"]),
      .peerUp(
        peer, localAddress: .v4(IPv4Address(192, 0, 2, 1)), localPort: 179, remotePort: 40_000, sent: open,
        received: SessionPair.configuration(.b).open.serialized),
      .peerUp(six, localAddress: .v6(.any), localPort: 1, remotePort: 2, sent: open, received: open),
      .routeMonitoring(six, update: message(2, updateBody())),
      .statistics(peer, [.init(.rejectedPrefixes, 3), .init(.adjRIBInRoutes, 1 << 40), .init(.treatedAsWithdraw, 1)]),
      .peerDown(peer, .sentNotification(cease)), .peerDown(peer, .closed(event: 10)),
      .peerDown(peer, .receivedNotification(cease)), .peerDown(peer, .closedByPeer), .peerDown(peer, .monitoringEnds),
      .termination(.closedForGood, text: "so long"), .termination(.closed, text: ""),
    ]
  }

  @Test func messagesReadAsTheyWereWritten() {
    for message in messages {
      let octets = message.serialized
      #expect(octets.withUnsafeBytes { BMPMessage($0) } == message)
      for length in 0..<octets.count {
        #expect(Array(octets[..<length]).withUnsafeBytes { BMPMessage($0) } == nil)
      }
    }
  }

  /// §4.1 and §4.2, by hand.
  @Test func theHeaders() {
    let octets = BMPMessage.peerDown(peer, .closedByPeer).serialized
    #expect(octets.prefix(6) == [3, 0, 0, 0, 49, 2])
    let expected: [UInt8] =
      [0, 0] + Array(repeating: 0, count: 8) + Array(repeating: 0, count: 12) + [192, 0, 2, 9] + [0, 0, 0xfd, 0xe9]
      + [127, 0, 0, 1] + [0, 0, 0, 7] + [0, 0, 0, 8]
    #expect(Array(octets[6..<48]) == expected && octets.last == 4)
  }

  @Test func anUpdateAtHand() {
    let update = message(2, updateBody())
    var octets: [UInt8] = [9]
    update.withUnsafeBytes { BMPMessage.append(routeMonitoring: $0, of: peer, to: &octets) }
    #expect(Array(octets.dropFirst()) == BMPMessage.routeMonitoring(peer, update: update).serialized)
  }
}

@Suite("The Adj-RIBs-In for a station (RFC 7854 §5)")
struct AdjRIBInWalkTests {
  /// What a station makes of the messages: read as a session with the peer would read them.
  private struct Station {
    var routes: [PeerID: [IPPrefix: PathAttributes]] = [:]
    var messages = 0
    var longest = 0

    mutating func take(_ peer: PeerID, _ octets: UnsafeRawBufferPointer, _ autonomousSystem: UInt32) throws {
      let header = try #require(try MessageHeader(octets, maximumLength: MessageHeader.extendedMaximumLength))
      #expect(header.type == .update && header.messageLength == octets.count)
      var context = UpdateReader.Context(families: .unicast, localAS: 1, peerAS: autonomousSystem)
      context.addPathFamilies = []
      var reader = UpdateReader(context)
      let update = try reader.read(UnsafeRawBufferPointer(rebasing: octets[MessageHeader.length...]))
      #expect(update.fault == nil && update.withdrawn.isEmpty && update.mpUnreachable == nil)
      for (nlri, isMultiprotocol) in [(update.reachable, false), (update.mpReachable ?? .none(.ipv6Unicast), true)]
      where !nlri.isEmpty {
        let attributes = reader.withCanonicalAttributes(of: update, isMultiprotocol: isMultiprotocol) {
          PathAttributes(canonical: $0)
        }
        for prefix in nlri.prefixes {
          #expect(routes[peer, default: [:]].updateValue(attributes, forKey: prefix) == nil)
        }
      }
      messages += 1
      longest = max(longest, octets.count)
    }
  }

  @Test(arguments: [1, 3, 1_000]) func everyRouteOfThePeersThatAreUp(page: Int) throws {
    let network = try RIBNetwork([
      .init(autonomousSystem: 65_001), .init(autonomousSystem: 65_002), .init(autonomousSystem: 65_003),
    ])
    let hop = IPAddress.v6(IPv6Address(high: 0x2001_0db8_0000_0000, low: 9))
    var expected: [PeerID: [IPPrefix: PathAttributes]] = [:]
    for (peer, number) in [(0, UInt32(65_001)), (1, 65_002), (2, 65_003)] {
      for index in 0..<40 {
        let four = try prefix("10.\(index).0.0/16")
        let six = try prefix("2001:db8:\(index)::/48")
        let own = attributes([number, UInt32(index / 10 + 1)])
        let own6 = attributes([number, UInt32(index / 10 + 1)], nextHop: hop) { $0.communities = [.noExport] }
        network.announce([four], own, from: peer)
        network.announce([six], own6, from: peer)
        if peer < 2 {
          expected[network.peers[peer], default: [:]][four] = own
          expected[network.peers[peer], default: [:]][six] = own6
        }
      }
    }
    network.rib.originate(try prefix("192.0.2.0/24"))
    var station = Station()
    var walk = AdjRIBInWalk()
    let numbers = [network.peers[0]: UInt32(65_001), network.peers[1]: 65_002]
    while !walk.isComplete {
      let peers = [network.peers[0]: MonitoredForm(), network.peers[1]: MonitoredForm()]
      walk.next(network.rib, destinations: page, of: peers) { peer, octets in
        do {
          try station.take(peer, octets, numbers[peer] ?? 0)
        } catch {
          Issue.record("\(error)")
        }
      }
    }
    #expect(station.routes == expected)
    if page == 1_000 { #expect(station.messages == 2 * 2 * 4, "those with the same attributes together") }
  }

  /// As many as fit into one message, and those whose attributes came in an extended one.
  @Test func longMessages() throws {
    let network = try RIBNetwork([.init(autonomousSystem: 65_001, extended: true)])
    let huge = attributes([65_001]) { $0.communities = (0..<2_000).map { Community(rawValue: $0) } }
    network.announce([try prefix("192.0.2.0/24")], huge, from: 0)
    for index in 0..<2_000 {
      network.announce([try prefix("10.\(index / 250).\(index % 250).0/24")], attributes([65_001]), from: 0)
    }
    var station = Station()
    var walk = AdjRIBInWalk()
    while !walk.isComplete {
      walk.next(network.rib, destinations: 4_000, of: [network.peers[0]: .init()]) { peer, octets in
        do { try station.take(peer, octets, 65_001) } catch { Issue.record("\(error)") }
      }
    }
    #expect(station.routes.values.first?.count == 2_001 && station.longest > 8_000 && station.messages == 3)
  }

  /// With path identifiers, of the families that have them.
  @Test func pathIdentifiers() throws {
    let network = try RIBNetwork([.init(autonomousSystem: 65_001)])
    let one = try prefix("10.0.0.0/8")
    network.announce([one], attributes([65_001]), from: 0)
    var found: [[UInt8]] = []
    for families in [AddressFamilies.ipv6Unicast, .unicast] {
      var walk = AdjRIBInWalk()
      while !walk.isComplete {
        walk.next(network.rib, destinations: 9, of: [network.peers[0]: .init(addPathFamilies: families)]) {
          found.append(Array($1.suffix(6)))
        }
      }
    }
    #expect(found.map { Array($0.suffix(2)) } == [[8, 10], [8, 10]])
    #expect(found.last == [0, 0, 0, 0, 8, 10])
  }

  /// What policy denies or changes is told as it came; what has become stale is not told.
  @Test func beforePolicy() throws {
    let network = try RIBNetwork([.init(autonomousSystem: 65_001)])
    let (peer, denied, other) = (network.peers[0], try prefix("10.1.0.0/16"), try prefix("10.2.0.0/16"))
    let list = PrefixList([try PrefixRange(parsing: "10.1.0.0/16")])
    let policy = Policy(
      "some", [.init("not this", if: [.prefix(list)], .deny), .init("more", set: [.localPreference(7)], .permit)])
    _ = network.rib.setPolicy(PeerPolicy(incoming: policy), for: peer)
    network.announce([denied, other], attributes([65_001, 400_000]), from: 0)
    func told() -> Station {
      var station = Station()
      var walk = AdjRIBInWalk()
      while !walk.isComplete {
        walk.next(network.rib, destinations: 9, of: [peer: .init()]) { peer, octets in
          do { try station.take(peer, octets, 65_001) } catch { Issue.record("\(error)") }
        }
      }
      return station
    }
    let own = attributes([65_001, 400_000])
    #expect(told().routes == [peer: [denied: own, other: own]])
    var dump = TableDump(timestamp: 1)
    var octets: [UInt8] = []
    while !dump.isComplete { dump.write(network.rib, destinations: 9, to: &octets) }
    #expect(dump.routes == 1, "the tables are dumped as policy has left them")
    network.rib.markStale(peer, .all)
    #expect(told().routes.isEmpty)
  }
}
