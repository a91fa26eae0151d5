import Foundation
public import Wire

/// What an operator may ask a running PoP: one line of words.
public enum ControlRequest: Hashable, Sendable {
  /// The BGP neighbors, or the one of this name.
  case neighbors(named: String?)
  /// The routes within a prefix, or all; of one neighbor, or of all.
  case routes(within: IPPrefix?, of: String?)
  /// The routes to exactly this prefix, and why the best is the best.
  case whyPrefix(IPPrefix)
  /// The same of the longest prefix that covers an address.
  case whyAddress(IPAddress)
  /// The validating caches.
  case rpki
  /// The neighbor of this name is to send its routes again.
  case refresh(String)
  /// The policy file is to be read again.
  case reload
  /// What neighbors are told by request.
  case requests
  /// The flow specifications, and how they fare.
  case flowspecs
  case order(RoutingOrder)
  /// The tables as a dump.
  case dump
  /// What is kept of the routing, and who is told of it.
  case monitoring
  /// How the prefixes' groups and what they hang on stand.
  case health
  /// The PoP is to stop; by a graceful restart, so that neighbors keep its routes until it is back.
  case stop(isRestart: Bool)

  /// The longest line that is read, in bytes.
  public static let maximumLength = 2_048

  /// Parses a line; nil for anything else.
  public init?(_ line: String) {
    let words = line.split(separator: " ", omittingEmptySubsequences: false).map(String.init)
    if words[0] == "stop" {
      guard words.count == 1 || words == ["stop", "graceful-restart"] else { return nil }
      self = .stop(isRestart: words.count == 2)
      return
    }
    guard words.count >= 2, words[0] == "bgp" else { return nil }
    let rest = words.dropFirst(2)
    switch (words[1], rest.count) {
    case ("requests", 0): self = .requests
    case ("flowspecs", 0): self = .flowspecs
    case ("order", 1...):
      let text = Data(rest.joined(separator: " ").utf8)
      guard let order = try? JSONDecoder().decode(RoutingOrder.self, from: text) else { return nil }
      self = .order(order)
    case ("neighbors", 0): self = .neighbors(named: nil)
    case ("neighbors", 1): self = .neighbors(named: rest[2])
    case ("routes", 2):
      guard let prefix = rest[2] == "-" ? .some(nil) : IPPrefix(rest[2]).map(Optional.some) else { return nil }
      self = .routes(within: prefix, of: rest[3] == "-" ? nil : rest[3])
    case ("why", 1):
      if let address = IPAddress(rest[2]) {
        self = .whyAddress(address)
      } else if let prefix = IPPrefix(rest[2]) {
        self = .whyPrefix(prefix)
      } else {
        return nil
      }
    case ("refresh", 1): self = .refresh(rest[2])
    case ("rpki", 0): self = .rpki
    case ("reload", 0): self = .reload
    case ("dump", 0): self = .dump
    case ("monitoring", 0): self = .monitoring
    case ("health", 0): self = .health
    default: return nil
    }
  }

  /// The line, without its end.
  public var line: String {
    switch self {
    case .neighbors(let name): name.map { "bgp neighbors \($0)" } ?? "bgp neighbors"
    case .routes(let prefix, let name): "bgp routes \(prefix.map { "\($0)" } ?? "-") \(name ?? "-")"
    case .whyPrefix(let prefix): "bgp why \(prefix)"
    case .whyAddress(let address): "bgp why \(address)"
    case .refresh(let name): "bgp refresh \(name)"
    case .rpki: "bgp rpki"
    case .reload: "bgp reload"
    case .requests: "bgp requests"
    case .flowspecs: "bgp flowspecs"
    case .order(let order): "bgp order \(order.line)"
    case .dump: "bgp dump"
    case .monitoring: "bgp monitoring"
    case .health: "bgp health"
    case .stop(let isRestart): isRestart ? "stop graceful-restart" : "stop"
    }
  }
}

/// The last line of every answer: without it, the answer is not whole.
public struct ControlEnd: Codable, Hashable, Sendable {
  /// Lines before it.
  public var count: Int
  /// Why there is no (whole) answer.
  public var error: String?

  public init(count: Int, error: String? = nil) {
    self.count = count
    self.error = error
  }
}
