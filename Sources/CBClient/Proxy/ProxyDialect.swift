/// How an application asks a local proxy for what it wants: SOCKS5 or HTTP.
protocol ProxyDialect: Sendable {
  /// Takes in a chunk of what the application says before its data.
  mutating func receive(_ bytes: UnsafeRawBufferPointer) -> ProxyStep
  /// What to say when the tunnel stands.
  func established() -> [UInt8]
  /// What to say, before closing, when it could not be opened.
  func failure(_ error: ClientError) -> [UInt8]
}

/// What a local proxy is to do next. `reply`, which may be empty, is sent first.
enum ProxyStep {
  case readOn(reply: [UInt8])
  /// `remainder` is what the application sent ahead of the answer: the first of its data.
  case connect(ProxyDestination, reply: [UInt8], remainder: [UInt8])
  case associate(reply: [UInt8])
  case close(reply: [UInt8])
}

extension SOCKS5.Negotiation: ProxyDialect {
  mutating func receive(_ bytes: UnsafeRawBufferPointer) -> ProxyStep {
    let step: Step = receive(bytes)
    switch step {
    case .needsMore(let reply): return .readOn(reply: reply)
    case .refused(_, let reply): return .close(reply: reply)
    case .request(let request, let reply, let remainder):
      return switch request.command {
      case .connect: .connect(request.destination, reply: reply, remainder: remainder)
      case .udpAssociate: .associate(reply: reply)
      case .bind: .close(reply: reply)
      }
    }
  }

  func established() -> [UInt8] { SOCKS5.Reply.succeeded.bytes() }

  func failure(_ error: ClientError) -> [UInt8] {
    let reply: SOCKS5.Reply =
      switch error.kind {
      case .refused: .notAllowed
      case .connectionLost: .networkUnreachable
      case .failure where error.message.contains("refused"): .connectionRefused
      case .failure: .hostUnreachable
      default: .generalFailure
      }
    return reply.bytes()
  }
}

extension HTTPConnectRequest: ProxyDialect {
  mutating func receive(_ bytes: UnsafeRawBufferPointer) -> ProxyStep {
    let step: Step = receive(bytes)
    return switch step {
    case .needsMore: .readOn(reply: [])
    case .refused(_, let response): .close(reply: response)
    case .connect(let destination, let remainder): .connect(destination, reply: [], remainder: remainder)
    }
  }

  func established() -> [UInt8] { Self.established }

  func failure(_ error: ClientError) -> [UInt8] {
    let status: Status =
      switch error.kind {
      case .refused: .forbidden
      case .connectionLost: .gatewayTimeout
      case .notSignedIn, .noPoPReachable: .serviceUnavailable
      default: .badGateway
      }
    return Self.response(status, error.description)
  }
}
