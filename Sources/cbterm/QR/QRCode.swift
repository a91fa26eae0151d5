/// A QR code symbol (ISO/IEC 18004): byte mode, versions 1 to 10, error correction L and M.
///
/// That holds 271 bytes at L, enough for any verification URI that a person should point a camera at.
struct QRCode {
  enum Correction: Int, CaseIterable {
    /// Recovers about 7 % of the codewords.
    case low = 1
    /// About 15 %.
    case medium = 0
  }

  let version: Int
  let correction: Correction
  let mask: Int
  /// Modules a side.
  let size: Int
  /// Row by row; true is dark.
  private let modules: [Bool]

  subscript(x: Int, y: Int) -> Bool { modules[y * size + x] }

  /// The smallest symbol that holds `bytes`; nil when version 10 does not.
  ///
  /// - Parameter mask: one of the eight patterns; nil takes the one with the least penalty (§7.8.3).
  init?(_ bytes: [UInt8], correction: Correction = .medium, mask chosen: Int? = nil) {
    guard
      let version = (1...10).first(where: {
        bytes.count <= QRVersion($0, correction).byteCapacity
      })
    else { return nil }
    let layout = QRVersion(version, correction)
    var matrix = QRMatrix(version: version)
    matrix.drawFunctionPatterns()
    matrix.place(Self.codewords(bytes, layout))

    var best: (mask: Int, matrix: QRMatrix, penalty: Int)?
    for mask in chosen.map({ $0...$0 }) ?? 0...7 {
      var candidate = matrix
      candidate.apply(mask: mask)
      candidate.drawFormat(correction: correction, mask: mask)
      let penalty = candidate.penalty()
      if penalty < best?.penalty ?? .max { best = (mask, candidate, penalty) }
    }
    guard let best else { return nil }
    self.version = version
    self.correction = correction
    mask = best.mask
    size = best.matrix.size
    modules = best.matrix.modules
  }

  /// §7.4: mode, count, data, terminator and padding; §7.5 and §7.6: blocks, their correction, interleaved.
  private static func codewords(_ bytes: [UInt8], _ layout: QRVersion) -> [UInt8] {
    var bits = BitBuffer()
    bits.append(0b0100, count: 4)
    bits.append(UInt32(bytes.count), count: layout.countBits)
    for byte in bytes { bits.append(UInt32(byte), count: 8) }
    let capacity = layout.dataCodewords * 8
    bits.append(0, count: min(4, capacity - bits.count))
    bits.append(0, count: (8 - bits.count % 8) % 8)
    var data = bits.bytes
    var pad: UInt8 = 0xec
    while data.count < layout.dataCodewords {
      data.append(pad)
      pad ^= 0xec ^ 0x11
    }

    // The first blocks are one codeword shorter where the data does not divide evenly.
    let shortLength = layout.dataCodewords / layout.blocks
    let longBlocks = layout.dataCodewords % layout.blocks
    let code = ReedSolomon(degree: layout.correctionPerBlock)
    var blocks: [ArraySlice<UInt8>] = []
    var rest = data[...]
    for index in 0..<layout.blocks {
      let length = shortLength + (index >= layout.blocks - longBlocks ? 1 : 0)
      blocks.append(rest.prefix(length))
      rest = rest.dropFirst(length)
    }
    let corrections = blocks.map { code.remainder(of: $0) }
    var result: [UInt8] = []
    for column in 0...shortLength {
      for block in blocks where column < block.count { result.append(block[block.startIndex + column]) }
    }
    for column in 0..<layout.correctionPerBlock {
      for correction in corrections { result.append(correction[column]) }
    }
    return result
  }
}

/// What Table 9 of ISO/IEC 18004 says of a version and level.
struct QRVersion {
  let version: Int
  let codewords: Int
  let correctionPerBlock: Int
  let blocks: Int

  init(_ version: Int, _ correction: QRCode.Correction) {
    self.version = version
    codewords = Self.totals[version - 1]
    switch correction {
    case .low: (correctionPerBlock, blocks) = Self.low[version - 1]
    case .medium: (correctionPerBlock, blocks) = Self.medium[version - 1]
    }
  }

  var dataCodewords: Int { codewords - correctionPerBlock * blocks }
  /// Bits of the character count in byte mode (Table 3).
  var countBits: Int { version < 10 ? 8 : 16 }
  var byteCapacity: Int { (dataCodewords * 8 - 4 - countBits) / 8 }

  private static let totals = [26, 44, 70, 100, 134, 172, 196, 242, 292, 346]
  private static let low = [
    (7, 1), (10, 1), (15, 1), (20, 1), (26, 1), (18, 2), (20, 2), (24, 2), (30, 2), (18, 4),
  ]
  private static let medium = [
    (10, 1), (16, 1), (26, 1), (18, 2), (24, 2), (16, 4), (18, 4), (22, 4), (22, 5), (26, 5),
  ]
}

private struct BitBuffer {
  private(set) var bytes: [UInt8] = []
  private(set) var count = 0

  /// Appends the low `count` bits of `value`, the highest first.
  mutating func append(_ value: UInt32, count added: Int) {
    for shift in stride(from: added - 1, through: 0, by: -1) {
      if count % 8 == 0 { bytes.append(0) }
      if value >> UInt32(shift) & 1 == 1 { bytes[count / 8] |= 0x80 >> UInt8(count % 8) }
      count += 1
    }
  }
}
