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
}
