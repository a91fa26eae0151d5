/// The Reed–Solomon code of QR codes: over GF(2⁸) with the polynomial x⁸+x⁴+x³+x²+1, generator roots α⁰…α^(n−1).
struct ReedSolomon {
  /// Coefficients of the generator without the leading one, the highest first.
  private let generator: [UInt8]

  /// - Parameter degree: the number of correction codewords, at least 1.
  init(degree: Int) {
    var coefficients = [UInt8](repeating: 0, count: degree)
    coefficients[degree - 1] = 1
    var root: UInt8 = 1
    for _ in 0..<degree {
      // Multiply by (x − root).
      for index in 0..<degree {
        coefficients[index] = Self.product(coefficients[index], root)
        if index + 1 < degree { coefficients[index] ^= coefficients[index + 1] }
      }
      root = Self.product(root, 2)
    }
    generator = coefficients
  }

  /// The correction codewords of a block.
  func remainder(of data: some Sequence<UInt8>) -> [UInt8] {
    var result = [UInt8](repeating: 0, count: generator.count)
    for byte in data {
      let factor = byte ^ result.removeFirst()
      result.append(0)
      for index in result.indices { result[index] ^= Self.product(generator[index], factor) }
    }
    return result
  }

  static func product(_ a: UInt8, _ b: UInt8) -> UInt8 {
    var result: UInt16 = 0
    for shift in stride(from: 7, through: 0, by: -1) {
      result = result << 1 ^ (result >> 7 & 1) * 0x11d
      if b >> UInt8(shift) & 1 == 1 { result ^= UInt16(a) }
    }
    return UInt8(truncatingIfNeeded: result)
  }
}
