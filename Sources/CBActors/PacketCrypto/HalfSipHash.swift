/// HalfSipHash-2-4 of three bytes (SipHash's reference code has it): a keyed function in words of 32 bits, which classic BPF
/// can compute as well.
///
/// Without the key a result is not to be told from chance. It authenticates nothing: the key has 64 bits, the result 32.
public struct HalfSipHash: Hashable, Sendable {
  private let low: UInt32
  private let high: UInt32

  public init(key: UInt64) {
    low = UInt32(truncatingIfNeeded: key)
    high = UInt32(truncatingIfNeeded: key >> 32)
  }

  /// - Parameter value: three bytes, the first of them the lowest; what is above them does not count.
  public func callAsFunction(_ value: UInt32) -> UInt32 {
    let block = 3 << 24 | value & 0x00ff_ffff
    var state = State(v0: low, v1: high, v2: 0x6c79_6765 ^ low, v3: 0x7465_6462 ^ high ^ block)
    for _ in 0..<2 { state.round() }
    state.v0 ^= block
    state.v2 ^= 0xff
    for _ in 0..<4 { state.round() }
    return state.v1 ^ state.v3
  }

  private struct State {
    var v0: UInt32
    var v1: UInt32
    var v2: UInt32
    var v3: UInt32

    mutating func round() {
      v0 &+= v1
      v1 = Self.rotated(v1, 5) ^ v0
      v0 = Self.rotated(v0, 16)
      v2 &+= v3
      v3 = Self.rotated(v3, 8) ^ v2
      v0 &+= v3
      v3 = Self.rotated(v3, 7) ^ v0
      v2 &+= v1
      v1 = Self.rotated(v1, 13) ^ v2
      v2 = Self.rotated(v2, 16)
    }

    private static func rotated(_ word: UInt32, _ bits: UInt32) -> UInt32 { word << bits | word >> (32 - bits) }
  }
}
