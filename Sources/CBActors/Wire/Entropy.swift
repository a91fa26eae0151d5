/// Where a core's random bytes come from.
///
/// Cores draw none themselves. The programs pass a cryptographic source; the simulator passes a
/// seeded one, so that one seed is one run to the byte.
public protocol EntropySource: AnyObject {
  /// Overwrites every byte of `buffer`.
  func fill(_ buffer: UnsafeMutableRawBufferPointer)
}

extension EntropySource {
  public func bytes(_ count: Int) -> [UInt8] {
    [UInt8](unsafeUninitializedCapacity: count) { buffer, initialized in
      fill(UnsafeMutableRawBufferPointer(buffer))
      initialized = count
    }
  }

  public func nextUInt64() -> UInt64 {
    var value: UInt64 = 0
    withUnsafeMutableBytes(of: &value) { fill($0) }
    return value
  }
}

/// Reproducible bytes from a seed (SplitMix64). For simulators and tests; never for a real connection.
public final class SeededEntropy: EntropySource {
  private var state: UInt64

  public init(seed: UInt64) { state = seed }

  public func fill(_ buffer: UnsafeMutableRawBufferPointer) {
    for index in buffer.indices {
      state &+= 0x9e37_79b9_7f4a_7c15
      var z = state
      z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
      z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
      buffer[index] = UInt8(truncatingIfNeeded: z ^ (z >> 31))
    }
  }
}

/// The operating system's random bytes (getrandom).
public final class SystemEntropy: EntropySource, Sendable {
  public static let shared = SystemEntropy()

  public init() {}

  public func fill(_ buffer: UnsafeMutableRawBufferPointer) {
    var generator = SystemRandomNumberGenerator()
    var offset = 0
    while offset < buffer.count {
      let word = generator.next()
      withUnsafeBytes(of: word) {
        let size = min(8, buffer.count - offset)
        buffer.baseAddress!.advanced(by: offset).copyMemory(from: $0.baseAddress!, byteCount: size)
        offset += size
      }
    }
  }
}
