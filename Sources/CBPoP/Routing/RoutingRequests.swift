import BGP
import Settings
import Wire

/// Why an order is not followed.
struct RoutingRefusal: Error, Hashable, CustomStringConvertible {
  let description: String
  init(_ description: String) { self.description = description }
}

/// One thing that neighbors are told by request.
struct RoutingRequest: Hashable {
  enum Content: Hashable {
    /// - discards: the PoP itself drops what is bound there, too.
    case route(PathAttributes, discards: Bool)
    case rule(FlowspecActions)
  }

  enum Subject: Hashable {
    case prefix(IPPrefix)
    case rule(FlowspecRule)
  }

  var subject: Subject
  var content: Content
  /// ``Wire/Instant/distantFuture`` for no end.
  var end: Instant
  /// As it was asked for.
  var order: RoutingOrder
}

/// The requests that are held, each until its end: without clock and file, so that all of it can be tried.
struct RoutingRequests {
  /// What is to be done with the tables.
  enum Change: Hashable {
    case set(RoutingRequest)
    case remove(RoutingRequest.Subject)
  }

  struct Configuration {
    /// Prefixes that the settings hold, and no request may touch.
    var announced: [IPPrefix] = []
    /// Of a blackhole or a rule that names none.
    var lifetime = Interval.seconds(3_600)
    /// The longest of a blackhole or a rule.
    var longestLifetime = Interval.seconds(86_400)
  }

  static let maximumCount = 10_000

  private let configuration: Configuration
  private(set) var held: [RoutingRequest.Subject: RoutingRequest] = [:]

  init(_ configuration: Configuration) { self.configuration = configuration }

  // MARK: Orders

  mutating func follow(_ order: RoutingOrder, now: Instant) throws(RoutingRefusal) -> Change {
    let request: RoutingRequest
    switch order.verb {
    case .withdraw:
      let prefix = try prefix(order)
      return try remove(.prefix(prefix), or: "\(prefix) was not requested: cbpop bgp show requests")
    case .removeRule:
      let rule = try rule(order)
      return try remove(.rule(rule), or: "there is no such rule of this PoP's own: cbpop bgp show flowspec")
    case .announce: request = try announcement(order, now)
    case .blackhole: request = try blackhole(order, now)
    case .addRule:
      var actions = FlowspecActions()
      do { actions = try FlowspecActions(parsing: order.actions ?? "drop") } catch {
        throw RoutingRefusal("\(error)")
      }
      let end = try end(order, now, mustEnd: true)
      request = RoutingRequest(subject: .rule(try rule(order)), content: .rule(actions), end: end, order: order)
    }
    if let old = held[request.subject] {
      guard old.order.verb == request.order.verb else {
        throw RoutingRefusal("\(order.subject) is requested as \(old.order.verb): withdraw that first")
      }
    } else if held.count >= Self.maximumCount {
      throw RoutingRefusal("\(Self.maximumCount) requests are held already: withdraw some")
    }
    held[request.subject] = request
    return .set(request)
  }

  private mutating func remove(
    _ subject: RoutingRequest.Subject, or problem: String
  ) throws(RoutingRefusal) -> Change {
    guard held.removeValue(forKey: subject) != nil else { throw RoutingRefusal(problem) }
    return .remove(subject)
  }

  private func announcement(_ order: RoutingOrder, _ now: Instant) throws(RoutingRefusal) -> RoutingRequest {
    let prefix = try prefix(order)
    if configuration.announced.contains(prefix) {
      throw RoutingRefusal("\(prefix) is announced by the settings (bgp.announce): change it there")
    }
    var attributes = PathAttributes()
    try add(order.communities ?? [], to: &attributes)
    attributes.multiExitDisc = order.multiExitDisc
    if let text = order.nextHop {
      guard let hop = IPAddress(text), hop.isIPv4 == prefix.address.isIPv4, !hop.isUnspecified else {
        throw RoutingRefusal("the next hop '\(text)' is no address of the prefix's family")
      }
      attributes.nextHop = hop
    }
    return RoutingRequest(
      subject: .prefix(prefix), content: .route(attributes, discards: false),
      end: try end(order, now, mustEnd: false), order: order)
  }

  private func blackhole(_ order: RoutingOrder, _ now: Instant) throws(RoutingRefusal) -> RoutingRequest {
    let prefix = try prefix(order)
    if let own = configuration.announced.first(where: { prefix.length <= $0.length && prefix.contains($0.address) }) {
      throw RoutingRefusal("\(prefix) covers \(own), which the settings announce (bgp.announce): name less of it")
    }
    guard prefix.length > 0 else { throw RoutingRefusal("\(prefix) is all there is: name less of it") }
    var attributes = PathAttributes()
    // RFC 7999 §3.2: it is not to go beyond the neighbor, which may not heed that by itself.
    attributes.communities = [.blackhole, .noExport]
    try add(order.communities ?? [], to: &attributes)
    return RoutingRequest(
      subject: .prefix(prefix), content: .route(attributes, discards: true), end: try end(order, now, mustEnd: true),
      order: order)
  }

