/// Why a piece of policy text is not understood: what, where, and what to write instead.
public struct PolicyTextError: Error, Hashable, Sendable {
  /// The text as a whole.
  public var text: String
  /// Characters of it before the one that is not understood.
  public var offset: Int
  /// What is wrong there.
  public var problem: String
  /// What to write instead.
  public var remedy: String

  public init(_ text: some StringProtocol, at offset: Int = 0, _ problem: String, remedy: String) {
    self.text = String(text)
    self.offset = offset
    self.problem = problem
    self.remedy = remedy
  }
}

extension PolicyTextError: CustomStringConvertible {
  /// Such as `"10.0.0.0/33", character 9: a length beyond 32; write 0 to 32`.
  public var description: String { "\"\(text)\", character \(offset + 1): \(problem); \(remedy)" }
}

/// The words of a text, each with the characters before it.
struct PolicyWords {
  let text: String
  private(set) var rest: ArraySlice<(offset: Int, word: Substring)>

  init(_ text: String) {
    self.text = text
    var words: [(offset: Int, word: Substring)] = []
    var start: (offset: Int, index: String.Index)?
    var offset = 0
    for index in text.indices {
      if text[index] == " " || text[index] == "\t" {
        if let begun = start { words.append((begun.offset, text[begun.index..<index])) }
        start = nil
      } else if start == nil {
        start = (offset, index)
      }
      offset += 1
    }
    if let begun = start { words.append((begun.offset, text[begun.index...])) }
    rest = words[...]
  }

  mutating func next() -> (offset: Int, word: Substring)? { rest.popFirst() }
}
