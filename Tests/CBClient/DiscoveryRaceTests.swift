import Testing
import Wire

@testable import CBClient

@Suite struct RaceTests {
  let start = Instant.zero + .seconds(100)

  func candidate(_ address: String, priority: Int = 0) -> Candidate {
    Candidate(name: "pop.example", address: SocketAddress(address)!, priority: priority, source: .address)
  }

  var three: [Candidate] {
    [candidate("192.0.2.1:443"), candidate("192.0.2.2:443"), candidate("192.0.2.3:443")]
  }

  func actions(_ race: inout Race) -> [Race.Action] {
    var actions: [Race.Action] = []
    while let action = race.nextAction() { actions.append(action) }
    return actions
  }

  @Test func familiesAlternateWithinAPriority() {
    let candidates = [
      candidate("192.0.2.9:443", priority: 1), candidate("192.0.2.1:443"), candidate("192.0.2.2:443"),
      candidate("192.0.2.3:443"), candidate("[2001:db8::1]:443"), candidate("[2001:db8::2]:443"),
    ]
    #expect(
      Candidate.ordered(candidates).map(\.address.description) == [
        "[2001:db8::1]:443", "192.0.2.1:443", "[2001:db8::2]:443", "192.0.2.2:443", "192.0.2.3:443", "192.0.2.9:443",
      ])
  }

  @Test func attemptsStartAStepApart() {
    var race = Race(three)
    #expect(race.deadline == .distantFuture)
    race.start(now: start)
    #expect(actions(&race) == [.start(0)])
    #expect(race.deadline == start + .milliseconds(250))
    race.handleTimeout(now: start + .milliseconds(249))
    #expect(actions(&race) == [])
    race.handleTimeout(now: start + .milliseconds(250))
    #expect(actions(&race) == [.start(1)])
    race.handleTimeout(now: race.deadline)
    #expect(actions(&race) == [.start(2)])
    // All are under way: what is left to wait for is the first attempt's end.
    #expect(race.deadline == start + .seconds(10))
  }

  @Test func aFailureStartsTheNextAtOnce() {
    var race = Race(three)
    race.start(now: start)
    race.failed(0, "refused", now: start + .milliseconds(5))
    #expect(actions(&race) == [.start(0), .start(1)])
    #expect(race.deadline == start + .milliseconds(255))
  }

  @Test func aLoneSuccessWinsAtOnce() {
    var race = Race(three)
    race.start(now: start)
    race.succeeded(0, rtt: .milliseconds(20), now: start + .milliseconds(20))
    #expect(actions(&race) == [.start(0), .won(0, rtt: .milliseconds(20))])
    #expect(race.isOver)
    #expect(race.deadline == .distantFuture)
  }

  @Test func withinTheGraceALowerRTTBeatsTheFirst() {
    var race = Race(three)
    race.start(now: start)
    race.handleTimeout(now: start + .milliseconds(250))
    race.succeeded(0, rtt: .milliseconds(260), now: start + .milliseconds(260))
    // The grace is the cap, and no further attempt starts in it.
    #expect(race.deadline == start + .milliseconds(310))
    race.succeeded(1, rtt: .milliseconds(40), now: start + .milliseconds(290))
    #expect(actions(&race) == [.start(0), .start(1), .cancel(0), .won(1, rtt: .milliseconds(40))])
  }

  @Test func aSlowerSecondLosesAndTheGraceIsNoLongerThanTheRTT() {
    var race = Race(three)
    race.start(now: start)
    race.handleTimeout(now: start + .milliseconds(250))
    race.handleTimeout(now: start + .milliseconds(500))
    race.succeeded(2, rtt: .milliseconds(10), now: start + .milliseconds(510))
    #expect(race.deadline == start + .milliseconds(520))
    race.succeeded(1, rtt: .milliseconds(265), now: start + .milliseconds(515))
    #expect(!race.isOver)
    race.handleTimeout(now: start + .milliseconds(520))
    #expect(
      actions(&race) == [
        .start(0), .start(1), .start(2), .cancel(0), .cancel(1), .won(2, rtt: .milliseconds(10)),
      ])
    let measured = race.measurements
    #expect(measured[0].rtt == nil)
    #expect(measured[1].rtt == .milliseconds(265))
  }

  @Test func aFailureInTheGraceMayEndIt() {
    var race = Race(three)
    race.start(now: start)
    race.handleTimeout(now: start + .milliseconds(250))
    race.succeeded(0, rtt: .milliseconds(255), now: start + .milliseconds(255))
    race.failed(1, "reset", now: start + .milliseconds(256))
    #expect(actions(&race) == [.start(0), .start(1), .won(0, rtt: .milliseconds(255))])
  }

  @Test func allFailedNamesEachReason() {
    var race = Race(three)
    race.start(now: start)
    race.failed(0, "refused", now: start)
    race.failed(1, "bad certificate", now: start)
    #expect(actions(&race) == [.start(0), .start(1), .start(2)])
    race.handleTimeout(now: start + .seconds(10))
    let last = actions(&race)
    #expect(last.first == .cancel(2))
    guard last.count == 2, case .lost(let failure) = last[1] else {
      Issue.record("not lost")
      return
    }
    #expect(failure.reasons.map(\.text) == ["refused", "bad certificate", "no handshake within 10 s"])
    #expect(failure.description.contains("pop.example (192.0.2.2:443): bad certificate"))
  }

  @Test func noCandidateIsLostAtOnce() {
    var race = Race([])
    race.start(now: start)
    #expect(actions(&race) == [.lost(Race.Failure(reasons: []))])
  }

  @Test func cancellingStopsWhatIsUnderWay() {
    var race = Race(three)
    race.start(now: start)
    race.handleTimeout(now: start + .milliseconds(250))
    race.cancel()
    #expect(actions(&race) == [.start(0), .start(1), .cancel(0), .cancel(1)])
    race.succeeded(0, rtt: .zero, now: start)
    race.handleTimeout(now: start + .seconds(20))
    #expect(actions(&race) == [])
  }

  @Test func reportsForWhatIsNotUnderWayAreIgnored() {
    var race = Race(three)
    race.succeeded(0, rtt: .zero, now: start)
    race.start(now: start)
    race.succeeded(1, rtt: .zero, now: start)
    race.failed(7, "", now: start)
    race.failed(-1, "", now: start)
    race.failed(0, "x", now: start)
    race.succeeded(0, rtt: .zero, now: start)
    #expect(actions(&race) == [.start(0), .start(1)])
  }

  /// Whatever happens in whatever order, each race ends once, and leaves nothing open but the winner.
  @Test func randomRacesEndCleanly() {
    let random = SeededEntropy(seed: 8305)
    for _ in 0..<2_000 {
      let count = Int(random.nextUInt64() % 6)
      var race = Race((0..<count).map { candidate("192.0.2.\($0 + 1):443") })
      var now = start
      var open: Set<Int> = []
      var winners: [Int] = []
      var losses = 0
      race.start(now: now)
      for _ in 0..<200 {
        while let action = race.nextAction() {
          switch action {
          case .start(let index): #expect(open.insert(index).inserted)
          case .cancel(let index): #expect(open.remove(index) != nil)
          case .won(let index, _): winners.append(index)
          case .lost: losses += 1
          }
        }
        guard !race.isOver else { break }
        now += .milliseconds(Int64(random.nextUInt64() % 100))
        let index = Int(random.nextUInt64() % UInt64(count + 1))
        switch random.nextUInt64() % 8 {
        case 0: race.succeeded(index, rtt: .milliseconds(Int64(random.nextUInt64() % 300)), now: now)
        case 1, 2:
          let before = race.measurements.filter { $0.failure != nil }.count
          race.failed(index, "x", now: now)
          if race.measurements.filter({ $0.failure != nil }).count > before { open.remove(index) }
        default:
          now = max(now, min(race.deadline, now + .seconds(20)))
          race.handleTimeout(now: now)
        }
      }
      #expect(race.isOver)
      #expect(winners.count + losses == 1)
      #expect(open == Set(winners))
    }
  }
}
