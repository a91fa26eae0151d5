/// Why `--dev` does not start.
public enum DevelopmentError: Error, Hashable, Sendable, CustomStringConvertible {
  /// What only may face this machine was asked to face a network.
  case notLoopback(String, String)

  public var description: String {
    switch self {
    case .notLoopback(let what, let address):
      "--dev: the \(what) must listen on loopback (127.0.0.0/8 or ::1), not on \(address)"
    }
  }
}
