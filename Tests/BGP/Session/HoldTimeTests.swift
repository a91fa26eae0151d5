import Testing
import Wire

@testable import BGP

@Suite("Hold time and KEEPALIVE")
struct HoldTimeTests {
  struct Offer: Sendable {
    var ours: UInt16
    var theirs: UInt16
    /// Nil where it is refused.
    var agreed: Int64?
    init(_ ours: UInt16, _ theirs: UInt16, _ agreed: Int64?) {
      self.ours = ours
      self.theirs = theirs
      self.agreed = agreed
    }
  }

  private func configuration(_ side: SessionPair.Side, _ holdTime: UInt16) -> PeerConfiguration {
    var configuration = SessionPair.configuration(side)
    configuration.holdTime = holdTime
    return configuration
  }

  private static let offers: [Offer] = [
    .init(90, 90, 90), .init(90, 3, 3), .init(3, 90, 3), .init(180, 90, 90), .init(90, 180, 90),
    .init(90, 65_535, 90), .init(65_535, 65_535, 65_535), .init(90, 0, 0), .init(0, 90, 0), .init(0, 0, 0),
    .init(0, 3, 0), .init(3, 3, 3), .init(90, 1, nil), .init(90, 2, nil), .init(0, 1, nil), .init(0, 2, nil),
    .init(3, 2, nil),
  ]

  /// RFC 4271 §4.2: "the smaller of its configured Hold Time and the Hold Time received in the OPEN message", and "either
  /// zero or at least three seconds".
  @Test(arguments: offers) func isTheSmallerOne(offer: Offer) {
    let open = configuration(.b, offer.theirs).open
    let own = configuration(.a, offer.ours)
    guard let agreed = offer.agreed else {
      let refusal = notification { () throws(NotificationMessage) in try SessionParameters(own, peer: open) }
      #expect(refusal == .unacceptableHoldTime && refusal?.data.isEmpty == true)
      return
    }
    let parameters = try? SessionParameters(own, peer: open)
    #expect(parameters?.holdTime == .seconds(agreed) && parameters?.keepaliveTime == .seconds(agreed) / 3)
  }

  /// A side's session, established at this instant with the KEEPALIVE that came at it.
  private func established(
    _ holdTime: UInt16, seed: UInt64 = 1, at now: Instant
  ) throws -> (Session, Session.ConnectionID) {
    var own = configuration(.a, holdTime)
    own.isPassive = true
    var session = Session(own, entropy: SeededEntropy(seed: seed))
    session.start(now: now)
    let accepted = session.accept(now: now)
    let id = try #require(accepted)
    give(configuration(.b, holdTime).open.serialized + MessageHeader.keepalive, to: &session, id, now)
    #expect(session.state == .established)
    return (session, id)
  }

  private func give(_ octets: [UInt8], to session: inout Session, _ id: Session.ConnectionID, _ now: Instant) {
    octets.withUnsafeBytes { bytes in
      var rest = bytes
      while true {
        switch session.receive(from: &rest, on: id, now: now) {
        case .nothing: return
        case .update, .other: continue
        }
      }
    }
  }

  private func sent(by session: inout Session) -> [UInt8] {
    var types: [UInt8] = []
    while let event = session.nextEvent() {
      if case .send(_, let octets) = event { types.append(octets[18]) }
    }
    return types
  }

  /// To the nanosecond, and from the last KEEPALIVE or UPDATE on (RFC 4271 §8.2.2).
  @Test(arguments: [3, 9, 90, 65_535] as [UInt16]) func theHoldTimerExpiresAtItsTime(holdTime: UInt16) throws {
    let update = message(2, updateBody())
    for last in [MessageHeader.keepalive, update] {
      let began = Instant.zero + .seconds(7)
      let (initial, id) = try established(holdTime, at: began)
      var session = initial
      let heard = began + .seconds(2)
      give(last, to: &session, id, heard)
      let end = heard + .seconds(Int64(holdTime))
      // What is sent meanwhile does not put it off.
      var now = began
      while session.deadline < end {
        #expect(session.deadline > now)
        now = session.deadline
        session.handleTimeout(now: now)
        session.transportTookAll(now: now)
      }
      #expect(session.state == .established && session.deadline == end)
      session.handleTimeout(now: end - .nanoseconds(1))
      #expect(session.state == .established)
      session.handleTimeout(now: end)
      #expect(session.state == .idle && session.lastCause == .sent(.holdTimerExpired))
    }
  }

  /// RFC 4271 §8.2.2: before the OPEN it is four minutes.
  @Test func aPeerThatNeverSendsItsOpenIsGivenUp() throws {
    var own = configuration(.a, 90)
    own.isPassive = true
    var session = Session(own, entropy: SeededEntropy(seed: 1))
    session.start(now: .zero)
    _ = session.accept(now: .zero)
    session.handleTimeout(now: .zero + .seconds(240) - .nanoseconds(1))
    #expect(session.state == .openSent)
    session.handleTimeout(now: .zero + .seconds(240))
    #expect(session.state == .idle && session.lastCause == .sent(.holdTimerExpired))
  }

  /// RFC 4271 §10: a third of the hold time, times 0.75 to 1; §4.4: "MUST NOT be sent more frequently than one per
  /// second".
  @Test(arguments: [3, 4, 9, 10, 90, 180, 65_535] as [UInt16]) func keepalivesComeAThirdApart(holdTime: UInt16) throws {
    let third = Interval.seconds(Int64(holdTime)) / 3
    let shortest = max(.seconds(1), third * 3 / 4)
    var all: [Interval] = []
    for seed in 0..<200 as Range<UInt64> {
      let (initial, id) = try established(holdTime, seed: seed, at: .zero)
      var session = initial
      _ = sent(by: &session)
      var last = Instant.zero
      for _ in 0..<3 {
        give(MessageHeader.keepalive, to: &session, id, last)
        session.transportTookAll(now: last)
        let next = session.deadline
        session.handleTimeout(now: next)
        #expect(sent(by: &session) == [4])
        all.append(next - last)
        last = next
      }
    }
    #expect(all.allSatisfy { $0 >= shortest && $0 <= max(third, .seconds(1)) })
    if third > .seconds(2) {
      let (least, most) = (all.min() ?? .zero, all.max() ?? .zero)
      #expect(least < third * 77 / 100 && most > third * 98 / 100, "spread over the whole range")
      #expect(Set(all).count > 500)
    }
  }

  @Test func aHoldTimeOfZeroSendsNone() throws {
    var session = try established(0, at: .zero).0
    #expect(session.deadline == .distantFuture)
    session.handleTimeout(now: .zero + .seconds(1_000_000))
    #expect(session.state == .established)
  }
}
