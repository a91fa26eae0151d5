/// What a probe has found, and in a few words what it saw: by these an operator knows where to look.
public struct Finding: Hashable, Sendable {
  public var isGood: Bool
  public var words: String

  public init(_ isGood: Bool, _ words: String) {
    self.isGood = isGood
    self.words = words
  }
}
