import Testing
import Wire

@Suite("The prefix trie")
struct PrefixTrieTests {
  /// A few bits of address space, so that prefixes nest and meet.
  private func randomPrefix(_ entropy: SeededEntropy) -> (UInt32, UInt8) {
    let word = entropy.nextUInt64()
    let length = UInt8([0, 1, 2, 8, 15, 16, 17, 23, 24, 25, 31, 32][Int(word >> 40 % 12)])
    let bits = UInt32(truncatingIfNeeded: word) & 0xc3_00_83_03 & UInt32.mask(Int(length))
    return (bits, length)
  }

  /// Against a dictionary, through thousands of insertions and removals.
  @Test(arguments: 1...5) func agreesWithADictionary(seed: UInt64) {
    let entropy = SeededEntropy(seed: seed)
    var trie = PrefixTrie<UInt32>()
    var model: [[UInt32]: Int] = [:]
    for step in 0..<4_000 {
      let (bits, length) = randomPrefix(entropy)
      let key = [bits, UInt32(length)]
      // It grows, then shrinks.
      if entropy.nextUInt64() % 100 < (step < 2_000 ? 70 : 35) {
        let (number, isNew) = trie.insert(bits, length)
        #expect(isNew == (model[key] == nil))
        if let known = model[key] { #expect(known == number) }
        model[key] = number
      } else {
        #expect(trie.remove(bits, length) == model.removeValue(forKey: key))
      }
      #expect(trie.count == model.count)
    }
    #expect(Set(model.values).count == model.count)
    for (key, number) in model {
      #expect(trie.number(key[0], UInt8(key[1])) == number)
      #expect(trie.prefix(number) == (key[0], UInt8(key[1])))
    }
    let sought = model.keys.map { PrefixTrie<UInt32>.Key($0[0], UInt8($0[1])) }
    expectFound(sought, in: trie, model)
    var walked: [[UInt32]] = []
    trie.forEach(within: 0, 0) {
      let prefix = trie.prefix($0)
      walked.append([prefix.bits, UInt32(prefix.length)])
      return true
    }
    #expect(walked == model.keys.sorted { $0[0] == $1[0] ? $0[1] < $1[1] : $0[0] < $1[0] })
    for _ in 0..<500 {
      let address = UInt32(truncatingIfNeeded: entropy.nextUInt64()) & 0xff_80_ff_07
      let best = model.keys.filter { address & .mask(Int($0[1])) == $0[0] }.max { $0[1] < $1[1] }
      #expect(trie.longestMatch(address) == best.flatMap { model[$0] })
      let (bits, length) = randomPrefix(entropy)
      var inside = 0
      trie.forEach(within: bits, length) { _ in
        inside += 1
        return true
      }
      #expect(inside == model.keys.count { $0[1] >= UInt32(length) && $0[0] & .mask(Int(length)) == bits })
    }
    for _ in 0..<300 {
      let (within, length) = randomPrefix(entropy)
      let (bits, ofLast) = randomPrefix(entropy)
      var page: [[UInt32]] = []
      trie.forEach(within: within, length, after: (bits, ofLast)) {
        let prefix = trie.prefix($0)
        page.append([prefix.bits, UInt32(prefix.length)])
        return page.count < 5
      }
      let expected = walked.filter {
        $0[1] >= UInt32(length) && $0[0] & .mask(Int(length)) == within
          && ($0[0] > bits || $0[0] == bits && $0[1] > UInt32(ofLast))
      }
      #expect(page == Array(expected.prefix(5)))
    }
  }

  /// Several at once are found as one by one.
  private func expectFound(
    _ sought: [PrefixTrie<UInt32>.Key], in trie: PrefixTrie<UInt32>, _ model: [[UInt32]: Int]
  ) {
    let numbers = [UInt32](unsafeUninitializedCapacity: sought.count) { buffer, count in
      sought.withUnsafeBufferPointer { trie.find($0, UnsafeMutableBufferPointer(rebasing: buffer[..<sought.count])) }
      count = sought.count
    }
    #expect(
      numbers == sought.map { model[[$0.bits, UInt32($0.length)]].map { UInt32($0) } ?? PrefixTrie<UInt32>.noNumber })
  }

  /// So many that the places under the first bits of an address are kept, and then none again.
  @Test(arguments: 1...3) func largeTablesAgreeWithADictionary(seed: UInt64) {
    let entropy = SeededEntropy(seed: seed)
    var trie = PrefixTrie<UInt32>()
    var model: [[UInt32]: Int] = [:]
    func randomKey() -> PrefixTrie<UInt32>.Key {
      let word = entropy.nextUInt64()
      let length = UInt8([8, 15, 16, 17, 18, 24, 24, 24, 27, 28, 32, 32][Int(word >> 40 % 12)])
      return .init(UInt32(truncatingIfNeeded: word) & 0xc1_07_f3_13 & UInt32.mask(Int(length)), length)
    }
    var greatest = 0
    for step in 0..<60_000 {
      let key = randomKey()
      let name = [key.bits, UInt32(key.length)]
      if entropy.nextUInt64() % 100 < (step < 30_000 ? 80 : 10) {
        let (number, isNew) = trie.insert(key.bits, key.length)
        #expect(isNew == (model[name] == nil))
        model[name] = number
      } else {
        #expect(trie.remove(key.bits, key.length) == model.removeValue(forKey: name))
      }
      greatest = max(greatest, model.count)
      if step % 6_000 == 0 { expectFound((0..<500).map { _ in randomKey() }, in: trie, model) }
    }
    #expect(greatest > 5_000)
    for (name, number) in model { #expect(trie.number(name[0], UInt8(name[1])) == number) }
    var walked = 0
    trie.forEach(within: 0, 0) { _ in
      walked += 1
      return true
    }
    #expect(walked == model.count)
    for (name, number) in model { #expect(trie.remove(name[0], UInt8(name[1])) == number) }
    #expect(trie.count == 0 && trie.insert(0xc1_07_00_00, 24).isNew && trie.number(0xc1_07_00_00, 24) != nil)
    expectFound(
      [.init(0xc1_07_00_00, 24), .init(0xc1_07_00_00, 25), .init(0, 0)], in: trie,
      [[0xc1_07_00_00, 24]: trie.number(0xc1_07_00_00, 24) ?? -1])
  }

  @Test func ipv6PrefixesOfAllLengths() {
    var trie = PrefixTrie<UInt128>()
    let address: UInt128 = 0x2001_0db8_ffff_ffff_ffff_ffff_ffff_ffff
    var numbers: [Int] = []
    for length in 0...128 { numbers.append(trie.insert(address & .mask(length), UInt8(length)).number) }
    for length in 0...128 {
      #expect(trie.number(address & .mask(length), UInt8(length)) == numbers[length])
      #expect(trie.longestMatch(address, UInt8(length)) == numbers[length])
    }
    #expect(trie.longestMatch(address ^ 1) == numbers[127])
    for length in stride(from: 128, through: 0, by: -1) {
      #expect(trie.remove(address & .mask(length), UInt8(length)) == numbers[length])
    }
    #expect(trie.count == 0 && trie.longestMatch(address) == nil)
  }

  @Test func anEmptyTrieHasNothing() {
    var trie = PrefixTrie<UInt32>()
    #expect(trie.number(0, 0) == nil && trie.longestMatch(1) == nil && trie.remove(0, 0) == nil)
    trie.forEach(within: 0, 0) { _ in
      Issue.record("nothing is there")
      return true
    }
  }
}
