internal import CNIOBoringSSL
public import PacketCrypto

/// Whether a server asks its clients for certificates.
public enum ClientAuthentication: Hashable, Sendable {
  case none
  /// A client may show none; one that is shown must satisfy the policy.
  case optional(TrustPolicy)
  case required(TrustPolicy)
}

/// What all TLS sessions of a server have in common. Built once, used from any thread.
public final class ServerTLSContext: Sendable {
  let context: TLSContext
  /// In preference order.
  private let protocols: [String]
  private let earlyDataContext: [UInt8]?
  private let service: [UInt8]
  let tickets: TicketKeys
  let replays: ReplayRegister?
  private let verifier: PeerVerifier?
  private let identity: TLSIdentity
  private let others: [TLSIdentity]

  /// - Parameters:
  ///   - identity: shown to clients that ask for no name, or for one that none of the others is for.
  ///   - others: shown to clients that ask for a name of theirs (RFC 6066 §3).
  ///   - applicationProtocols: ALPN names, the preferred one first; at least one.
  ///   - earlyDataContext: nil refuses 0-RTT. Otherwise what a ticket's 0-RTT depends on, such as the limits among the
  ///     transport parameters: 0-RTT is accepted only where it is the same again (RFC 9000 §7.4.1).
  ///   - tickets: seals the tickets given, and opens those offered. Nil: with a key that ends with this object, and does
  ///     not change until then.
  ///   - replays: lets each ticket's early data in only once; shared by all contexts with the same tickets.
  ///   - cipherSuites: those taken, the preferred one first. With all of them, in order, hardware decides what is best.
  ///   - keyLogFile: appends every connection's secrets to this file; for debugging only.
  public init(
    identity: TLSIdentity, others: [TLSIdentity] = [], applicationProtocols: [String],
    clientAuthentication: ClientAuthentication = .none,
    earlyDataContext: [UInt8]? = nil, tickets: TicketKeys? = nil, replays: ReplayRegister? = nil,
    cipherSuites: [CipherSuite] = CipherSuite.allCases, keyLogFile: String? = nil
  ) throws(TLSConfigurationError) {
    let context = try TLSContext(cipherSuites: cipherSuites, keyLogFile: keyLogFile)
    self.context = context
    protocols = applicationProtocols
    service = try TLSContext.wireForm(applicationProtocols)
    self.earlyDataContext = earlyDataContext
    let tickets = tickets ?? TicketKeys { 0 }
    self.tickets = tickets
    self.replays = replays
    self.identity = identity
    self.others = others
    try identity.install(in: context.handle)
    if !others.isEmpty {
      SSL_CTX_set_cert_cb(
        context.handle,
        { ssl, _ in (TLSHandshake.of(ssl) as? TLSServerSession)?.chooseIdentity() == true ? 1 : 0 }, nil)
    }
    switch clientAuthentication {
    case .none: verifier = nil
    case .optional(let policy):
      verifier = try PeerVerifier(policy, for: context.handle)
      SSL_CTX_set_verify(context.handle, SSL_VERIFY_PEER, nil)
    case .required(let policy):
      verifier = try PeerVerifier(policy, for: context.handle)
      SSL_CTX_set_verify(context.handle, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nil)
    }
    SSL_CTX_set_early_data_enabled(context.handle, earlyDataContext == nil ? 0 : 1)
    SSL_CTX_set_session_psk_dhe_timeout(context.handle, UInt32(tickets.lifetime))
    SSL_CTX_set_ticket_aead_method(context.handle, TicketMethod.table)
    SSL_CTX_set_select_certificate_cb(context.handle) { hello in
      guard let hello, let session = TLSHandshake.of(hello.pointee.ssl) as? TLSServerSession else {
        return ssl_select_cert_error
      }
      return session.note(hello) ? ssl_select_cert_retry : ssl_select_cert_success
    }
    SSL_CTX_set_alpn_select_cb(
      context.handle,
      { ssl, selected, selectedCount, offered, offeredCount, _ in
        let offers = UnsafeBufferPointer(start: offered, count: Int(offeredCount))
        guard let server = (TLSHandshake.of(ssl) as? TLSServerSession)?.server,
          let choice = server.selectProtocol(from: offers), let offered
        else {
          // RFC 9001 §8.1: "The server MUST treat the inability to select a compatible application protocol as a connection
          // error of type 0x0178 (no_application_protocol)."
          return SSL_TLSEXT_ERR_ALERT_FATAL
        }
        selected?.pointee = offered + choice.lowerBound
        selectedCount?.pointee = UInt8(choice.count)
        return SSL_TLSEXT_ERR_OK
      }, nil)
  }

