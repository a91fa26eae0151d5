import Foundation
public import Wire

/// What a single value must look like. All values are judged as text, so that a file, an environment
/// variable and a flag obey one rule and give one message.
public enum ValueKind: Sendable {
  /// Any text that is not empty.
  case text
  /// Letters, digits, `.`, `_` and `-`, at most 64, not beginning with a punctuation mark.
  case identifier
  /// `true` or `false`.
  case boolean
  case integer(ClosedRange<Int>)
  /// See ``Wire/Interval/init(settingsText:)``.
  case duration(ClosedRange<Interval>)
  /// One of these.
  case choice([String])
  /// A domain name (RFC 1123 §2.1) or an IP address, without port.
  case host
  /// `host:port`, with IPv6 in brackets.
  case hostPort
  /// `address:port`; names are not allowed.
  case socketAddress
  /// `address:port` with an address of the loopback interface. `anyPort` allows port 0.
  case loopbackAddress(anyPort: Bool)
  /// An IP address, without port.
  case address
  /// An IP address, a link-local one of IPv6 with its interface: `fe80::1%eth1` (RFC 4007 §11).
  case scopedAddress
  /// `192.0.2.0/24`, `2001:db8::/32`, or a single address.
  case prefix
  /// `443` or `8000-8999`.
  case portRange
  /// An `https` URL, or an `http` one whose host is a loopback address.
  case secureURL
  /// A file; relative ones are meant from the folder of the settings file.
  case path
  /// The base64 text of a SHA-256 value.
  case sha256
  /// Bytes as pairs of hexadecimal digits.
  case hexadecimal(bytes: ClosedRange<Int>)
  /// An https URI template of level 3 or less (RFC 6570) with at least these variables.
  case uriTemplate(variables: [String])
}

extension ValueKind {
  /// What is wrong with `text`, or nil. The sentence continues "KEY: …".
  public func problem(with text: String) -> String? {
    func unless(_ fits: Bool, _ expectation: String) -> String? {
      fits ? nil : "expected \(expectation), found \(quoted(text))"
    }
    switch self {
    case .text: return unless(!text.isEmpty && !text.contains("\0"), "some text")
    case .identifier:
      return unless(Self.isIdentifier(text), "a name of letters, digits, '.', '_' and '-'")
    case .boolean: return unless(text == "true" || text == "false", "true or false")
    case .integer(let range):
      return unless(
        Int(text).map(range.contains) ?? false, "a whole number from \(range.lowerBound) to \(range.upperBound)")
    case .duration(let range):
      guard let interval = Interval(settingsText: text) else {
        return unless(false, "a duration such as 30s or 250ms")
      }
      return unless(
        range.contains(interval),
        "a duration from \(range.lowerBound.settingsText) to \(range.upperBound.settingsText)")
    case .choice(let valid):
      if valid.contains(text) { return nil }
      let list = valid.joined(separator: ", ")
      return "expected one of \(list), found \(quoted(text))" + didYouMean(nearest(to: text, in: valid))
    case .host: return unless(Self.isHost(text), "a domain name or an IP address")
    case .hostPort: return unless(Self.isHostPort(text), "host:port (IPv6 as [address]:port)")
    case .socketAddress: return unless(SocketAddress(text) != nil, "address:port (IPv6 as [address]:port)")
    case .loopbackAddress(let anyPort):
      guard let address = SocketAddress(text) else { return unless(false, "a loopback address:port") }
      if !address.ip.isLoopback { return "\(quoted(text)) is not a loopback address; use 127.0.0.1 or [::1]" }
      return unless(anyPort || address.port != 0, "a port that is not 0")
    case .address: return unless(IPAddress(text) != nil, "an IP address")
    case .scopedAddress:
      guard let (ip, interface) = Self.scopedAddress(text) else { return unless(false, "an IP address") }
      if ip.isLinkLocal, interface == nil {
        return "\(quoted(text)) is link-local: add its interface, as in \(ip)%eth0"
      }
      if !ip.isLinkLocal, interface != nil { return "\(quoted(text)) is not link-local: leave out the interface" }
      return nil
    case .prefix: return unless(IPPrefix(text) != nil || IPAddress(text) != nil, "an IP prefix such as 192.0.2.0/24")
    case .portRange: return unless(Self.portRange(text) != nil, "a port or a range such as 8000-8999")
    case .secureURL: return Self.urlProblem(text)
    case .path: return unless(!text.isEmpty && !text.contains("\0"), "a path")
    case .sha256: return unless(Self.isSHA256(text), "the base64 text of a SHA-256 value (44 characters)")
    case .hexadecimal(let count):
      return unless(
        Self.bytes(text).map { count.contains($0.count) } ?? false,
        "\(count.lowerBound) to \(count.upperBound) bytes as pairs of hexadecimal digits")
    case .uriTemplate(let variables): return Self.templateProblem(text, variables: variables)
    }
  }

