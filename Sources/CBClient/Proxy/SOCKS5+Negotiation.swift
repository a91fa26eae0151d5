import Wire

extension SOCKS5 {
  /// Reads what a client says before its data: greeting, sub-negotiation and request, in any chunks.
  ///
  /// Holds at most one message (513 octets) beside the chunk at hand.
  struct Negotiation: Sendable {
    enum Step: Hashable {
      /// Send `reply`, which may be empty, and read on.
      case needsMore(reply: [UInt8])
      /// Send `reply`, carry the request out, then send ``SOCKS5/Reply/bytes(bound:)``. `remainder` is what
      /// the client sent ahead of the answer: the first of its data.
      case request(Request, reply: [UInt8], remainder: [UInt8])
      /// Send `reply`, which may be empty, and close.
      case refused(Refusal, reply: [UInt8])
    }

    enum Refusal: Hashable {
      /// A SOCKS4 client; its reply says so in its own protocol.
      case socks4
      /// The first octet belongs to no version of SOCKS.
      case notSOCKS(UInt8)
      /// The client offers no method that is accepted here.
      case noAcceptableMethod
      case wrongCredentials
      case commandNotSupported(UInt8)
      case addressTypeNotSupported
      case invalidName
      case malformed
    }

    private enum State {
      case greeting
      case credentials
      case request
      case over
    }

    private let credentials: Credentials?
    private var state = State.greeting
    private var buffer: [UInt8] = []

    /// - Parameter credentials: what a client must present; nil lets every client in without.
    init(credentials: Credentials? = nil) { self.credentials = credentials }

    /// Takes in a chunk. After a request or refusal every further chunk is refused as malformed.
    mutating func receive(_ bytes: UnsafeRawBufferPointer) -> Step {
      buffer.append(contentsOf: bytes)
      var reply: [UInt8] = []
      while true {
        let step: Step?
        switch state {
        case .greeting: step = takeGreeting(&reply)
        case .credentials: step = takeCredentials(&reply)
        case .request: step = takeRequest(reply)
        case .over: step = .refused(.malformed, reply: [])
        }
        guard let step else { continue }
        switch step {
        case .needsMore: return step
        case .request, .refused:
          state = .over
          buffer = []
          return step
        }
      }
    }

    mutating func receive(_ bytes: [UInt8]) -> Step { bytes.withUnsafeBytes { receive($0) } }

    /// VER, NMETHODS, METHODS (RFC 1928 §3). Nil to go on with what the buffer holds.
    private mutating func takeGreeting(_ reply: inout [UInt8]) -> Step? {
      guard let first = buffer.first else { return .needsMore(reply: reply) }
      guard first == SOCKS5.version else {
        // A SOCKS4 reply: version 0, code 91 for rejected, and six octets that are ignored.
        return first == 4
          ? .refused(.socks4, reply: [0, 91, 0, 0, 0, 0, 0, 0]) : .refused(.notSOCKS(first), reply: [])
      }
      guard buffer.count >= 2, buffer.count >= 2 + Int(buffer[1]) else { return .needsMore(reply: reply) }
      let methods = buffer[2..<2 + Int(buffer[1])]
      let accepted: UInt8 = credentials == nil ? 0 : 2
      guard methods.contains(accepted) else {
        return .refused(.noAcceptableMethod, reply: reply + [SOCKS5.version, 0xff])
      }
      reply += [SOCKS5.version, accepted]
      buffer.removeFirst(2 + methods.count)
      state = credentials == nil ? .request : .credentials
      return nil
    }

    /// VER, ULEN, UNAME, PLEN, PASSWD (RFC 1929 §2).
    private mutating func takeCredentials(_ reply: inout [UInt8]) -> Step? {
      guard let version = buffer.first else { return .needsMore(reply: reply) }
      guard version == 1 else { return .refused(.malformed, reply: reply) }
      guard buffer.count >= 2 else { return .needsMore(reply: reply) }
      let usernameEnd = 2 + Int(buffer[1])
      guard buffer.count > usernameEnd else { return .needsMore(reply: reply) }
      let passwordEnd = usernameEnd + 1 + Int(buffer[usernameEnd])
      guard buffer.count >= passwordEnd else { return .needsMore(reply: reply) }
      let isRight =
        credentials?.matches(
          username: buffer[2..<usernameEnd], password: buffer[usernameEnd + 1..<passwordEnd]) ?? false
      // The password does not stay behind in memory that is only given back.
      for index in buffer.indices.prefix(passwordEnd) { buffer[index] = 0 }
      guard isRight else { return .refused(.wrongCredentials, reply: reply + [1, 1]) }
      reply += [1, 0]
      buffer.removeFirst(passwordEnd)
      state = .request
      return nil
    }

    /// VER, CMD, RSV, ATYP, DST.ADDR, DST.PORT (RFC 1928 §4).
    private mutating func takeRequest(_ reply: [UInt8]) -> Step? {
      guard let version = buffer.first else { return .needsMore(reply: reply) }
      guard version == SOCKS5.version else {
        return .refused(.malformed, reply: reply + Reply.generalFailure.bytes())
      }
      guard buffer.count >= 4 else { return .needsMore(reply: reply) }
      let parsed = buffer.withUnsafeBytes {
        SOCKS5.parseAddress(UnsafeRawBufferPointer(rebasing: $0[3...]))
      }
      switch parsed {
      case .needsMore: return .needsMore(reply: reply)
      case .unsupportedType:
        return .refused(.addressTypeNotSupported, reply: reply + Reply.addressTypeNotSupported.bytes())
      case .invalidName: return .refused(.invalidName, reply: reply + Reply.generalFailure.bytes())
      case .address(let destination, let length):
        guard let command = Command(rawValue: buffer[1]), command != .bind else {
          return .refused(.commandNotSupported(buffer[1]), reply: reply + Reply.commandNotSupported.bytes())
        }
        // Port 0 is no port to connect to; for UDP ASSOCIATE it says that the port is not known yet.
        guard command == .udpAssociate || destination.port != 0 else {
          return .refused(.malformed, reply: reply + Reply.generalFailure.bytes())
        }
        return .request(
          Request(command: command, destination: destination), reply: reply,
          remainder: Array(buffer.dropFirst(3 + length)))
      }
    }
  }
}

extension SOCKS5.Negotiation.Refusal: CustomStringConvertible {
  var description: String {
    switch self {
    case .socks4: "the client speaks SOCKS4; only SOCKS5 is served"
    case .notSOCKS(let octet): "the client does not speak SOCKS (it began with octet \(octet))"
    case .noAcceptableMethod: "the client offers no acceptable authentication method"
    case .wrongCredentials: "wrong username or password"
    case .commandNotSupported(let command): "command \(command) is not supported"
    case .addressTypeNotSupported: "unknown address type"
    case .invalidName: "invalid host name"
    case .malformed: "malformed request"
    }
  }
}
