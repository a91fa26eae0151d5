/// The modules of a symbol while it is drawn, and which of them are no data.
struct QRMatrix {
  let version: Int
  let size: Int
  private(set) var modules: [Bool]
  private var isFunction: [Bool]

  init(version: Int) {
    self.version = version
    size = 17 + 4 * version
    modules = Array(repeating: false, count: size * size)
    isFunction = modules
  }

  private subscript(x: Int, y: Int) -> Bool { modules[y * size + x] }

  private mutating func setFunction(_ x: Int, _ y: Int, _ dark: Bool) {
    modules[y * size + x] = dark
    isFunction[y * size + x] = true
  }

  // MARK: - Function patterns (§6.3)

  mutating func drawFunctionPatterns() {
    for index in 0..<size {
      setFunction(6, index, index % 2 == 0)
      setFunction(index, 6, index % 2 == 0)
    }
    for (x, y) in [(3, 3), (size - 4, 3), (3, size - 4)] { drawFinder(x, y) }
    let centres = alignmentCentres
    for x in centres {
      for y in centres {
        let isOnFinder = (x == 6 && y == 6) || (x == 6 && y == size - 7) || (x == size - 7 && y == 6)
        if !isOnFinder { drawAlignment(x, y) }
      }
    }
    // Reserve the places of the format until the mask is known.
    drawFormat(correction: .medium, mask: 0)
    drawVersion()
  }

  private var alignmentCentres: [Int] {
    switch version {
    case 1: []
    case 2...6: [6, size - 7]
    default: [6, (6 + size - 7) / 2, size - 7]
    }
  }

  private mutating func drawFinder(_ centreX: Int, _ centreY: Int) {
    for dy in -4...4 {
      for dx in -4...4 {
        let (x, y) = (centreX + dx, centreY + dy)
        guard (0..<size).contains(x), (0..<size).contains(y) else { continue }
        let ring = max(abs(dx), abs(dy))
        setFunction(x, y, ring != 2 && ring != 4)
      }
    }
  }

  private mutating func drawAlignment(_ centreX: Int, _ centreY: Int) {
    for dy in -2...2 {
      for dx in -2...2 { setFunction(centreX + dx, centreY + dy, max(abs(dx), abs(dy)) != 1) }
    }
  }

  /// §7.9: the level and mask with ten bits of BCH code, twice.
  mutating func drawFormat(correction: QRCode.Correction, mask: Int) {
    let data = correction.rawValue << 3 | mask
    var remainder = data
    for _ in 0..<10 { remainder = remainder << 1 ^ (remainder >> 9) * 0x537 }
    let bits = (data << 10 | remainder) ^ 0x5412
    func bit(_ index: Int) -> Bool { bits >> index & 1 == 1 }

    for index in 0...5 { setFunction(8, index, bit(index)) }
    setFunction(8, 7, bit(6))
    setFunction(8, 8, bit(7))
    setFunction(7, 8, bit(8))
    for index in 9..<15 { setFunction(14 - index, 8, bit(index)) }

    for index in 0..<8 { setFunction(size - 1 - index, 8, bit(index)) }
    for index in 8..<15 { setFunction(8, size - 15 + index, bit(index)) }
    setFunction(8, size - 8, true)
  }

  /// §7.10: from version 7 on, the version with twelve bits of BCH code, twice.
  private mutating func drawVersion() {
    guard version >= 7 else { return }
    var remainder = version
    for _ in 0..<12 { remainder = remainder << 1 ^ (remainder >> 11) * 0x1f25 }
    let bits = version << 12 | remainder
    for index in 0..<18 {
      let dark = bits >> index & 1 == 1
      let (far, near) = (size - 11 + index % 3, index / 3)
      setFunction(far, near, dark)
      setFunction(near, far, dark)
    }
  }

  // MARK: - Data and mask (§7.7, §7.8)

  /// Fills the data modules in two-module columns from the right, upwards and downwards in turn.
  mutating func place(_ codewords: [UInt8]) {
    var index = 0
    var right = size - 1
    var isUpward = true
    while right >= 1 {
      if right == 6 { right = 5 }
      for step in 0..<size {
        let y = isUpward ? size - 1 - step : step
        for x in [right, right - 1] where !isFunction[y * size + x] && index < codewords.count * 8 {
          modules[y * size + x] = codewords[index >> 3] >> UInt8(7 - index & 7) & 1 == 1
          index += 1
        }
      }
      isUpward.toggle()
      right -= 2
    }
  }

  mutating func apply(mask: Int) {
    for y in 0..<size {
      for x in 0..<size where !isFunction[y * size + x] {
        let inverts =
          switch mask {
          case 0: (x + y) % 2 == 0
          case 1: y % 2 == 0
          case 2: x % 3 == 0
          case 3: (x + y) % 3 == 0
          case 4: (x / 3 + y / 2) % 2 == 0
          case 5: x * y % 2 + x * y % 3 == 0
          case 6: (x * y % 2 + x * y % 3) % 2 == 0
          default: ((x + y) % 2 + x * y % 3) % 2 == 0
          }
        if inverts { modules[y * size + x].toggle() }
      }
    }
  }

  /// §7.8.3: how hard the symbol would be to scan.
  func penalty() -> Int {
    var total = 0
    for line in 0..<size {
      total += linePenalty((0..<size).map { self[$0, line] })
      total += linePenalty((0..<size).map { self[line, $0] })
    }
    for y in 0..<size - 1 {
      for x in 0..<size - 1 {
        let dark = self[x, y]
        if self[x + 1, y] == dark, self[x, y + 1] == dark, self[x + 1, y + 1] == dark { total += 3 }
      }
    }
    let dark = modules.count { $0 }
    total += abs(dark * 20 - modules.count * 10) / modules.count * 10
    return total
  }

  private func linePenalty(_ line: [Bool]) -> Int {
    var total = 0
    var run = 0
    for index in line.indices {
      run = index > 0 && line[index] == line[index - 1] ? run + 1 : 1
      if run == 5 { total += 3 } else if run > 5 { total += 1 }
    }
    // A finder's 1:1:3:1:1 with four light modules on either side.
    let finder = [true, false, true, true, true, false, true]
    for start in 0...(line.count - 11) {
      let window = line[start..<start + 11]
      if window.prefix(7).elementsEqual(finder), !window.suffix(4).contains(true) { total += 40 }
      if window.suffix(7).elementsEqual(finder), !window.prefix(4).contains(true) { total += 40 }
    }
    return total
  }
}
