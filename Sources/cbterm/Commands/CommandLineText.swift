/// Splits what a user types into commands and words.
///
/// `;` and newlines end a command. Words end at blanks. Single quotes keep everything, double quotes all but
/// `\"` and `\\`, and a backslash outside quotes keeps the next character. `#` at the start of a word begins
/// a comment.
struct CommandLineText {
  struct Word: Equatable {
    var text: String
    /// Where it begins, quotes included, in UTF-8 bytes from the start of the line.
    var start: Int
  }

  enum Failure: Error, Equatable {
    case unclosedQuote(Character)
    case trailingBackslash

    var message: String {
      switch self {
      case .unclosedQuote(let mark): "a \(mark) is not closed"
      case .trailingBackslash: "the line ends with a backslash"
      }
    }
  }

  /// The commands of a line, the empty ones left out.
  var commands: [[Word]] = []
  /// What is wrong with the end; the words before it stand.
  var failure: Failure?
  /// Whether the text ends within a word, as completion asks.
  var endsInWord = false
  /// The words of the command that the text ends in; empty after a `;`.
  var lastCommand: [Word] = []

  init(_ text: String) {
    var words: [Word] = []
    var word: Word?
    var quote: Character?
    var isEscaped = false
    var isComment = false
    var offset = 0

    func closed(_ word: Word?) -> [Word] { word.map { [$0] } ?? [] }
    for character in text {
      let start = offset
      offset += character.utf8.count
      if isComment {
        guard character.isNewline else { continue }
        isComment = false
      }
      if isEscaped {
        // Within double quotes a backslash stands for itself unless it protects something.
        if quote == "\"", character != "\"", character != "\\" { word?.text.append("\\") }
        word?.text.append(character)
        isEscaped = false
        continue
      }
      if let mark = quote {
        if character == mark {
          quote = nil
        } else if character == "\\", mark == "\"" {
          isEscaped = true
        } else {
          word?.text.append(character)
        }
        continue
      }
      switch character {
      case "\\":
        word = word ?? Word(text: "", start: start)
        isEscaped = true
      case "'", "\"":
        word = word ?? Word(text: "", start: start)
        quote = character
      case "#" where word == nil: isComment = true
      case ";", "\n", "\r\n", "\r":
        words += closed(word)
        if !words.isEmpty { commands.append(words) }
        (word, words) = (nil, [])
      case " ", "\t":
        words += closed(word)
        word = nil
      default:
        word = word ?? Word(text: "", start: start)
        word?.text.append(character)
      }
    }
    if let quote { failure = .unclosedQuote(quote) } else if isEscaped { failure = .trailingBackslash }
    endsInWord = word != nil
    words += closed(word)
    lastCommand = words
    if !words.isEmpty { commands.append(words) }
  }
}
