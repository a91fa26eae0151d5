import QUIC
import QUICTLS

/// One TLS handshake message (RFC 8446 §4), to be looked into and changed on its way. QUIC's packets protect it, so that
/// TLS itself shows it in the clear.
struct HandshakeMessage {
  static let clientHello: UInt8 = 1
  static let serverHello: UInt8 = 2
  static let newSessionTicket: UInt8 = 4
  static let encryptedExtensions: UInt8 = 8
  static let certificateRequest: UInt8 = 13
  static let keyUpdate: UInt8 = 24

  var type: UInt8
  var body: [UInt8]

  var encoded: [UInt8] {
    [type, UInt8(body.count >> 16), UInt8(body.count >> 8 & 0xff), UInt8(body.count & 0xff)] + body
  }

  /// All the messages of a flight.
  static func split(_ flight: [UInt8]) -> [HandshakeMessage] {
    var messages: [HandshakeMessage] = []
    var rest = flight[...]
    while rest.count >= 4 {
      let header = [UInt8](rest.prefix(4))
      let length = Int(header[1]) << 16 | Int(header[2]) << 8 | Int(header[3])
      messages.append(HandshakeMessage(type: header[0], body: [UInt8](rest.dropFirst(4).prefix(length))))
      rest = rest.dropFirst(4 + length)
    }
    return messages
  }

  // MARK: Extensions

  struct Extension: Equatable {
    static let alpn = 16
    static let earlyData = 42
    static let supportedVersions = 43
    static let transportParameters = 57

    var type: Int
    var content: [UInt8]
  }

  /// Where the list of extensions begins: behind everything else that the message has.
  private var extensionsOffset: Int {
    func number(_ at: Int, _ size: Int) -> Int { body[at..<at + size].reduce(0) { $0 << 8 | Int($1) } }
    switch type {
    case Self.encryptedExtensions: return 0
    case Self.newSessionTicket:
      // Lifetime and age, nonce, ticket (RFC 8446 §4.6.1).
      let ticket = 8 + 1 + number(8, 1)
      return ticket + 2 + number(ticket, 2)
    default:
      // Version and random, session ID, then cipher suites and compression methods, or one of each.
      let suites = 34 + 1 + number(34, 1)
      guard type == Self.clientHello else { return suites + 3 }
      let methods = suites + 2 + number(suites, 2)
      return methods + 1 + number(methods, 1)
    }
  }

  var extensions: [Extension] {
    get {
      var found: [Extension] = []
      var rest = body[(extensionsOffset + 2)...]
      while rest.count >= 4 {
        let header = [UInt8](rest.prefix(4)).map { Int($0) }
        let length = header[2] << 8 | header[3]
        found.append(
          Extension(type: header[0] << 8 | header[1], content: [UInt8](rest.dropFirst(4).prefix(length))))
        rest = rest.dropFirst(4 + length)
      }
      return found
    }
    set {
      let list = newValue.flatMap { item in
        [item.type >> 8, item.type & 0xff, item.content.count >> 8, item.content.count & 0xff].map { UInt8($0) }
          + item.content
      }
      body = body[..<extensionsOffset] + [UInt8(list.count >> 8), UInt8(list.count & 0xff)] + list
    }
  }
}

extension TLSHandshake {
  /// Gives the session a peer's bytes.
  func take(_ bytes: [UInt8], at level: EncryptionLevel) throws(TransportError) {
    let result = bytes.withUnsafeBytes { bytes in
      Result { () throws(TransportError) in try receive(bytes, at: level) }
    }
    try result.get()
    try advance()
    // A server stops once when it has seen the client's parameters.
    try advance()
  }

  /// What the session has to say, by level.
  func said() -> [EncryptionLevel: [UInt8]] {
    var flights: [EncryptionLevel: [UInt8]] = [:]
    while let output = nextOutput() {
      if case .handshakeData(let level, let bytes) = output { flights[level, default: []] += bytes }
    }
    return flights
  }
}
