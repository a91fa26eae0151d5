/// One field line: a name and a value (RFC 9110 §5.1).
public struct Field: Hashable, Sendable {
  /// In lower case, as HTTP/3 wants it (RFC 9114 §4.2).
  public var name: String
  /// Bytes of the wire that are not UTF-8 show as U+FFFD: field sections end here and are not forwarded.
  public var value: String
  /// RFC 9204 §7.1.3: a value that no compression may put at risk, here or on a later hop.
  public var neverIndexed: Bool

  /// `neverIndexed` is true of itself for fields that carry credentials.
  public init(_ name: String, _ value: String, neverIndexed: Bool? = nil) {
    self.name = name
    self.value = value
    self.neverIndexed = neverIndexed ?? Self.carriesCredentials(name)
  }

  static func carriesCredentials(_ name: String) -> Bool {
    switch name {
    case "authorization", "proxy-authorization", "cookie", "set-cookie": true
    default: false
    }
  }

  /// The line's size as RFC 9114 §4.2.2 counts it: both lengths plus 32 bytes.
  public var size: Int { name.utf8.count + value.utf8.count + 32 }
}

/// The field lines of one section, in order, pseudo-header fields first.
public struct HeaderList: Hashable, Sendable {
  public var fields: [Field]

  public init(_ fields: [Field] = []) { self.fields = fields }

  public mutating func append(_ name: String, _ value: String, neverIndexed: Bool? = nil) {
    fields.append(Field(name, value, neverIndexed: neverIndexed))
  }

  /// The first value under `name`, which is in lower case.
  public subscript(_ name: String) -> String? { fields.first { $0.name == name }?.value }

  /// Every value under `name`, in order.
  public func values(_ name: String) -> [String] { fields.filter { $0.name == name }.map(\.value) }

  /// The section's size in bytes as RFC 9114 §4.2.2 counts it.
  public var size: Int { fields.reduce(0) { $0 + $1.size } }

  public var method: String? { self[":method"] }
  public var scheme: String? { self[":scheme"] }
  public var authority: String? { self[":authority"] }
  public var path: String? { self[":path"] }
  /// RFC 8441 §4.
  public var connectProtocol: String? { self[":protocol"] }
  /// Three digits, or nil.
  public var status: Int? {
    guard let text = self[":status"], text.utf8.count == 3, text.utf8.allSatisfy({ $0 >= 0x30 && $0 <= 0x39 }) else {
      return nil
    }
    return Int(text)
  }
  /// A final response of success (RFC 9110 §15.3).
  public var isSuccessful: Bool { status.map { (200..<300).contains($0) } ?? false }
}

extension HeaderList: ExpressibleByDictionaryLiteral {
  public init(dictionaryLiteral elements: (String, String)...) {
    fields = elements.map { Field($0, $1) }
  }
}

extension HeaderList: CustomStringConvertible {
  /// One line a field. Values that carry credentials are not shown.
  public var description: String {
    fields.map { "\($0.name): \($0.neverIndexed ? "…" : $0.value)" }.joined(separator: "\n")
  }
}
