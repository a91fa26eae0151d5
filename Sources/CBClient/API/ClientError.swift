/// What went wrong, as a user should read it.
public struct ClientError: Error, Hashable, Codable, Sendable {
  /// Decides the exit code of a command (see ``exitCode``).
  public enum Kind: String, Codable, Sendable, CaseIterable {
    /// None of the others.
    case failure
    /// The request made no sense: an unknown name, a malformed address, a name already taken.
    case usage
    /// No stored tokens, or tokens that the issuer or the PoP no longer accepts.
    case notSignedIn
    /// Discovery found no PoP, or none that answered.
    case noPoPReachable
    /// The connection was lost, or an answer did not come in time.
    case connectionLost
    /// The PoP's policy, or the identity provider, said no.
    case refused
    /// A profile or setting is wrong.
    case configuration
    /// The calling task was cancelled.
    case cancelled
  }

  public var kind: Kind
  /// One sentence without a full stop, naming what failed and why. Never holds a secret.
  public var message: String
  /// What the user may do about it.
  public var hint: String?

  public init(_ kind: Kind, _ message: String, hint: String? = nil) {
    self.kind = kind
    self.message = message
    self.hint = hint
  }

  /// The process exit status of a command that ended so.
  public var exitCode: Int32 {
    switch kind {
    case .failure: 1
    case .usage: 2
    case .notSignedIn: 3
    case .noPoPReachable: 4
    case .connectionLost: 5
    case .refused: 6
    case .configuration: 7
    case .cancelled: 130
    }
  }
}

extension ClientError: CustomStringConvertible {
  public var description: String { hint.map { "\(message) (\($0))" } ?? message }
}
