import Testing
import Wire

@testable import BGP

@Suite("The texts that policies are made of")
struct PolicyTextTests {
  private func error<T>(_ body: () throws(PolicyTextError) -> T) -> PolicyTextError? {
    do {
      _ = try body()
      return nil
    } catch { return error }
  }

  @Test(arguments: [
    ("10.0.0.0/8", 8...8), ("10.0.0.0/8 ge 16", 16...32), ("10.0.0.0/8 le 24", 8...24),
    ("10.0.0.0/8 ge 16 le 24", 16...24), ("10.0.0.0/8 le 24 ge 16", 16...24), ("2001:db8::/32 ge 48", 48...128),
    ("  0.0.0.0/0   le 0 ", 0...0),
  ]) func prefixRanges(text: String, lengths: ClosedRange<Int>) throws {
    let range = try PrefixRange(parsing: text)
    #expect(range.lengths == lengths)
    #expect(try PrefixRange(parsing: "\(range)") == range)
  }

  @Test(arguments: [
    ("", 0, "no prefix"), ("10.0.0.0", 0, "no length"), ("10.0.0.0/33", 9, "no length"),
    ("10.0.0.x/8", 0, "no address"),
    ("10.0.0.1/8", 0, "behind the length"), ("10.0.0.0/8 eq 9", 11, "behind a prefix"),
    ("10.0.0.0/8 ge", 11, "without"),
    ("10.0.0.0/8 ge 7", 14, "no length"), ("10.0.0.0/8 ge 9 ge 9", 16, "second"),
    ("10.0.0.0/8 ge 24 le 16", 0, "beyond"),
    ("2001:db8::/32 le 129", 17, "no length"),
  ]) func prefixRangesThatAreNone(text: String, offset: Int, problem: String) throws {
    let found = try #require(error { () throws(PolicyTextError) in try PrefixRange(parsing: text) })
    #expect(found.text == text && found.offset == offset && found.problem.contains(problem), "\(found)")
    #expect(!found.remedy.isEmpty)
  }

  @Test func aPrefixListIsItsRangesTogether() throws {
    let entropy = SeededEntropy(seed: 3)
    func random(_ bound: Int) -> Int { Int(entropy.nextUInt64() % UInt64(bound)) }
    let ranges = (0..<200).map { _ -> PrefixRange in
      let length = random(25)
      let prefix = IPPrefix(UInt32(truncatingIfNeeded: entropy.nextUInt64()) & 0xf0f0_ffff, UInt8(length))
      let from = length + random(33 - length)
      return PrefixRange(prefix, lengths: from...from + random(33 - from)) ?? PrefixRange(prefix)
    }
    let list = PrefixList(ranges)
    var inside = 0
    for _ in 0..<5_000 {
      let asked = IPPrefix(UInt32(truncatingIfNeeded: entropy.nextUInt64()) & 0xf0f0_ffff, UInt8(random(33)))
      let expected = ranges.contains { $0.contains(asked) }
      #expect(list.contains(asked) == expected, "\(asked)")
      if expected { inside += 1 }
    }
    #expect(inside > 100 && inside < 4_900)
    let six = PrefixList([try PrefixRange(parsing: "2001:db8::/32 le 48")])
    #expect(six.contains(try prefix("2001:db8:1::/48")))
    #expect(!six.contains(try prefix("2001:db8:1::/49")))
    #expect(!six.contains(try prefix("32.1.13.184/32")), "of the other family")
  }

  @Test(
    arguments: [
      ("65001", [65_001], true), ("65001", [65_001, 1], false), ("65001 *", [65_001], true),
      ("65001 *", [65_001, 1, 2], true), ("* 65001", [65_001], true), ("* 65001", [1, 2, 65_001], true),
      ("* 65001", [1, 65_001, 2], false), ("* 65001 *", [1, 65_001, 2], true), ("", [], true), ("", [1], false),
      ("*", [], true), ("?", [7], true), ("?", [], false), ("? ?", [7, 8], true), ("65001+", [65_001, 65_001], true),
      ("65001+", [], false), ("65001+", [65_001, 1], false), ("65001* 7", [7], true),
      ("64512-65534+", [64_512, 65_000, 65_534], true), ("64512-65534+", [64_511], false), ("(1|5-7) 9", [6, 9], true),
      ("(1|5-7) 9", [4, 9], false), ("(1|2)+ 3", [1, 2, 1, 3], true), ("?+", [], false), ("?+", [1, 2, 3], true),
      ("* 1 * 2 *", [9, 1, 9, 9, 2], true), ("* 1 * 2 *", [9, 2, 9, 9, 1], false), ("4294967295", [.max], true),
    ] as [(String, [UInt32], Bool)]) func pathPatterns(text: String, path: [UInt32], matches: Bool) throws
  {
    #expect(try ASPathPattern(parsing: text).matches(ASPath(path)) == matches)
  }

