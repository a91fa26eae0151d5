extension URITemplate {
  /// The path and query of the request for a tunnel to `target` (RFC 9298 §3, RFC 6570 §3.2).
  ///
  /// Variables other than the two have no value, and expand to nothing.
  public func expand(_ target: Target) -> String {
    var output = ""
    for part in parts {
      switch part {
      case .literal(let text): output += text
      case .expression(let kind, let names):
        var isFirst = true
        for name in names {
          guard let value = Self.value(of: name, target) else { continue }
          switch (kind, isFirst) {
          case (.simple, true): break
          case (.simple, false): output += ","
          case (.query, true): output += "?"
          case (.query, false), (.continuation, _): output += "&"
          }
          if kind != .simple { output += name + "=" }
          output += Self.percentEncode(value)
          isFirst = false
        }
      }
    }
    return output
  }

  private static func value(of name: String, _ target: Target) -> String? {
    switch name {
    case Variable.host: target.host.description
    case Variable.port: String(target.port)
    default: nil
    }
  }

  // RFC 9298 §3: "if "target_host" contains an IPv6 literal, the colons (":") MUST be percent-encoded." RFC 6570 §3.2.2
  // leaves unreserved characters alone as they are.
  static func percentEncode(_ text: String) -> String {
    var output = ""
    for byte in text.utf8 {
      if isUnreserved(byte) {
        output.unicodeScalars.append(Unicode.Scalar(byte))
      } else {
        output += byte < 16 ? "%0" : "%"
        output += String(byte, radix: 16, uppercase: true)
      }
    }
    return output
  }

  /// RFC 3986 §2.3.
  static func isUnreserved(_ byte: UInt8) -> Bool {
    isAlphanumeric(byte)
      || byte == UInt8(ascii: "-") || byte == UInt8(ascii: ".") || byte == UInt8(ascii: "_")
      || byte == UInt8(ascii: "~")
  }

  /// Why a path leads to no target.
  public enum MatchError: Error, Hashable, Sendable {
    /// The path is not one that this template expands to.
    case noMatch
    /// It is, but what stands for the target is not valid.
    case invalid(Target.Invalid)
  }

  /// The target that expanding this template to `path` (with its query) must have had.
  ///
  /// A value ends where a character stands that no expansion produces, so for a template to be matched a
  /// literal that follows an expression begins with a reserved character, such as a slash.
  public func match(_ path: String) throws(MatchError) -> Target {
    var rest = Substring(path).utf8
    var values: [String: String] = [:]
    for part in parts {
      switch part {
      case .literal(let text):
        guard rest.starts(with: text.utf8) else { throw .noMatch }
        rest = rest.dropFirst(text.utf8.count)
      case .expression(let kind, let names):
        var isFirst = true
        for name in names where name == Variable.host || name == Variable.port {
          let lead: String =
            switch (kind, isFirst) {
            case (.simple, true): ""
            case (.simple, false): ","
            case (.query, true): "?\(name)="
            case (.query, false), (.continuation, _): "&\(name)="
            }
          guard rest.starts(with: lead.utf8) else { throw .noMatch }
          rest = rest.dropFirst(lead.utf8.count)
          let value = rest.prefix { Self.isUnreserved($0) || $0 == UInt8(ascii: "%") }
          rest = rest.dropFirst(value.count)
          guard let decoded = Self.percentDecode(value) else { throw .noMatch }
          // A variable that occurs twice must say the same twice.
          guard values.updateValue(decoded, forKey: name) ?? decoded == decoded else { throw .noMatch }
          isFirst = false
        }
      }
    }
    guard rest.isEmpty, let host = values[Variable.host], let port = values[Variable.port] else { throw .noMatch }
    do throws(Target.Invalid) {
      // RFC 9298 §3: "both the "target_host" and "target_port" variables MUST NOT be empty": Target refuses them.
      return try Target(host: host, port: port)
    } catch {
      throw .invalid(error)
    }
  }

  /// Nil for a percent sign without two hexadecimal digits, or bytes that are not UTF-8.
  static func percentDecode(_ text: Substring.UTF8View) -> String? {
    var bytes: [UInt8] = []
    var rest = text
    while let byte = rest.popFirst() {
      guard byte == UInt8(ascii: "%") else {
        bytes.append(byte)
        continue
      }
      guard let high = rest.popFirst().flatMap(hexadecimal), let low = rest.popFirst().flatMap(hexadecimal) else {
        return nil
      }
      bytes.append(high << 4 | low)
    }
    return String(validating: bytes, as: UTF8.self)
  }

  private static func hexadecimal(_ byte: UInt8) -> UInt8? {
    Character(Unicode.Scalar(byte)).hexDigitValue.map(UInt8.init)
  }
}
