import Testing
import Wire

@testable import BGP

@Suite("RPKI to router (RFC 8210)")
struct RTRTests {
  private func at(_ seconds: Int64) -> Instant { .zero + .seconds(seconds) }

  /// A session that was connected, and what it has asked.
  private struct Cache {
    var session = RTRSession()
    var now = Instant.zero
    var version: UInt8 = 1

    init() {
      session.start(now: now)
      session.connected(now: now)
    }

    mutating func say(_ messages: RTRMessage..., version: UInt8? = nil) {
      let octets = messages.flatMap { $0.serialized(version: version ?? self.version) }
      octets.withUnsafeBytes { session.receive($0, now: now) }
    }

    mutating func events() -> [RTRSession.Event] {
      var events: [RTRSession.Event] = []
      while let event = session.nextEvent() { events.append(event) }
      return events
    }

    /// What was asked, of the events.
    mutating func asked() -> [RTRMessage] {
      events().compactMap { event in
        guard case .send(let octets) = event else { return nil }
        return octets.withUnsafeBytes { try? RTRMessage($0) }
      }
    }
  }

  @Test func messagesReadAsTheyWereWritten() throws {
    let messages: [RTRMessage] = [
      .serialNotify(session: 7, serial: 9), .serialQuery(session: 7, serial: 9), .resetQuery,
      .cacheResponse(session: 7), .prefix(try payload("10.0.0.0/8", upTo: 24, 65_001), isAnnounced: true),
      .prefix(try payload("2001:db8::/32", upTo: 48, 4_200_000_000), isAnnounced: false),
      .endOfData(session: 7, serial: 10, .init(refresh: 1, retry: 2, expire: 700)), .cacheReset,
      .errorReport(.noDataAvailable, pdu: [1, 2], text: "später"),
    ]
    for message in messages {
      let octets = message.serialized(version: 1)
      #expect(try octets.withUnsafeBytes { bytes throws in try RTRMessage(bytes) } == message)
      let header = try octets.withUnsafeBytes { bytes throws in try RTRMessage.header(bytes) }
      #expect(header?.length == octets.count)
    }
    #expect(
      RTRMessage.prefix(try payload("192.0.2.0/24", upTo: 26, 65_001), isAnnounced: true).serialized(version: 1)
        == [1, 4, 0, 0, 0, 0, 0, 20, 1, 24, 26, 0, 192, 0, 2, 0, 0, 0, 0xfd, 0xe9])
    #expect(RTRMessage.endOfData(session: 7, serial: 1, nil).serialized(version: 0).count == 12)
  }

  @Test func aCacheIsAskedForAllAndThenForWhatIsNew() throws {
    var cache = Cache()
    #expect(cache.asked() == [.resetQuery])
    let (one, two) = (try payload("10.0.0.0/8", upTo: 24, 1), try payload("10.1.0.0/16", 2))
    cache.say(.cacheResponse(session: 7), .prefix(one, isAnnounced: true))
    #expect(cache.events().isEmpty && cache.session.origins.count == 0, "nothing counts before the end")
    cache.say(.endOfData(session: 7, serial: 1, .init(refresh: 100, retry: 50, expire: 700)))
    #expect(cache.events() == [.changed(announced: 1, withdrawn: 0)])
    #expect(cache.session.isSynchronized && cache.session.deadline == at(100))
    cache.say(.serialNotify(session: 7, serial: 1))
    #expect(cache.events().isEmpty, "that is known")
    cache.say(.serialNotify(session: 7, serial: 2))
    #expect(cache.asked() == [.serialQuery(session: 7, serial: 1)])
    cache.say(
      .cacheResponse(session: 7), .prefix(one, isAnnounced: false), .prefix(two, isAnnounced: true),
      .endOfData(session: 7, serial: 2, .init(refresh: 100, retry: 50, expire: 700)))
    #expect(cache.events() == [.changed(announced: 1, withdrawn: 1)])
    #expect(cache.session.origins.contains(two) && !cache.session.origins.contains(one))
    // Of its own accord when the refresh time is over.
    cache.now = at(100)
    cache.session.handleTimeout(now: cache.now)
    #expect(cache.asked() == [.serialQuery(session: 7, serial: 2)])
    cache.say(.cacheReset)
    #expect(cache.asked() == [.resetQuery])
    cache.say(.cacheResponse(session: 8), .prefix(one, isAnnounced: true), .endOfData(session: 8, serial: 1, nil))
    #expect(cache.session.origins.count == 1 && cache.session.origins.contains(one), "what was not named is gone")
  }

  @Test func octetsComeInPieces() throws {
    var cache = Cache()
    let messages: [RTRMessage] = [
      .cacheResponse(session: 7), .prefix(try payload("10.0.0.0/8", 1), isAnnounced: true),
      .endOfData(session: 7, serial: 1, nil),
    ]
    for octet in messages.flatMap({ $0.serialized(version: 1) }) {
      [octet].withUnsafeBytes { cache.session.receive($0, now: .zero) }
    }
    #expect(cache.session.origins.count == 1 && cache.session.isSynchronized)
  }

  @Test func aLostCacheIsConnectedAgainAndForgottenInTheEnd() throws {
    var cache = Cache()
    cache.say(
      .cacheResponse(session: 7), .prefix(try payload("10.0.0.0/8", 1), isAnnounced: true),
      .endOfData(session: 7, serial: 1, .init(refresh: 300, retry: 60, expire: 600)))
    _ = cache.events()
    cache.session.disconnected(now: at(10))
    #expect(cache.session.origins.count == 1 && cache.session.deadline == at(70))
    cache.session.handleTimeout(now: at(70))
    #expect(cache.events() == [.connect])
    cache.session.connected(now: at(71))
    #expect(cache.asked() == [.serialQuery(session: 7, serial: 1)])
    cache.session.disconnected(now: at(72))
    cache.session.handleTimeout(now: at(600))
    #expect(cache.events() == [.expired, .connect] && cache.session.origins.count == 0)
    cache.session.connected(now: at(601))
    #expect(cache.asked() == [.resetQuery])
  }

  @Test func oneWithPatienceTriesSooner() throws {
    var cache = Cache()
    cache.session.patience = .seconds(10)
    _ = cache.events()
    cache.session.disconnected(now: at(5))
    #expect(cache.session.deadline == at(15))
    cache.session.handleTimeout(now: at(15))
    cache.session.connected(now: at(15))
    _ = cache.events()
    // As long as something comes, it is waited for.
    cache.now = at(20)
    cache.say(.cacheResponse(session: 7), .prefix(try payload("10.0.0.0/8", 1), isAnnounced: true))
    #expect(cache.session.deadline == at(30))
    cache.session.handleTimeout(now: at(30))
    #expect(cache.events() == [.failed("the cache does not answer"), .close])
  }

  /// StayRTR, when it has restarted, answers a question about the session before it so.
  @Test func aSessionThatTheCacheCallsCorruptBeginsAnew() throws {
    var cache = Cache()
    cache.say(
      .cacheResponse(session: 7), .prefix(try payload("10.0.0.0/8", 1), isAnnounced: true),
      .endOfData(session: 7, serial: 1, nil))
    cache.session.disconnected(now: at(10))
    cache.session.handleTimeout(now: at(610))
    cache.session.connected(now: at(610))
    _ = cache.events()
    cache.now = at(611)
    cache.say(.errorReport(.corruptData, pdu: [], text: ""))
    #expect(cache.events().contains(.close) && cache.session.origins.count == 1, "what is known counts on")
    cache.session.handleTimeout(now: at(1_211))
    cache.session.connected(now: at(1_211))
    #expect(cache.asked() == [.resetQuery])
  }

  /// RFC 8210 §10.
  @Test func dataOfBeforeAreNotCurrentUntilTheCacheHasAnswered() throws {
    var cache = Cache()
    #expect(!cache.session.isCurrent)
    let end = RTRMessage.endOfData(session: 7, serial: 1, .init(refresh: 300, retry: 60, expire: 600))
    cache.say(.cacheResponse(session: 7), .prefix(try payload("10.0.0.0/8", 1), isAnnounced: true), end)
    #expect(cache.session.isCurrent && cache.session.changedPrefixes == nil)
    cache.say(.serialNotify(session: 7, serial: 2))
    #expect(cache.session.isCurrent, "while it is asked")
    cache.session.disconnected(now: at(10))
    cache.session.handleTimeout(now: at(70))
    cache.session.connected(now: at(70))
    #expect(!cache.session.isCurrent && cache.session.origins.count == 1)
    cache.now = at(71)
    cache.say(.cacheResponse(session: 7), .prefix(try payload("10.1.0.0/16", 1), isAnnounced: true), end)
    let come = try prefix("10.1.0.0/16")
    #expect(cache.session.isCurrent && cache.session.changedPrefixes == [come])
    #expect(cache.session.updated == at(71) && cache.session.expiry == at(671))
    _ = cache.events()
    cache.session.stop()
    #expect(cache.events() == [.close] && cache.session.deadline == .distantFuture)
    #expect(!cache.session.isCurrent && cache.session.origins.count == 0 && cache.session.phase == .stopped)
    cache.session.start(now: at(80))
    #expect(cache.events() == [.connect])
  }

  /// RFC 8210 §7.
  @Test func anOlderCacheIsSpokenToInItsOwnVersion() throws {
    var cache = Cache()
    _ = cache.events()
    cache.say(
      .cacheResponse(session: 7), .prefix(try payload("10.0.0.0/8", 1), isAnnounced: true),
      .endOfData(session: 7, serial: 1, nil), version: 0)
    #expect(cache.session.isSynchronized && cache.session.deadline == at(3_600))
    cache.say(.serialNotify(session: 7, serial: 2), version: 0)
    #expect(cache.events().contains(.send(RTRMessage.serialQuery(session: 7, serial: 1).serialized(version: 0))))
    cache.say(.cacheResponse(session: 7), version: 1)
    #expect(cache.asked().contains { if case .errorReport(.unexpectedVersion, _, _) = $0 { true } else { false } })

    var refusing = Cache()
    _ = refusing.events()
    refusing.say(.errorReport(.unsupportedVersion, pdu: [], text: "0 only"), version: 0)
    #expect(refusing.events().contains(.close) && refusing.session.deadline == .zero)
    refusing.session.handleTimeout(now: .zero)
    refusing.session.connected(now: .zero)
    #expect(refusing.events() == [.connect, .send(RTRMessage.resetQuery.serialized(version: 0))])
  }

  @Test func whatACacheMayNotSay() throws {
    let one = RTRMessage.prefix(try payload("10.0.0.0/8", 1), isAnnounced: true)
    let gone = RTRMessage.prefix(try payload("10.0.0.0/8", 1), isAnnounced: false)
    let (begin, end) = (RTRMessage.cacheResponse(session: 7), RTRMessage.endOfData(session: 7, serial: 1, nil))
    let cases: [([[UInt8]], RTRMessage.ErrorCode?)] = [
      ([begin, one, one, end].map { $0.serialized(version: 1) }, .duplicateAnnouncement),
      ([begin, gone, end].map { $0.serialized(version: 1) }, .unknownWithdrawal),
      ([one.serialized(version: 1)], .invalidRequest), ([end.serialized(version: 1)], .invalidRequest),
      ([RTRMessage.resetQuery.serialized(version: 1)], .invalidRequest),
      ([[1, 77, 0, 0, 0, 0, 0, 8]], .unsupportedType), ([[1, 3, 0, 0, 0, 0, 0, 7]], .corruptData),
      ([[1, 3, 0, 0, 0xff, 0xff, 0xff, 0xff]], .corruptData), ([[1, 3, 0, 0, 0, 0, 0, 9, 0]], .corruptData),
      ([begin.serialized(version: 1), [1, 4, 0, 0, 0, 0, 0, 20, 1, 33, 33, 0, 1, 2, 3, 4, 0, 0, 0, 1]], .corruptData),
      ([begin.serialized(version: 1), [1, 4, 0, 0, 0, 0, 0, 20, 1, 24, 16, 0, 1, 2, 3, 4, 0, 0, 0, 1]], .corruptData),
      ([[2, 3, 0, 7, 0, 0, 0, 8]], .unexpectedVersion),
      ([RTRMessage.errorReport(.internalError, pdu: [], text: "").serialized(version: 1)], nil),
      ([[1, 10, 0, 0, 0, 0, 0, 12, 0, 0, 0, 99]], nil),
    ]
    for (octets, code) in cases {
      var cache = Cache()
      _ = cache.events()
      octets.joined().withContiguous { cache.session.receive($0, now: .zero) }
      let events = cache.events()
      #expect(events.contains(.close) && cache.session.origins.count == 0)
      let reported = events.compactMap { event -> RTRMessage.ErrorCode? in
        guard case .send(let octets) = event,
          case .errorReport(let code, _, _)? = octets.withUnsafeBytes({ try? RTRMessage($0) })
        else { return nil }
        return code
      }
      #expect(reported == (code.map { [$0] } ?? []))
    }
  }

  @Test func aCacheWithoutDataIsAskedLater() {
    var cache = Cache()
    _ = cache.events()
    cache.say(.errorReport(.noDataAvailable, pdu: [], text: ""))
    #expect(cache.events().contains(.close) && cache.session.deadline == at(600))
  }
}

extension Sequence where Element == UInt8 {
  fileprivate func withContiguous(_ body: (UnsafeRawBufferPointer) -> Void) { Array(self).withUnsafeBytes(body) }
}
