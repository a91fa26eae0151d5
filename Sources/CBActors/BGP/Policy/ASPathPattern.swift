/// A pattern that a whole AS path must match, from the neighbor to the origin.
///
/// Elements stand apart by spaces:
///
/// | element | stands for |
/// |---|---|
/// | `65001` | this AS |
/// | `64512-65534` | one AS of these |
/// | `?` | any one AS |
/// | `(65001\|65010-65019)` | one AS of any of these |
/// | `*` | any number of any ASs, none too |
///
/// A `+` behind one of the first four is one or more of it, a `*` any number, none too. So `65001 *` is what comes from
/// neighbor 65001, `* 65001` what 65001 originates, `* 65001 *` what passes it, `65001+` what it originates and prepends
/// as often as it likes; the empty pattern is a path without any AS. An AS_SET is one AS that is any of its members.
///
/// Takes as long as the path is long times the pattern, whatever stands in either.
public struct ASPathPattern: Hashable, Sendable {
  struct Element: Hashable, Sendable {
    /// Empty stands for any.
    var numbers: [ClosedRange<UInt32>]
    var repeats = false
    var isOptional = false

    func matches(_ number: UInt32) -> Bool { numbers.isEmpty || numbers.contains { $0.contains(number) } }
  }

  /// As it was written.
  public let text: String
  let elements: [Element]

  public init(parsing text: String) throws(PolicyTextError) {
    self.text = text
    var elements: [Element] = []
    var words = PolicyWords(text)
    while let (offset, word) = words.next() { elements.append(try Self.element(word, text, at: offset)) }
    // One bit for each place between elements.
    guard elements.count < 64 else {
      throw PolicyTextError(text, "more than 63 elements", remedy: "divide the pattern into several")
    }
    self.elements = elements
  }

  private static func element(_ word: Substring, _ text: String, at offset: Int) throws(PolicyTextError) -> Element {
    if word == "*" { return Element(numbers: [], repeats: true, isOptional: true) }
    var body = word
    var element = Element(numbers: [])
    if let last = body.last, last == "*" || last == "+" {
      body.removeLast()
      element.repeats = true
      element.isOptional = last == "*"
    }
    if body == "?" { return element }
    var at = offset
    if body.first == "(" {
      guard body.count > 2, body.last == ")" else {
        throw PolicyTextError(
          text, at: offset, "a \"(\" without its \")\"", remedy: "write (65001|65002), no spaces in it")
      }
      body = body.dropFirst().dropLast()
      at += 1
    } else if body.contains("|") {
      throw PolicyTextError(text, at: offset, "a choice without brackets", remedy: "write (\(body))")
    }
    for choice in body.split(separator: "|", omittingEmptySubsequences: false) {
      element.numbers.append(try numbers(choice, text, at: at))
      at += choice.count + 1
    }
    return element
  }

  private static func numbers(
    _ word: Substring, _ text: String, at offset: Int
  ) throws(PolicyTextError) -> ClosedRange<UInt32> {
    let ends = word.split(separator: "-", omittingEmptySubsequences: false).map { UInt32($0) }
    switch ends.count {
    case 1: if let number = ends[0] { return number...number }
    case 2:
      if let from = ends[0], let to = ends[1] {
        guard from <= to else {
          throw PolicyTextError(text, at: offset, "\(from) is beyond \(to)", remedy: "write \(to)-\(from)")
        }
        return from...to
      }
    default: break
    }
    throw PolicyTextError(
      text, at: offset, "\"\(word)\" is no AS", remedy: "write a number up to 4294967295, two with a - between, ? or *")
  }

  public func matches(_ path: ASPath) -> Bool {
    // Bit n is set where the path so far can be what the first n elements stand for.
    var places = skippingOptional(1)
    for segment in path.segments {
      if segment.isSet {
        places = step(places) { element in segment.numbers.contains { element.matches($0) } }
      } else {
        for number in segment.numbers {
          places = step(places) { $0.matches(number) }
          if places == 0 { return false }
        }
      }
    }
    return places >> UInt64(elements.count) & 1 == 1
  }

  private func step(_ places: UInt64, _ matches: (Element) -> Bool) -> UInt64 {
    var next: UInt64 = 0
    for (index, element) in elements.enumerated() {
      let (before, behind) = (UInt64(1) << UInt64(index), UInt64(2) << UInt64(index))
      guard places & (element.repeats ? before | behind : before) != 0, matches(element) else { continue }
      next |= behind
    }
    return skippingOptional(next)
  }

  private func skippingOptional(_ places: UInt64) -> UInt64 {
    var places = places
    for (index, element) in elements.enumerated() where element.isOptional && places >> UInt64(index) & 1 == 1 {
      places |= UInt64(2) << UInt64(index)
    }
    return places
  }
}

extension ASPathPattern: CustomStringConvertible {
  public var description: String { text }
}
