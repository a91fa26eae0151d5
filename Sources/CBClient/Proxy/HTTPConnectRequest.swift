import Wire

/// Reads an HTTP/1.1 client's CONNECT request (RFC 9110 §9.3.6, RFC 9112 §3.2.3), in any chunks.
///
/// Holds at most ``maximumHeadLength`` octets beside the chunk at hand. The fields are checked and dropped:
/// none of them belongs to the tunnel.
struct HTTPConnectRequest: Sendable {
  enum Step: Hashable {
    case needsMore
    /// Carry it out, then send ``established`` or ``response(_:_:)``. `remainder` is what the client sent
    /// ahead of the answer: the first of its data.
    case connect(ProxyDestination, remainder: [UInt8])
    /// Send `response` and close.
    case refused(Refusal, response: [UInt8])
  }

  enum Refusal: Error, Hashable {
    /// No HTTP/1 request.
    case malformed
    case headTooLong
    case unsupportedVersion
    /// A target that is no `host:port`.
    case invalidTarget
    /// A request for a URL: what a proxy without CONNECT would fetch.
    case absoluteForm(method: String)
    case methodNotAllowed(method: String)
  }

  /// 16 KiB for the request line and all fields.
  static let maximumHeadLength = 16_384

  private var head: [UInt8] = []
  /// How much of ``head`` has been searched for its end.
  private var searched = 0
  private var isOver = false

  init() {}

  /// Takes in a chunk. After a request or refusal every further chunk is refused as malformed.
  mutating func receive(_ bytes: UnsafeRawBufferPointer) -> Step {
    guard !isOver else { return .refused(.malformed, response: []) }
    head.append(contentsOf: bytes)
    guard let end = endOfHead() else {
      return head.count > Self.maximumHeadLength ? refuse(.headTooLong) : .needsMore
    }
    guard end <= Self.maximumHeadLength else { return refuse(.headTooLong) }
    switch Self.parse(head[..<end]) {
    case .success(let destination):
      isOver = true
      return .connect(destination, remainder: Array(head[end...]))
    case .failure(let refusal): return refuse(refusal)
    }
  }

  mutating func receive(_ bytes: [UInt8]) -> Step { bytes.withUnsafeBytes { receive($0) } }

  private mutating func refuse(_ refusal: Refusal) -> Step {
    isOver = true
    head = []
    return .refused(refusal, response: Self.response(refusal.status, refusal.text, allow: refusal.allow))
  }

  /// Behind the empty line. A lone LF ends a line as well (RFC 9112 §2.2).
  private mutating func endOfHead() -> Int? {
    // An empty line is at most the last two octets of what was searched before.
    var index = max(0, searched - 2)
    while let newline = head[index...].firstIndex(of: 0x0a) {
      let next = newline + 1
      if next < head.count, head[next] == 0x0a { return next + 1 }
      if next + 1 < head.count, head[next] == 0x0d, head[next + 1] == 0x0a { return next + 2 }
      index = next
    }
    searched = head.count
    return nil
  }

  // MARK: The head

  private static func parse(_ head: ArraySlice<UInt8>) -> Result<ProxyDestination, Refusal> {
    var lines = head.split(separator: 0x0a, omittingEmptySubsequences: false)
      .map { $0.last == 0x0d ? $0.dropLast() : $0 }
    // RFC 9112 §2.2: an empty line before the request line is ignored.
    if lines.first?.isEmpty == true { lines.removeFirst() }
    guard let requestLine = lines.first else { return .failure(.malformed) }
    let parts = requestLine.split(separator: 0x20, omittingEmptySubsequences: false)
    guard parts.count == 3, !parts[0].isEmpty, parts[0].allSatisfy(isTokenOctet), !parts[1].isEmpty,
      parts[1].allSatisfy({ (0x21...0x7e).contains($0) })
    else { return .failure(.malformed) }
    guard parts[2].elementsEqual("HTTP/1.1".utf8) || parts[2].elementsEqual("HTTP/1.0".utf8) else {
      return .failure(parts[2].starts(with: "HTTP/".utf8) ? .unsupportedVersion : .malformed)
    }
    for line in lines.dropFirst() where !line.isEmpty {
      // RFC 9112 §5: a name, a colon straight after it, and no control octet in the value.
      guard let colon = line.firstIndex(of: UInt8(ascii: ":")), colon > line.startIndex,
        line[..<colon].allSatisfy(isTokenOctet),
        line[colon...].allSatisfy({ $0 == 0x09 || ($0 >= 0x20 && $0 != 0x7f) })
      else { return .failure(.malformed) }
    }
    let method = String(decoding: parts[0], as: UTF8.self)
    guard method == "CONNECT" else {
      let isAbsolute = parts[1].first != UInt8(ascii: "/") && parts[1].contains(UInt8(ascii: ":"))
      return .failure(isAbsolute ? .absoluteForm(method: method) : .methodNotAllowed(method: method))
    }
    return destination(parts[1]).map { .success($0) } ?? .failure(.invalidTarget)
  }

