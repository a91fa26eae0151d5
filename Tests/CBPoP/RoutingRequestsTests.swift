import BGP
import Testing
import Wire

@testable import CBPoP

@Suite struct RoutingRequestsTests {
  private let start = Instant(nanoseconds: 5_000_000_000)
  private var requests: RoutingRequests

  init() throws {
    var configuration = RoutingRequests.Configuration()
    configuration.announced = [try #require(IPPrefix("198.51.100.0/24"))]
    requests = RoutingRequests(configuration)
  }

  private func order(
    _ verb: RoutingOrder.Verb, _ subject: String, _ change: (inout RoutingOrder) -> Void = { _ in }
  ) -> RoutingOrder {
    var order = RoutingOrder(verb, subject)
    change(&order)
    return order
  }

  @Test mutating func eachEndsAtItsTime() throws {
    _ = try requests.follow(order(.announce, "203.0.113.0/24"), now: start)
    #expect(requests.deadline == .distantFuture)
    _ = try requests.follow(order(.blackhole, "198.51.100.7"), now: start)
    _ = try requests.follow(order(.addRule, "dst 198.51.100.7/32") { $0.lifetime = "10s" }, now: start)
    #expect(requests.deadline == start + .seconds(10))
    #expect(requests.views(now: start).map(\.secondsLeft) == [10, nil, 3_600])
    #expect(requests.expire(now: start + .seconds(9)).isEmpty)
    let rule = try FlowspecRule(parsing: "dst 198.51.100.7/32")
    #expect(requests.expire(now: start + .seconds(10)) == [.remove(.rule(rule))])
    // Asked for again, it lasts from then on.
    _ = try requests.follow(order(.blackhole, "198.51.100.7/32"), now: start + .seconds(60))
    #expect(requests.held.count == 2 && requests.deadline == start + .seconds(3_660))
    let prefix = try #require(IPPrefix("203.0.113.0/24"))
    #expect(try requests.follow(order(.withdraw, "203.0.113.0/24"), now: start) == .remove(.prefix(prefix)))
    #expect(throws: RoutingRefusal.self) { try requests.follow(order(.withdraw, "203.0.113.0/24"), now: start) }
  }

  @Test mutating func whatIsToldOfABlackhole() throws {
    let asked = order(.blackhole, "198.51.100.7") { $0.communities = ["64512:666", "65535:666", "64512:1:2"] }
    guard case .set(let request) = try requests.follow(asked, now: start),
      case .route(let attributes, discards: true) = request.content
    else { return #expect(Bool(false), "no blackhole") }
    #expect(attributes.communities == [.blackhole, .noExport, Community(64_512, 666)])
    #expect(attributes.largeCommunities == [LargeCommunity(64_512, 1, 2)])
  }

  @Test(
    arguments: [
      (.announce, "198.51.100.0/24"), (.blackhole, "198.51.100.0/24"), (.blackhole, "0.0.0.0/0"), (.blackhole, "::/0"),
      (.announce, ""), (.withdraw, "x"), (.addRule, "proto"), (.removeRule, "dst 1.2.3.4"),
    ] as [(RoutingOrder.Verb, String)])
  mutating func refusals(verb: RoutingOrder.Verb, subject: String) {
    #expect(throws: RoutingRefusal.self) { try requests.follow(RoutingOrder(verb, subject), now: start) }
    #expect(requests.held.isEmpty)
  }

  @Test mutating func moreThanEnough() throws {
    for number in 0..<UInt32(RoutingRequests.maximumCount) {
      _ = try requests.follow(order(.announce, "\(IPAddress.v4(IPv4Address(rawValue: number)))"), now: start)
    }
    #expect(throws: RoutingRefusal.self) { try requests.follow(order(.announce, "203.0.113.0/24"), now: start) }
    _ = try requests.follow(order(.announce, "0.0.0.9") { $0.multiExitDisc = 1 }, now: start)
  }

  @Test mutating func aRestart() throws {
    _ = try requests.follow(order(.announce, "203.0.113.0/24") { $0.multiExitDisc = 7 }, now: start)
    _ = try requests.follow(order(.blackhole, "198.51.100.7") { $0.lifetime = "60s" }, now: start)
    _ = try requests.follow(order(.addRule, "dst 198.51.100.7/32") { $0.lifetime = "20s" }, now: start)
    let saved = requests.saved(now: start, timeOfDay: 1_000)
    #expect(saved.map(\.end) == [1_020, nil, 1_060])
    var configuration = RoutingRequests.Configuration()
    configuration.announced = [try #require(IPPrefix("203.0.113.0/24"))]
    var next = RoutingRequests(configuration)
    let later = Instant(nanoseconds: 77)
    let (changes, refusals) = next.restore(saved, now: later, timeOfDay: 1_030)
    // The rule has ended, and the settings have the announced prefix now.
    #expect(changes.count == 1 && refusals.count == 1)
    #expect(next.deadline == later + .seconds(30))
  }
}
