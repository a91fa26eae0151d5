#if canImport(Glibc)
  internal import Glibc
#endif

/// A TLS traffic secret of 32 or 48 bytes. Its memory is zeroed when the last reference goes.
public final class TrafficSecret {
  private let storage: UnsafeMutableRawBufferPointer

  public init(_ bytes: UnsafeRawBufferPointer) {
    storage = .allocate(byteCount: bytes.count, alignment: 8)
    storage.copyMemory(from: bytes)
  }

  deinit {
    if let base = storage.baseAddress { explicit_bzero(base, storage.count) }
    storage.deallocate()
  }

  public var count: Int { storage.count }

  public func withUnsafeBytes<R>(_ body: (UnsafeRawBufferPointer) throws -> R) rethrows -> R {
    try body(UnsafeRawBufferPointer(storage))
  }
}