  /// Authority-form: `host:port`, an IPv6 address in brackets (RFC 9112 §3.2.3).
  private static func destination(_ target: ArraySlice<UInt8>) -> ProxyDestination? {
    guard let colon = target.lastIndex(of: UInt8(ascii: ":")) else { return nil }
    let digits = target[(colon + 1)...]
    guard (1...5).contains(digits.count), digits.allSatisfy({ (0x30...0x39).contains($0) }),
      let port = UInt16(String(decoding: digits, as: UTF8.self)), port != 0
    else { return nil }
    var host = target[..<colon]
    let isBracketed = host.first == UInt8(ascii: "[") && host.last == UInt8(ascii: "]")
    if isBracketed { host = host.dropFirst().dropLast() }
    guard let parsed = ProxyDestination.Host(host) else { return nil }
    if case .address(.v6) = parsed {
      guard isBracketed else { return nil }
    } else if isBracketed || host.contains(UInt8(ascii: ":")) {
      return nil
    }
    return ProxyDestination(parsed, port: port)
  }

  /// tchar (RFC 9110 §5.6.2).
  private static func isTokenOctet(_ octet: UInt8) -> Bool {
    switch octet {
    case 0x30...0x39, 0x41...0x5a, 0x61...0x7a: true
    default: "!#$%&'*+-.^_`|~".utf8.contains(octet)
    }
  }

  // MARK: Responses

  /// What to send when the tunnel stands.
  static let established = Array("HTTP/1.1 200 Connection established\r\n\r\n".utf8)

  enum Status: String, Hashable, CaseIterable {
    case badRequest = "400 Bad Request"
    case forbidden = "403 Forbidden"
    case methodNotAllowed = "405 Method Not Allowed"
    case fieldsTooLarge = "431 Request Header Fields Too Large"
    case notImplemented = "501 Not Implemented"
    case badGateway = "502 Bad Gateway"
    case serviceUnavailable = "503 Service Unavailable"
    case gatewayTimeout = "504 Gateway Timeout"
    case versionNotSupported = "505 HTTP Version Not Supported"
  }

  /// A refusal in plain text, after which the connection closes. `text` becomes the body with a line feed.
  static func response(_ status: Status, _ text: String) -> [UInt8] { response(status, text, allow: nil) }

  private static func response(_ status: Status, _ text: String, allow: String?) -> [UInt8] {
    let body = Array((text + "\n").utf8)
    let fields = [
      "HTTP/1.1 \(status.rawValue)", "Content-Type: text/plain; charset=utf-8", "Content-Length: \(body.count)",
      allow.map { "Allow: \($0)" }, "Connection: close",
    ]
    return Array((fields.compactMap { $0 }.joined(separator: "\r\n") + "\r\n\r\n").utf8) + body
  }
}

extension HTTPConnectRequest.Refusal {
  private static let service =
    "This is a CloudBridge client's local proxy. It opens tunnels by CONNECT host:port (and by SOCKS5 on its SOCKS port)."

  var status: HTTPConnectRequest.Status {
    switch self {
    case .malformed, .invalidTarget: .badRequest
    case .headTooLong: .fieldsTooLarge
    case .unsupportedVersion: .versionNotSupported
    case .absoluteForm: .notImplemented
    case .methodNotAllowed: .methodNotAllowed
    }
  }

  /// RFC 9110 §15.5.6: a 405 names the methods that are allowed.
  var allow: String? { if case .methodNotAllowed = self { "CONNECT" } else { nil } }

  var text: String {
    switch self {
    case .malformed: "Malformed request. \(Self.service)"
    case .headTooLong:
      "The request's head is longer than \(HTTPConnectRequest.maximumHeadLength) octets. \(Self.service)"
    case .unsupportedVersion: "Only HTTP/1.1 is spoken here. \(Self.service)"
    case .invalidTarget: "The target of CONNECT is host:port, an IPv6 address in brackets. \(Self.service)"
    case .absoluteForm:
      "Plain http:// requests are not forwarded: set the application to CONNECT for them too, or to SOCKS5. "
        + Self.service
    case .methodNotAllowed: "Only CONNECT is allowed. \(Self.service)"
    }
  }
}
