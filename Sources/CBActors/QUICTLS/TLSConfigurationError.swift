internal import CNIOBoringSSL

/// A certificate, key, trust anchor or setting that cannot be used. Found when a context is built, never later.
public struct TLSConfigurationError: Error, Hashable, Sendable, CustomStringConvertible {
  /// What could not be used, and why.
  public let description: String

  init(_ description: String) { self.description = description }

  /// With the reason that BoringSSL has left in the thread's error queue.
  init(library description: String) {
    let reason = LibraryError.takeText()
    self.description = reason.isEmpty ? description : "\(description): \(reason)"
  }
}

/// The error queue that BoringSSL keeps for each thread.
enum LibraryError {
  /// The reason of the latest error, such as "CERTIFICATE_VERIFY_FAILED", or nothing. Empties the queue.
  static func takeText() -> String {
    let code = ERR_peek_last_error()
    ERR_clear_error()
    guard code != 0, let text = ERR_reason_error_string(code) else { return "" }
    return String(cString: text)
  }
}
