import CBClient
import Foundation

/// What a command came to: the same facts for people and for programs.
struct Answer {
  /// The `result` of the JSON document; nil gives `{}`.
  var result: (any Encodable & Sendable)?
  /// The lines for people.
  var lines: @Sendable (ScreenFormat) -> [String]

  init(
    _ result: (any Encodable & Sendable)? = nil, _ lines: @escaping @Sendable (ScreenFormat) -> [String] = { _ in [] }
  ) {
    self.result = result
    self.lines = lines
  }
}

/// The JSON document of one command, on one line: `command`, `ok`, and `result` or `error`.
struct CommandDocument: Encodable {
  var command: String
  var outcome: Result<Answer, ClientError>

  private enum Key: String, CodingKey { case command, ok, result, error }
  private struct Nothing: Encodable {}
  private struct Failure: Encodable {
    var kind: ClientError.Kind
    var message: String
    var hint: String?
    var exitCode: Int32
  }

  func encode(to encoder: any Encoder) throws {
    var container = encoder.container(keyedBy: Key.self)
    try container.encode(command, forKey: .command)
    switch outcome {
    case .success(let answer):
      try container.encode(true, forKey: .ok)
      if let result = answer.result {
        try container.encode(result, forKey: .result)
      } else {
        try container.encode(Nothing(), forKey: .result)
      }
    case .failure(let error):
      try container.encode(false, forKey: .ok)
      try container.encode(
        Failure(kind: error.kind, message: error.message, hint: error.hint, exitCode: error.exitCode), forKey: .error)
    }
  }

  /// Ends with a newline.
  var text: String { Self.text(of: self) }

  static func text(of value: some Encodable) -> String {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
    encoder.dateEncodingStrategy = .iso8601
    // What is encoded here is plain values; a number that JSON lacks (NaN) is the one way to fail.
    guard let data = try? encoder.encode(value) else { return "{\"ok\":false}\n" }
    return String(decoding: data, as: UTF8.self) + "\n"
  }
}

extension FieldList {
  var asAnswerLines: @Sendable (ScreenFormat) -> [String] {
    let lines = self
    return { lines.lines(for: $0) }
  }
}