  @Test func anASSetIsOneOfItsMembers() throws {
    let path = ASPath([.init([65_001]), .init(isSet: true, [5, 6])])
    #expect(try ASPathPattern(parsing: "65001 6").matches(path))
    #expect(try ASPathPattern(parsing: "65001 ?").matches(path))
    #expect(try !ASPathPattern(parsing: "65001 5 6").matches(path))
  }

  /// What takes exponential time in a backtracking matcher.
  @Test func noPatternIsSlow() throws {
    let pattern = try ASPathPattern(parsing: Array(repeating: "* 1*", count: 31).joined(separator: " ") + " 2")
    let path = ASPath(Array(repeating: 1, count: 2_000) + [3])
    let clock = ContinuousClock()
    var matches = true
    let taken = clock.measure { matches = pattern.matches(path) }
    #expect(!matches && taken < .seconds(1))
  }

  @Test(arguments: [
    ("65001x", 0), ("1 2-", 2), ("5-4", 0), ("(1|2", 0), ("1|2", 0), ("(1|x)", 3), ("+", 0), ("1 ^2", 2),
    ("4294967296", 0), (Array(repeating: "1", count: 64).joined(separator: " "), 0),
  ]) func pathPatternsThatAreNone(text: String, offset: Int) throws {
    let found = try #require(error { () throws(PolicyTextError) in try ASPathPattern(parsing: text) })
    #expect(found.offset == offset && !found.problem.isEmpty && !found.remedy.isEmpty, "\(found)")
  }

  @Test func communities() throws {
    var route = PathAttributes()
    route.communities = [Community(64_512, 100), .noExport]
    route.extendedCommunities = [ExtendedCommunity(rawValue: 0x0002_fc00_0000_0064)]
    route.largeCommunities = [LargeCommunity(70_000, 1, 2)]
    for text in [
      "64512:100", "64512:*", "*:100", "*:*", "no-export", "65535:65281", "rt:64512:100", "rt:64512:*",
      "0x0002fc0000000064", "70000:1:2", "70000:*:2", "*:*:*",
    ] {
      #expect(try CommunityPattern(parsing: text).matches(route), "\(text)")
    }
    for text in ["64512:101", "64513:*", "no-advertise", "ro:64512:100", "rt:70000:1", "70000:1:3", "blackhole"] {
      #expect(try !CommunityPattern(parsing: text).matches(route), "\(text)")
    }
    #expect(try AnyCommunity(parsing: "rt:70000:5") == .extended(.init(rawValue: 0x0202_0001_1170_0005)))
    for (text, offset) in [
      ("65536:1", 0), ("1:65536", 2), ("x", 0), ("1:2:3:4", 0), ("rt:*:1", 3), ("rt:70000:65536", 9), ("0x1", 2),
      ("1:2:4294967296", 4),
    ] {
      let found = try #require(error { () throws(PolicyTextError) in try CommunityPattern(parsing: text) })
      #expect(found.offset == offset && !found.remedy.isEmpty, "\(found)")
    }
    #expect(error { () throws(PolicyTextError) in try AnyCommunity(parsing: "64512:*") }?.offset == 6)
  }

  @Test func anErrorSaysWhatWhereAndWhatToDo() {
    let found = error { () throws(PolicyTextError) in try PrefixRange(parsing: "10.0.0.0/33") }
    #expect(found?.description == "\"10.0.0.0/33\", character 10: \"33\" is no length; write 0 to 32")
  }
}
