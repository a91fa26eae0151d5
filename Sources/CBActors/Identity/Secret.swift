import CSodium

/// Bytes that must not outlive their use: a token, a device code, a shared key.
///
/// They live once, in guarded memory that is zeroed when the last reference goes, and print as a
/// placeholder wherever a description might end in a log. What a caller copies out through
/// ``exposed`` is an ordinary string that nobody zeroes; take it as late as possible.
public final class Secret: @unchecked Sendable {
  // Sendable: `storage` is written only in `init`, before any reference can escape.
  private let storage: UnsafeMutableRawBufferPointer

  /// Copies `bytes` into guarded memory. The caller's copy stays the caller's to zero.
  public init(_ bytes: UnsafeRawBufferPointer) {
    storage = Secret.allocate(bytes.count)
    storage.copyMemory(from: bytes)
    sodium_mprotect_readonly(storage.baseAddress!)
  }

  public convenience init(_ text: String) {
    self.init([UInt8](text.utf8))
  }

  /// Copies `bytes`; the array itself is the caller's to zero, if no other copy shares it.
  public init(_ bytes: [UInt8]) {
    storage = Secret.allocate(bytes.count)
    bytes.withUnsafeBytes { storage.copyMemory(from: $0) }
    sodium_mprotect_readonly(storage.baseAddress!)
  }

  deinit { sodium_free(storage.baseAddress) }

  public var count: Int { storage.count }

  /// Lends the bytes for the length of one call.
  public func withBytes<Result, Failure: Error>(
    _ body: (UnsafeRawBufferPointer) throws(Failure) -> Result
  ) throws(Failure) -> Result {
    try body(UnsafeRawBufferPointer(storage))
  }

  /// The bytes as text, for a header or a form. This copy is not zeroed.
  public var exposed: String { String(decoding: storage, as: UTF8.self) }

  private static let sodiumReady: Bool = sodium_init() >= 0

  private static func allocate(_ count: Int) -> UnsafeMutableRawBufferPointer {
    precondition(sodiumReady, "libsodium could not start")
    guard let memory = sodium_malloc(max(count, 1)) else {
      preconditionFailure("out of memory for a secret of \(count) bytes")
    }
    return UnsafeMutableRawBufferPointer(start: memory, count: count)
  }
}

extension Secret: Equatable {
  /// Takes the same time wherever two secrets of one length differ.
  public static func == (a: Secret, b: Secret) -> Bool {
    a.count == b.count
      && (a.count == 0 || sodium_memcmp(a.storage.baseAddress!, b.storage.baseAddress!, a.count) == 0)
  }
}

extension Secret: CustomStringConvertible, CustomDebugStringConvertible, CustomReflectable {
  public var description: String { "(secret)" }
  public var debugDescription: String { "(secret)" }
  public var customMirror: Mirror { Mirror(self, children: []) }
}
