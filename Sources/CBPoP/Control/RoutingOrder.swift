import Foundation

/// What an operator has a running PoP tell its neighbors, besides what its settings say. All is text, as it came from the
/// command line: the PoP judges it, and refuses what is wrong with it.
public struct RoutingOrder: Codable, Hashable, Sendable {
  public enum Verb: String, Codable, Sendable {
    case announce
    case withdraw
    /// RFC 7999.
    case blackhole
    case addRule
    case removeRule
  }

  public var verb: Verb
  /// A prefix, or a flow specification.
  public var subject: String
  /// Such as `10m`. Without it, the settings' own, or of an announcement no end.
  public var lifetime: String?
  public var communities: [String]?
  public var multiExitDisc: UInt32?
  public var nextHop: String?
  /// What becomes of a rule's traffic.
  public var actions: String?

  public init(_ verb: Verb, _ subject: String) {
    self.verb = verb
    self.subject = subject
  }

  /// One line of JSON.
  var line: String {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
    // Proof for the unwrap: text and numbers can be encoded.
    return String(decoding: try! encoder.encode(self), as: UTF8.self)
  }
}

/// A request that a PoP holds: one line of JSON.
public struct RequestView: Codable, Hashable, Sendable {
  /// `announce`, `blackhole` or `flowspec`.
  public var kind: String
  public var subject: String
  public var actions: String?
  public var communities: [String]
  public var multiExitDisc: UInt32?
  public var nextHop: String?
  /// Until it ends by itself; nil for never.
  public var secondsLeft: Int?
}
