import Glibc
public import Identity

/// Why stored tokens could not be read, written or renewed. Names the file and what to do; holds no token.
public enum TokenStoreError: Error, Sendable, Equatable {
  /// Neither XDG_STATE_HOME nor HOME is set to an absolute path.
  case noStateDirectory
  /// Others could read or write it.
  case permissions(path: String, mode: UInt32, wanted: UInt32)
  case foreignOwner(path: String)
  case notARegularFile(path: String)
  /// Damaged, changed, or sealed with another key.
  case corrupt(path: String)
  /// There are sealed tokens, but the key that opens them is gone.
  case keyMissing(path: String)
  case system(operation: String, path: String, code: Int32)
  /// Another process has held the lock for too long.
  case busy(path: String)
  case notSignedIn
  /// The access token has ended and there is no refresh token.
  case notRenewable
  case renewalFailed(OAuthFailure)
  case cancelled

  /// What the user may do about it.
  public var hint: String? {
    switch self {
    case .noStateDirectory: "set XDG_STATE_HOME or HOME"
    case .permissions(let path, _, let wanted): "chmod \(TokenStoreError.octal(wanted)) '\(path)'"
    case .foreignOwner: "run as the user who signed in, or set XDG_STATE_HOME to a directory of your own"
    case .notARegularFile(let path), .corrupt(let path): "remove '\(path)' and sign in again"
    case .keyMissing: "sign in again"
    case .notSignedIn, .notRenewable: "sign in"
    case .renewalFailed(let failure): failure.endsGrant ? "sign in again" : nil
    case .system, .busy, .cancelled: nil
    }
  }

  private static func octal(_ mode: UInt32) -> String { String(mode, radix: 8) }
}

extension TokenStoreError: CustomStringConvertible {
  public var description: String {
    switch self {
    case .noStateDirectory: "there is no directory to keep tokens in"
    case .permissions(let path, let mode, _): "others may use \(path) (mode \(TokenStoreError.octal(mode)))"
    case .foreignOwner(let path): "\(path) belongs to another user"
    case .notARegularFile(let path): "\(path) is not a regular file"
    case .corrupt(let path): "\(path) is damaged, has been changed, or was sealed with another key"
    case .keyMissing(let path): "the key \(path) is gone, so the stored tokens cannot be opened"
    case .system(let operation, let path, let code): "\(operation) \(path): \(String(cString: strerror(code)))"
    case .busy(let path): "another process holds \(path)"
    case .notSignedIn: "not signed in"
    case .notRenewable: "the sign-in has ended and cannot be renewed"
    case .renewalFailed(let failure): "the sign-in could not be renewed: \(failure)"
    case .cancelled: "cancelled"
    }
  }
}
