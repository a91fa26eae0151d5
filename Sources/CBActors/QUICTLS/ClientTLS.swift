internal import CNIOBoringSSL
public import PacketCrypto
public import QUIC
internal import Wire

/// What all TLS sessions of a client have in common, with the tickets of its servers. Built once, used from any thread.
public final class ClientTLSContext: Sendable {
  let context: TLSContext
  private let verifier: PeerVerifier
  let tickets = SessionTickets()

  /// - Parameters:
  ///   - applicationProtocols: ALPN names, the preferred one first; at least one.
  ///   - identity: shown to a server that asks for a certificate.
  ///   - offersEarlyData: offers 0-RTT with a ticket that allows it.
  ///   - cipherSuites: those offered, the preferred one first. With all of them, in order, hardware decides what is best.
  ///   - keyLogFile: appends every connection's secrets to this file; for debugging only.
  public init(
    trust: TrustPolicy, applicationProtocols: [String], identity: TLSIdentity? = nil, offersEarlyData: Bool = false,
    cipherSuites: [CipherSuite] = CipherSuite.allCases, keyLogFile: String? = nil
  ) throws(TLSConfigurationError) {
    let context = try TLSContext(cipherSuites: cipherSuites, keyLogFile: keyLogFile)
    self.context = context
    verifier = try PeerVerifier(trust, for: context.handle)
    let protocols = try TLSContext.wireForm(applicationProtocols)
    guard SSL_CTX_set_alpn_protos(context.handle, protocols, protocols.count) == 0 else {
      throw TLSConfigurationError(library: "application protocols refused")
    }
    try identity?.install(in: context.handle)
    SSL_CTX_set_verify(context.handle, SSL_VERIFY_PEER, nil)
    SSL_CTX_set_early_data_enabled(context.handle, offersEarlyData ? 1 : 0)
    SSL_CTX_set_session_cache_mode(context.handle, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL)
    SSL_CTX_sess_set_new_cb(context.handle) { ssl, ticket in
      guard let ticket, let session = TLSHandshake.of(ssl) as? TLSClientSession else { return 0 }
      session.client.tickets.store(
        ticket, version: session.version, parameters: session.peerTransportParameters ?? [], for: session.serverName)
      // One: the reference is ours now.
      return 1
    }
  }

  /// Leaves the post-quantum key exchange out, to measure what it costs. Before the first session.
  package func offerOnlyX25519() {
    let groups = [UInt16(SSL_GROUP_X25519)]
    SSL_CTX_set1_group_ids(context.handle, groups, groups.count)
  }

  /// A session for one connection.
  ///
  /// - Parameter serverName: a DNS name, which is sent in the clear (SNI), or an IP address, which is not; the server's
  ///   certificate must be for it.
  public func makeSession(serverName: String) throws(TLSConfigurationError) -> TLSClientSession {
    try TLSClientSession(self, serverName: serverName)
  }
}

/// The client's side of one handshake.
public final class TLSClientSession: TLSHandshake {
  let client: ClientTLSContext
  /// Without brackets and without a final dot.
  public let serverName: String

  override var expectedName: String? { serverName }
  override public var rememberedTransportParameters: [UInt8]? { remembered?.parameters }
  /// What ``rememberApplicationState(_:)`` was told in an earlier connection to this server; nil without a ticket.
  public var rememberedApplicationState: [UInt8]? { remembered?.applicationState }
  private var remembered: SessionTickets.Remembered?

  override public var resumedVersion: Version? { remembered?.version }
  override public var version: Version {
    didSet {
      guard !hasBegun else { return }
      hasBegun = true
      // RFC 9369 §5: "Clients MUST NOT use a session ticket or token from a QUIC version 1 connection to initiate a QUIC
      // version 2 connection, and vice versa."
      if let remembered, remembered.version != version {
        SSL_set_session(ssl, nil)
        self.remembered = nil
      }
    }
  }
  private var hasBegun = false
  /// The ticket that is offered, until a server answers: a reference that is ours.
  private var offered: SessionTickets.Ticket?

  init(_ client: ClientTLSContext, serverName: String) throws(TLSConfigurationError) {
    var name = Substring(serverName)
    if name.hasPrefix("["), name.hasSuffix("]") { name = name.dropFirst().dropLast() }
    if name.hasSuffix(".") { name = name.dropLast() }
    self.client = client
    self.serverName = String(name)
    let ticket = client.tickets.take(for: self.serverName)
    remembered = ticket?.remembered
    super.init(client.context)
    SSL_set_connect_state(ssl)
    offered = ticket
    if let ticket { SSL_set_session(ssl, ticket.session) }
    try expect(self.serverName)
  }

  deinit { spendTicket() }

  override public func receive(_ bytes: UnsafeRawBufferPointer, at level: EncryptionLevel) throws(TransportError) {
    spendTicket()
    try super.receive(bytes, at: level)
  }

  private func spendTicket() {
    if let offered { SSL_SESSION_free(offered.session) }
    offered = nil
  }

  /// The attempt is over. Where no server answered, the next one may offer the same ticket.
  public func giveBackTicket() {
    if let offered { client.tickets.giveBack(offered, for: serverName) }
    offered = nil
  }

  /// Keeps what the application protocol must know to use 0-RTT with this server the next time, such as SETTINGS
  /// (RFC 9114 §7.2.4.2).
  public func rememberApplicationState(_ state: [UInt8]) {
    client.tickets.remember(state, for: serverName)
  }

  private func expect(_ name: String) throws(TLSConfigurationError) {
    let parameters = SSL_get0_param(ssl)
    X509_VERIFY_PARAM_set_flags(parameters, UInt(X509_V_FLAG_PARTIAL_CHAIN))
    if let address = IPAddress(name) {
      let bytes = address.networkBytes
      guard X509_VERIFY_PARAM_set1_ip(parameters, bytes, bytes.count) == 1 else {
        throw TLSConfigurationError(library: "server address \(name) refused")
      }
    } else {
      X509_VERIFY_PARAM_set_hostflags(parameters, UInt32(X509_CHECK_FLAG_NEVER_CHECK_SUBJECT))
      // A NUL inside a name would end it early for one of the two and not for the other.
      guard !name.isEmpty, !name.utf8.contains(0), SSL_set_tlsext_host_name(ssl, name) == 1,
        X509_VERIFY_PARAM_set1_host(parameters, name, name.utf8.count) == 1
      else { throw TLSConfigurationError(library: "server name \"\(name)\" refused") }
    }
  }
}
