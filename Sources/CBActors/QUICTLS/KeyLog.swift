internal import CNIOBoringSSL
internal import Glibc

/// Appends TLS secrets to a file in the format that packet analysers read (SSLKEYLOGFILE). For debugging, when asked
/// for in so many words.
final class KeyLog: Sendable {
  private let descriptor: Int32

  init(path: String) throws(TLSConfigurationError) {
    descriptor = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0o600)
    guard descriptor >= 0 else {
      throw TLSConfigurationError("key log \(path): \(String(cString: strerror(errno)))")
    }
    // A file that was there before may be open to others. What is no file (/dev/null) stays as it is.
    var status = stat()
    guard fstat(descriptor, &status) == 0, status.st_mode & S_IFMT != S_IFREG || fchmod(descriptor, 0o600) == 0 else {
      throw TLSConfigurationError("key log \(path): \(String(cString: strerror(errno)))")
    }
  }

  deinit { close(descriptor) }

  /// One write a line, so that lines of several connections do not mix (O_APPEND). A full disk loses lines.
  func append(_ line: UnsafePointer<CChar>) {
    var bytes = Array(UnsafeBufferPointer(start: line, count: strlen(line)))
    bytes.append(0x0a)
    _ = bytes.withUnsafeBytes { write(descriptor, $0.baseAddress, $0.count) }
    bytes.withUnsafeMutableBytes { OPENSSL_cleanse($0.baseAddress, $0.count) }
  }
}