  /// The ports of `443` or `8000-8999`; nil for anything else.
  public static func portRange(_ text: String) -> ClosedRange<UInt16>? {
    let ends = text.split(separator: "-", omittingEmptySubsequences: false)
    guard (1...2).contains(ends.count), let low = UInt16(ends[0]), low > 0 else { return nil }
    guard ends.count == 2 else { return low...low }
    guard let high = UInt16(ends[1]), high >= low else { return nil }
    return low...high
  }

  /// Splits `host:port`; the host comes without brackets. Nil for anything else.
  public static func hostPort(_ text: String) -> (host: String, port: UInt16)? {
    guard let colon = text.lastIndex(of: ":"), let port = UInt16(text[text.index(after: colon)...]), port > 0 else {
      return nil
    }
    var host = text[..<colon]
    if host.hasPrefix("["), host.hasSuffix("]") {
      host = host.dropFirst().dropLast()
      guard case .v6 = IPAddress(String(host)) else { return nil }
      return (String(host), port)
    }
    return isHost(String(host)) && !host.contains(":") ? (String(host), port) : nil
  }

  /// Splits `fe80::1%eth1`; the interface is nil where none is named. Nil for anything else.
  public static func scopedAddress(_ text: String) -> (ip: IPAddress, interface: String?)? {
    let parts = text.split(separator: "%", maxSplits: 1, omittingEmptySubsequences: false)
    guard let ip = IPAddress(String(parts[0])) else { return nil }
    guard parts.count == 2 else { return (ip, nil) }
    // IFNAMSIZ, with its zero.
    let name = parts[1].utf8
    let isName = (1...15).contains(name.count) && name.allSatisfy { $0 > 0x20 && $0 < 0x7f && $0 != 0x2f && $0 != 0x25 }
    return isName ? (ip, String(parts[1])) : nil
  }

  static func isHostPort(_ text: String) -> Bool { hostPort(text) != nil }

  public static func isIdentifier(_ text: String) -> Bool {
    guard let first = text.utf8.first, text.utf8.count <= 64 else { return false }
    return isAlphanumeric(first)
      && text.utf8.allSatisfy { isAlphanumeric($0) || $0 == 0x2d || $0 == 0x2e || $0 == 0x5f }
  }

  /// RFC 1123 §2.1 and RFC 1035 §2.3.4: labels of 1 to 63 letters, digits and hyphens, 253 in all.
  public static func isHost(_ text: String) -> Bool {
    if IPAddress(text) != nil { return true }
    let name = text.hasSuffix(".") ? text.dropLast() : text[...]
    guard !name.isEmpty, name.utf8.count <= 253 else { return false }
    let labels = name.split(separator: ".", omittingEmptySubsequences: false)
    // A last label of digits alone would be a malformed IPv4 address, not a name.
    guard let last = labels.last, !last.utf8.allSatisfy({ (0x30...0x39).contains($0) }) else { return false }
    return labels.allSatisfy { label in
      (1...63).contains(label.utf8.count) && label.first != "-" && label.last != "-"
        && label.utf8.allSatisfy { isAlphanumeric($0) || $0 == 0x2d || $0 == 0x5f }
    }
  }

  private static func isAlphanumeric(_ byte: UInt8) -> Bool {
    (0x30...0x39).contains(byte) || (0x41...0x5a).contains(byte) || (0x61...0x7a).contains(byte)
  }

