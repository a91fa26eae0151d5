import Testing
import Wire

@testable import BGP

@Suite("Graceful restart between two sessions")
struct SessionRestartTests {
  private func pair(notifications: Bool = true, longLived: UInt32? = nil, both: Bool = true) -> SessionPair {
    var restart = GracefulRestartConfiguration()
    restart.survivesNotification = notifications
    restart.longLivedTime = longLived
    var a = SessionPair.configuration(.a)
    var b = SessionPair.configuration(.b)
    a.gracefulRestart = restart
    a.isPassive = true
    if both { b.gracefulRestart = restart }
    let pair = SessionPair(a, b)
    pair.start(.a)
    pair.start(.b)
    #expect(pair.run(for: .seconds(5)) { $0.isEstablished })
    return pair
  }

  @Test func whatBothOfferIsWhatIsKept() throws {
    let parameters = try #require(pair(longLived: 5_000)[.a].parameters)
    let retention = try #require(parameters.retention)
    #expect(retention.families == .ipv4Unicast && retention.restartTime == .seconds(120))
    #expect(retention.longLived == [.ipv4Unicast: .seconds(5_000)])
    #expect(parameters.survivesNotification && parameters.peerGracefulRestart?.hasRestarted == false)
    let alone = try #require(pair(both: false)[.a].parameters)
    #expect(alone.retention == nil && !alone.survivesNotification)
  }

  @Test func aLostConnectionLeavesTheRoutes() {
    for (both, isKept) in [(true, true), (false, false)] {
      let pair = pair(both: both)
      pair.breakConnections()
      pair.run(for: .milliseconds(20))
      #expect((pair[.a].retention != nil) == isKept && pair.causes(.a) == [.transport])
    }
  }

  /// cilium #31346: a Cease at shutdown defeats it.
  @Test func aStopForARestartSaysNothing() {
    let pair = pair(notifications: false)
    pair.stopForRestart(.a)
    pair.run(for: .milliseconds(20))
    #expect(pair.notificationsSent(.a).isEmpty && pair[.a].state == .idle)
    #expect(pair.causes(.b) == [.transport] && pair[.b].retention != nil)
    pair.run(for: .seconds(300))
    #expect(pair[.a].state == .idle, "stopped is stopped")
  }

  /// RFC 8538 §4: what is meant for good is a Hard Reset.
  @Test func aStopForGoodEndsTheGrace() {
    let pair = pair()
    pair.stop(.a, "gone fishing")
    pair.run(for: .milliseconds(20))
    let reason = NotificationMessage.cease(.administrativeShutdown, "gone fishing")
    #expect(pair.notificationsSent(.a) == [.hardReset(reason)])
    #expect(
      pair.causes(.b) == [.received(.hardReset(reason))] && pair[.b].retention == nil && pair[.a].retention == nil)
    #expect(
      "\(NotificationMessage.hardReset(reason))" == "Cease: Hard Reset (Cease: Administrative Shutdown (gone fishing))")
    // Without RFC 8538, any NOTIFICATION does.
    let plain = self.pair(notifications: false)
    plain.stop(.a)
    plain.run(for: .milliseconds(20))
    #expect(plain.notificationsSent(.a) == [.cease(.administrativeShutdown)] && plain[.b].retention == nil)
  }

  @Test(arguments: [false, true]) func anErrorLeavesTheRoutesWhereBothSaySo(notifications: Bool) {
    let pair = pair(notifications: notifications)
    pair.inject(message(2, [0, 9, 0, 0]), from: .b)
    pair.run(for: .milliseconds(15))
    #expect(pair.causes(.a) == [.sent(.malformedAttributeList)])
    #expect((pair[.a].retention != nil) == notifications)
    pair.run(for: .milliseconds(15))
    #expect((pair[.b].retention != nil) == notifications)
  }

  /// RFC 4724 §4.1: R in the first OPEN, and F for what was preserved.
  @Test func whoHasRestartedSaysSoOnce() throws {
    let pair = pair()
    pair.restart(.b, seed: 3, preserved: [])
    #expect(pair.run(for: .seconds(120)) { $0.isEstablished })
    let said = try #require(pair[.a].parameters?.peerGracefulRestart)
    #expect(said.hasRestarted && said.families == [.init(.ipv4Unicast, isForwardingPreserved: false)])
    pair.breakConnections()
    pair.run(for: .milliseconds(20))
    #expect(pair.run(for: .seconds(120)) { $0.isEstablished })
    let later = try #require(pair[.a].parameters?.peerGracefulRestart)
    #expect(!later.hasRestarted && later.families == [.init(.ipv4Unicast, isForwardingPreserved: true)])
  }

  /// RFC 4724 §5: the peer has restarted, and its kernel has not told us of the connection before.
  @Test func aNewConnectionTakesThePlaceOfOneThatIsDead() {
    for both in [true, false] {
      let pair = pair(both: both)
      pair.run(for: .seconds(5))
      pair.restart(.b, seed: 3, preserved: [.ipv4Unicast], silently: true)
      let came = pair.run(for: .seconds(3)) { $0[.a].lastCause != nil && $0.isEstablished }
      #expect(came == both, "without the capability, the old one stands until it is found dead")
      if both { #expect(pair.causes(.a) == [.transport] && pair.notificationsSent(.a).isEmpty) }
    }
  }
}
