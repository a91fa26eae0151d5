import Testing

@testable import cbterm

/// A symbol that another encoder (segno 1.6) made: the digest is FNV-1a over its modules, row by row.
struct KnownSymbol: CustomTestStringConvertible, Sendable {
  let version: Int
  let correction: QRCode.Correction
  let mask: Int
  let bytes: Int
  let digest: UInt64

  init(_ version: Int, _ correction: QRCode.Correction, mask: Int, bytes: Int, digest: UInt64) {
    self.version = version
    self.correction = correction
    self.mask = mask
    self.bytes = bytes
    self.digest = digest
  }

  var testDescription: String { "version \(version), \(correction), mask \(mask)" }

  /// Every symbol is full to its last byte.
  var payload: [UInt8] {
    (0..<bytes).map { UInt8($0 % 3 == 0 ? 48 + ($0 + version) % 10 : 97 + ($0 * 7 + version) % 26) }
  }

  static let all: [KnownSymbol] = [
    .init(1, .low, mask: 1, bytes: 17, digest: 0x8624cafa87a94f13),
    .init(1, .low, mask: 4, bytes: 17, digest: 0xab853e80c1b663a3),
    .init(1, .medium, mask: 1, bytes: 14, digest: 0xd5a776c6de56cbb1),
    .init(1, .medium, mask: 4, bytes: 14, digest: 0x0fe9733c773dcb8d),
    .init(2, .low, mask: 2, bytes: 32, digest: 0x0f2f1cdd9c2d27d7),
    .init(2, .low, mask: 5, bytes: 32, digest: 0x5563d33b7a02abca),
    .init(2, .medium, mask: 2, bytes: 26, digest: 0x223862e61f084ff9),
    .init(2, .medium, mask: 5, bytes: 26, digest: 0xe2423a962bc74aa4),
    .init(3, .low, mask: 3, bytes: 53, digest: 0x2218ecdd75207fa9),
    .init(3, .low, mask: 6, bytes: 53, digest: 0x11383882891d2f2d),
    .init(3, .medium, mask: 3, bytes: 42, digest: 0x27cf446a2b38c1b5),
    .init(3, .medium, mask: 6, bytes: 42, digest: 0xa72fe52ece687bc9),
    .init(4, .low, mask: 4, bytes: 78, digest: 0x94be48b81288e5ff),
    .init(4, .low, mask: 7, bytes: 78, digest: 0x888fb496fd0a4cc4),
    .init(4, .medium, mask: 4, bytes: 62, digest: 0x0e6096098f600fb9),
    .init(4, .medium, mask: 7, bytes: 62, digest: 0xd63adb93e4ba13b2),
    .init(5, .low, mask: 5, bytes: 106, digest: 0x1c80c5341afa18ae),
    .init(5, .low, mask: 0, bytes: 106, digest: 0xd6f8ad21e57167a9),
    .init(5, .medium, mask: 5, bytes: 84, digest: 0xb796cb4e04d224aa),
    .init(5, .medium, mask: 0, bytes: 84, digest: 0x2bae373363793275),
    .init(6, .low, mask: 6, bytes: 134, digest: 0x3c6da5dd3e1986cf),
    .init(6, .low, mask: 1, bytes: 134, digest: 0xb3391a741faeb3c1),
    .init(6, .medium, mask: 6, bytes: 106, digest: 0xfc5d43b6066f06cd),
    .init(6, .medium, mask: 1, bytes: 106, digest: 0x07f4d4a8ae57365f),
    .init(7, .low, mask: 7, bytes: 154, digest: 0x2d20d2dcd2d501db),
    .init(7, .low, mask: 2, bytes: 154, digest: 0x9b482c808e0143db),
    .init(7, .medium, mask: 7, bytes: 122, digest: 0x9c808d9ed48f86b5),
    .init(7, .medium, mask: 2, bytes: 122, digest: 0x1851f4ebaca7761d),
    .init(8, .low, mask: 0, bytes: 192, digest: 0x20dc62c0302ede1f),
    .init(8, .low, mask: 3, bytes: 192, digest: 0x4970334b0ed64bdb),
    .init(8, .medium, mask: 0, bytes: 152, digest: 0x87492e199233857d),
    .init(8, .medium, mask: 3, bytes: 152, digest: 0x6aabfa19dbbb23cd),
    .init(9, .low, mask: 1, bytes: 230, digest: 0xb7ef7a00f4cd97f2),
    .init(9, .low, mask: 4, bytes: 230, digest: 0x087fdee31f08c3fb),
    .init(9, .medium, mask: 1, bytes: 180, digest: 0xffd2ed617527a5ce),
    .init(9, .medium, mask: 4, bytes: 180, digest: 0x0db943d7c3a98083),
    .init(10, .low, mask: 2, bytes: 271, digest: 0x7ce91fd157c740c9),
    .init(10, .low, mask: 5, bytes: 271, digest: 0xed5d3bb38c6dd8c3),
    .init(10, .medium, mask: 2, bytes: 213, digest: 0xd56be7f9dff22917),
    .init(10, .medium, mask: 5, bytes: 213, digest: 0xa7b0820093a83559),
  ]