  private func prefix(_ order: RoutingOrder) throws(RoutingRefusal) -> IPPrefix {
    guard let prefix = IPPrefix(settingsText: order.subject) else {
      throw RoutingRefusal("'\(order.subject)' is no prefix, such as 192.0.2.0/24")
    }
    return prefix
  }

  private func rule(_ order: RoutingOrder) throws(RoutingRefusal) -> FlowspecRule {
    do { return try FlowspecRule(parsing: order.subject) } catch { throw RoutingRefusal("\(error)") }
  }

  private func add(_ communities: [String], to attributes: inout PathAttributes) throws(RoutingRefusal) {
    for text in communities {
      if let one = Community(text) {
        if !attributes.communities.contains(one) { attributes.communities.append(one) }
      } else if let one = LargeCommunity(text) {
        attributes.largeCommunities.append(one)
      } else {
        throw RoutingRefusal("'\(text)' is no community, such as 64512:1 or 64512:1:2")
      }
    }
  }

  private func end(_ order: RoutingOrder, _ now: Instant, mustEnd: Bool) throws(RoutingRefusal) -> Instant {
    guard let text = order.lifetime else { return mustEnd ? now + configuration.lifetime : .distantFuture }
    guard let lifetime = Interval(settingsText: text), lifetime > .zero else {
      throw RoutingRefusal("the lifetime '\(text)' is none, such as 30s, 10m or 1h")
    }
    guard !mustEnd || lifetime <= configuration.longestLifetime else {
      let longest = configuration.longestLifetime.settingsText
      throw RoutingRefusal("a lifetime of \(text) is longer than bgp.requests.maximumLifetime, \(longest)")
    }
    return now + lifetime
  }

  // MARK: Time

  /// When to call ``expire(now:)``.
  var deadline: Instant { held.values.map(\.end).min() ?? .distantFuture }

  mutating func expire(now: Instant) -> [Change] {
    let over = inOrder.filter { $0.end <= now }
    for request in over { held[request.subject] = nil }
    return over.map { .remove($0.subject) }
  }

  /// In an order that does not change from run to run.
  var inOrder: [RoutingRequest] {
    held.values.sorted { ($0.order.verb.rawValue, $0.order.subject) < ($1.order.verb.rawValue, $1.order.subject) }
  }

  func views(now: Instant) -> [RequestView] { inOrder.map { RequestView($0, now: now) } }

  // MARK: Restart

  /// A request in the file that outlives the process.
  struct Saved: Codable, Hashable {
    var order: RoutingOrder
    /// Seconds since 1970; nil for no end.
    var end: Double?
  }

  func saved(now: Instant, timeOfDay: Double) -> [Saved] {
    inOrder.map {
      Saved(order: $0.order, end: $0.end == .distantFuture ? nil : timeOfDay + ($0.end - now).seconds)
    }
  }

  /// Takes up what an earlier run has left. What has ended meanwhile is left out, and what is refused now is told.
  mutating func restore(
    _ saved: [Saved], now: Instant, timeOfDay: Double
  ) -> (changes: [Change], refusals: [RoutingRefusal]) {
    var changes: [Change] = []
    var refusals: [RoutingRefusal] = []
    for one in saved {
      var end = Instant.distantFuture
      if let saved = one.end {
        let left = saved - timeOfDay
        guard left > 0, left < 1e9 else { continue }
        end = now + .milliseconds(Int64(left * 1_000))
      }
      do throws(RoutingRefusal) {
        guard case .set(var request) = try follow(one.order, now: now) else { continue }
        // A lifetime does not begin anew.
        request.end = min(end, request.end)
        held[request.subject] = request
        changes.append(.set(request))
      } catch {
        refusals.append(error)
      }
    }
    return (changes, refusals)
  }
}

extension RequestView {
  init(_ request: RoutingRequest, now: Instant) {
    switch request.subject {
    case .prefix(let prefix): subject = "\(prefix)"
    case .rule(let rule): subject = "\(rule)"
    }
    communities = []
    switch request.content {
    case .route(let attributes, let discards):
      kind = discards ? "blackhole" : "announce"
      communities = attributes.communities.map { "\($0)" } + attributes.largeCommunities.map { "\($0)" }
      multiExitDisc = attributes.multiExitDisc
      nextHop = attributes.nextHop.map { "\($0)" }
    case .rule(let rule):
      kind = "flowspec"
      actions = "\(rule)"
    }
    secondsLeft = request.end == .distantFuture ? nil : max(0, Int((request.end - now).seconds.rounded(.up)))
  }
}