  private static func urlProblem(_ text: String) -> String? {
    guard let url = URLParts(text) else { return "expected a URL, found \(quoted(text))" }
    switch url.scheme {
    case "https": return nil
    case "http":
      let isLoopback = url.host == "localhost" || (IPAddress(url.host)?.isLoopback ?? false)
      return isLoopback ? nil : "\(quoted(text)) is not https; http is for loopback addresses alone"
    default: return "expected an https URL, found \(quoted(text))"
    }
  }

  /// The bytes of a ``hexadecimal(bytes:)``; nil for what is none.
  public static func bytes(_ text: String) -> [UInt8]? {
    let digits = text.utf8.map { Character(UnicodeScalar($0)).hexDigitValue }
    guard digits.count % 2 == 0, !digits.contains(nil) else { return nil }
    // Proof for the unwraps: none of them is nil.
    return stride(from: 0, to: digits.count, by: 2).map { UInt8(digits[$0]! << 4 | digits[$0 + 1]!) }
  }

  private static func isSHA256(_ text: String) -> Bool {
    // 32 bytes are 43 characters and one '='; the last of the 43 carries only four bits.
    let bytes = Array(text.utf8)
    guard bytes.count == 44, bytes[43] == 0x3d else { return false }
    return bytes[..<43].allSatisfy { isAlphanumeric($0) || $0 == 0x2b || $0 == 0x2f }
      && Array("AEIMQUYcgkosw048".utf8).contains(bytes[42])
  }

  private static func templateProblem(_ text: String, variables: [String]) -> String? {
    // RFC 9298 §2: "The URI Template MUST be in absolute form and MUST include non-empty scheme,
    // authority, and path components."
    guard text.hasPrefix("https://"), let url = URLParts(text), !url.path.isEmpty else {
      return "expected an https URI template, found \(quoted(text))"
    }
    for variable in variables where !text.contains("{\(variable)}") && !Self.expression(in: text, names: variable) {
      return "the template lacks {\(variable)}"
    }
    return nil
  }

  /// Whether an expression with an operator or several names, such as `{?a,b}`, names the variable.
  private static func expression(in text: String, names variable: String) -> Bool {
    text.split(separator: "{").dropFirst().contains { piece in
      guard let end = piece.firstIndex(of: "}") else { return false }
      return piece[..<end].drop { "?&/;.+#".contains($0) }.split(separator: ",").contains { $0 == variable }
    }
  }
}

/// The parts of a URL that a check needs.
private struct URLParts {
  var scheme: String
  var host: String
  var path: Substring

  init?(_ text: String) {
    guard let colon = text.range(of: "://"), text.utf8.allSatisfy({ $0 > 0x20 && $0 != 0x7f }) else { return nil }
    scheme = text[..<colon.lowerBound].lowercased()
    let rest = text[colon.upperBound...]
    let end = rest.firstIndex { "/?#".contains($0) } ?? rest.endIndex
    let authority = String(rest[..<end])
    path = rest[end...]
    guard !authority.contains("@") else { return nil }
    if let split = ValueKind.hostPort(authority) {
      host = split.host
    } else if authority.hasPrefix("["), authority.hasSuffix("]") {
      host = String(authority.dropFirst().dropLast())
    } else {
      host = authority
    }
    // A template may stand in the host: its braces are no part of any name.
    guard ValueKind.isHost(host) || host.contains("{") else { return nil }
  }
}

extension IPAddress {
  /// 127.0.0.0/8 (RFC 1122 §3.2.1.3) or ::1 (RFC 4291 §2.5.3), also in IPv4-mapped form.
  var isLoopback: Bool {
    switch unmapped {
    case .v4(let four): four.rawValue >> 24 == 127
    case .v6(let six): six == .loopback
    }
  }
}

func quoted(_ text: String) -> String {
  let printable = text.unicodeScalars.prefix(60).map { $0.value < 0x20 || $0.value == 0x7f ? "?" : String($0) }
  return "'\(printable.joined())\(text.unicodeScalars.count > 60 ? "…" : "")'"
}