  /// Made by a third encoder (python-qrcode), with padding behind the payload: version 2, L, mask 3.
  static let picture = """
    #######.#.#.#...#.#######
    #.....#..######.#.#.....#
    #.###.#.###..###..#.###.#
    #.###.#.###.##..#.#.###.#
    #.###.#.#..###.#..#.###.#
    #.....#...##.##.#.#.....#
    #######.#.#.#.#.#.#######
    ..........#.#...#........
    ####..#.#.#####.##..###.#
    .#........#.#...#......#.
    ##.#.###.######.#.###....
    ##..#..#.##..#.#..##.##..
    #...#.##.##.#.#..##.#.###
    ..####.##..##.##..###...#
    .#...####..#....##..#.##.
    #.#..#.###.#..###.###...#
    ....#####.#.#...#########
    ........##...#.##...#.#.#
    #######..##...#.#.#.#.###
    #.....#..###..###...#...#
    #.###.#......##.######.#.
    #.###.#.#.......###.#####
    #.###.#.#.#..#...##.#.##.
    #.....#.##.###.#.#..#.#..
    #######.#####....########
    """
}

@Suite struct QRTests {
  private func digest(_ symbol: QRCode) -> UInt64 {
    var hash: UInt64 = 0xcbf2_9ce4_8422_2325
    for y in 0..<symbol.size {
      for x in 0..<symbol.size { hash = (hash ^ (symbol[x, y] ? 1 : 0)) &* 0x100_0000_01b3 }
    }
    return hash
  }

  @Test(arguments: KnownSymbol.all) func everyModuleIsAsAnotherEncoderHasIt(_ known: KnownSymbol) throws {
    let symbol = try #require(QRCode(known.payload, correction: known.correction, mask: known.mask))
    #expect(symbol.version == known.version)
    #expect(digest(symbol) == known.digest)
  }

  @Test func aWholePicture() throws {
    let symbol = try #require(QRCode(Array("https://a.test/d?c=BCDF".utf8), correction: .low, mask: 3))
    let rows = (0..<symbol.size).map { y in
      String((0..<symbol.size).map { x in symbol[x, y] ? "#" : "." })
    }
    #expect(rows.joined(separator: "\n") == KnownSymbol.picture)
  }

  @Test func theSmallestVersionIsTaken() {
    #expect(QRCode([UInt8](repeating: 1, count: 17), correction: .low)?.version == 1)
    #expect(QRCode([UInt8](repeating: 1, count: 18), correction: .low)?.version == 2)
    #expect(QRCode([], correction: .medium)?.version == 1)
    #expect(QRCode([UInt8](repeating: 1, count: 271), correction: .low)?.version == 10)
    #expect(QRCode([UInt8](repeating: 1, count: 272), correction: .low) == nil)
    #expect(QRCode([UInt8](repeating: 1, count: 213), correction: .medium)?.version == 10)
    #expect(QRCode([UInt8](repeating: 1, count: 214), correction: .medium) == nil)
  }

  @Test func theMaskWithTheLeastPenaltyIsTaken() throws {
    let payload = Array("https://login.example.net/device?user_code=BCDF-GHJK".utf8)
    let chosen = try #require(QRCode(payload))
    #expect((0...7).contains(chosen.mask))
    #expect(digest(chosen) == digest(try #require(QRCode(payload, mask: chosen.mask))))
  }

  @Test func drawingNeedsRoom() throws {
    let symbol = try #require(QRCode(Array("https://login.example.net/device".utf8), correction: .low))
    #expect(symbol.size == 25)
    #expect(symbol.drawn(for: .plain) == nil)
    #expect(symbol.drawn(for: .terminal(30)) == nil)
    let narrow = try #require(symbol.drawn(for: .terminal(31)))
    #expect(narrow.allSatisfy { $0.displayWidth == 31 })
    let wide = try #require(symbol.drawn(for: .terminal(80)))
    #expect(wide.count == 17)
    #expect(wide.allSatisfy { $0.displayWidth == 35 })
    // Without colours the light modules are drawn: the quiet zone is solid.
    #expect(wide[0].hasSuffix(String(repeating: "█", count: 33)))
    let coloured = try #require(symbol.drawn(for: .terminal(80, coloured: true)))
    #expect(coloured[0].hasPrefix("  \u{1b}[30;107m   "))
    let ascii = ScreenFormat(width: 80, style: Style(isColoured: false), isUnicode: false)
    #expect(symbol.drawn(for: ascii) == nil)
  }

  @Test func theReedSolomonField() {
    #expect(ReedSolomon.product(0x80, 2) == 0x1d)
    #expect(ReedSolomon.product(0, 7) == 0)
    // ISO/IEC 18004 Annex I: the symbol 01234567 in version 1-M.
    let data: [UInt8] = [
      0x10, 0x20, 0x0c, 0x56, 0x61, 0x80, 0xec, 0x11, 0xec, 0x11, 0xec, 0x11, 0xec, 0x11, 0xec, 0x11,
    ]
    #expect(
      ReedSolomon(degree: 10).remainder(of: data)
        == [0xa5, 0x24, 0xd4, 0xc1, 0xed, 0x36, 0xc7, 0x87, 0x2c, 0x55])
  }
}
