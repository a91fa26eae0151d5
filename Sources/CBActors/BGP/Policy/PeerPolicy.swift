/// What a peer's routes, and those that it is told, must go through.
public struct PeerPolicy: Hashable, Sendable {
  /// Nil takes all routes as they come.
  public var incoming: Policy?
  /// Nil gives all routes as they are.
  public var outgoing: Policy?

  public init(incoming: Policy? = nil, outgoing: Policy? = nil) {
    self.incoming = incoming
    self.outgoing = outgoing
  }

  /// In place of a policy that an external peer lacks, where RFC 8212 is followed.
  ///
  /// RFC 8212 §3: routes from and to an external peer are neither eligible nor advertised if no explicit policy has
  /// been applied.
  public static let missing = Policy("no policy for an external peer (RFC 8212)", [])

  /// Takes whatever comes, by the word of a policy.
  static let all = Policy("all", [], otherwise: .permit)

  /// With what is missing denied, as RFC 8212 has it for external peers.
  public var denyingByDefault: PeerPolicy {
    PeerPolicy(incoming: incoming ?? Self.missing, outgoing: outgoing ?? Self.missing)
  }
}