  /// Where in a client's list (RFC 7301 §3.1) the protocol stands that this server prefers.
  private func selectProtocol(from offers: UnsafeBufferPointer<UInt8>) -> Range<Int>? {
    for wanted in protocols {
      var index = 0
      while index < offers.count {
        let name = index + 1..<index + 1 + Int(offers[index])
        guard name.upperBound <= offers.count else { break }
        if offers[name].elementsEqual(wanted.utf8) { return name }
        index = name.upperBound
      }
    }
    return nil
  }

  /// A session for one connection.
  public func makeSession() -> TLSServerSession { TLSServerSession(self) }

  /// What to show instead of the first identity to a client that asks for `name`.
  fileprivate func other(for name: String) -> TLSIdentity? {
    identity.bears(name) ? nil : others.first { $0.bears(name) }
  }

  /// Tickets are good for one service and one version of QUIC. RFC 9369 §5: "Servers MUST validate the originating version
  /// of any session ticket or token and not accept one issued from a different version."
  fileprivate func bindTickets(_ ssl: OpaquePointer, to version: Version) {
    let number = withUnsafeBytes(of: version.rawValue.bigEndian) { [UInt8]($0) }
    let context = number + service.prefix(Int(SSL_MAX_SID_CTX_LENGTH) - number.count)
    SSL_set_session_id_context(ssl, context, context.count)
    if let earlyDataContext {
      let context = earlyDataContext + tickets.issuer
      SSL_set_quic_early_data_context(ssl, context, context.count)
    }
  }
}

/// The server's side of one handshake.
public final class TLSServerSession: TLSHandshake {
  let server: ServerTLSContext

  init(_ server: ServerTLSContext) {
    self.server = server
    super.init(server.context)
    SSL_set_accept_state(ssl)
    server.bindTickets(ssl, to: version)
  }

  override public var version: Version {
    didSet { server.bindTickets(ssl, to: version) }
  }

  /// The client's parameters as they stand in its ClientHello, before it is answered.
  private var offeredParameters: [UInt8]?
  override public var peerTransportParameters: [UInt8]? { offeredParameters ?? super.peerTransportParameters }
  override public var isResumptionOffered: Bool { offersResumption }
  private var offersResumption = false
  private var offersEarlyData = false

  /// Looks at a ClientHello. True the first time that there are transport parameters in it: the handshake then waits.
  fileprivate func note(_ hello: UnsafePointer<SSL_CLIENT_HELLO>) -> Bool {
    offersResumption = Self.find(TLSEXT_TYPE_pre_shared_key, in: hello) != nil
    offersEarlyData = Self.find(TLSEXT_TYPE_early_data, in: hello) != nil
    guard offeredParameters == nil, let offered = Self.find(TLSEXT_TYPE_quic_transport_parameters, in: hello) else {
      return false
    }
    offeredParameters = [UInt8](offered)
    return true
  }

  private static func find(
    _ type: Int32, in hello: UnsafePointer<SSL_CLIENT_HELLO>
  ) -> UnsafeBufferPointer<UInt8>? {
    var start: UnsafePointer<UInt8>?
    var count = 0
    guard SSL_early_callback_ctx_extension_get(hello, UInt16(type), &start, &count) == 1 else { return nil }
    return UnsafeBufferPointer(start: start, count: count)
  }

  /// A ticket was opened, and BoringSSL has not decided about early data yet: only now is it known that the ticket is
  /// genuine. Without the register's leave the session takes no early data.
  func judgeEarlyData(by ticket: UnsafeRawBufferPointer) {
    guard offersEarlyData, let replays = server.replays else { return }
    if !replays.admit(ticket) { SSL_set_early_data_enabled(ssl, 0) }
  }

  /// The client's name is known, and nothing has been shown yet. False ends the handshake.
  fileprivate func chooseIdentity() -> Bool {
    guard let name = requestedServerName, let identity = server.other(for: name) else { return true }
    return identity.show(in: ssl)
  }

  /// The name that the client asked for (RFC 6066 §3); nil when it gave none.
  public var requestedServerName: String? {
    SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name).map { String(cString: $0) }
  }
}
