public import PacketCrypto
public import Wire

/// Sorts the datagrams of one UDP socket, or of one shard of it, to the connections that they belong to
/// (RFC 9000 §5.2), and answers those that belong to none: with Version Negotiation, Retry, or a stateless reset.
///
/// Sans-IO, like ``Connection``: `Handle` is whatever the owner finds its connections by.
public struct Endpoint<Handle> {
  /// What an endpoint accepts and how it answers.
  public struct Configuration: Sendable {
    /// New connections are accepted.
    public var acceptsConnections: Bool
    /// The connection IDs issued here; the same as the connections'.
    public var connectionIDs = ConnectionIDFormat()
    /// The versions of QUIC spoken; the same as the connections' `versions`.
    public var versions = Version.supported
    public var retry = RetryPolicy.underLoad(halfOpen: 1_000)
    /// Beyond so many unfinished handshakes no connection is accepted, not even one with a token.
    public var maximumHalfOpen = 10_000
    /// How long a Retry token is good.
    public var retryTokenLifetime = Interval.seconds(10)
    /// Seals and judges tokens; the same as the connections' `addressTokens`. Nil takes no token but its own Retry's.
    public var addressTokens: AddressTokens?
    /// The key of stateless reset tokens; the same as the connections' `statelessResetKey`. Nil sends no resets.
    public var statelessResetKey: [UInt8]?
    /// Version Negotiation, Retry and reset packets sent per second, at most.
    public var repliesPerSecond: UInt64 = 1_000

    public init(acceptsConnections: Bool) { self.acceptsConnections = acceptsConnections }
  }

  /// When a client must show that it receives at its address before a connection is made (RFC 9000 §8.1.2).
  public enum RetryPolicy: Hashable, Sendable {
    case never, always
    /// Once so many handshakes are unfinished.
    case underLoad(halfOpen: Int)
  }

  /// Where a datagram goes.
  public enum Route {
    /// To an existing connection.
    case connection(Handle)
    /// To a connection to be made: the owner makes it, hands it the datagram, and adds its IDs as it issues them.
    case accept(InitialRequest)
    /// To the ring of this index, of those that share the address: the connection is there, or is to begin there.
    case ring(Int)
    /// Nowhere; the reply buffer holds so many bytes to send back to where it came from.
    case reply(byteCount: Int)
    case drop(DropReason)
  }

  public enum DropReason: Hashable, Sendable, CaseIterable {
    case malformed
    /// For a connection that is not here, and unfit to begin one.
    case unknownConnection
    /// An Initial packet in a datagram of less than 1200 bytes (RFC 9000 §14.1).
    case smallInitial
    /// A Destination Connection ID of less than 8 bytes in a first Initial packet (RFC 9000 §7.2).
    case shortConnectionID
    case unsupportedVersion
    /// The endpoint takes no connections, or no more of them.
    case refused
    /// An answer was due, and too many have been given in this second.
    case rateLimited
  }

  public let configuration: Configuration
  private let entropy: any EntropySource
  private let tokens: AddressTokens
  private let resetKey: StatelessResetKey?
  private var handles: [ConnectionID: Handle] = [:]
  private var peers: [SocketAddress: Handle] = [:]
  /// The ID that the last datagram was for: the next one's, more often than not.
  private var last: (id: ConnectionID, handle: Handle)?
  /// Handshakes begun and not finished, as the owner counts them.
  public var halfOpen = 0
  /// New connections are refused in so many words, so that clients go elsewhere at once: this service is ending.
  public var refusesConnections = false
  /// Datagrams dropped, by reason.
  public private(set) var drops: [DropReason: UInt64] = [:]
  /// Retry packets sent; an overloaded server's first sign.
  public private(set) var retriesSent: UInt64 = 0
  public private(set) var resetsSent: UInt64 = 0
  /// Clients whose NEW_TOKEN token spared them a proof of their address.
  public private(set) var tokensAccepted: UInt64 = 0
  /// Connections closed for a token of a Retry of ours that was not good (INVALID_TOKEN).
  public private(set) var tokensRefused: UInt64 = 0
  private var replySecond = Int64.min
  private var repliesInSecond: UInt64 = 0

  public init(_ configuration: Configuration, entropy: any EntropySource) {
    self.configuration = configuration
    self.entropy = entropy
    tokens = configuration.addressTokens ?? AddressTokens(entropy: entropy)
    resetKey = configuration.statelessResetKey.map { StatelessResetKey($0) }
  }

  /// Gives a peer's stateless resets, which carry no connection ID, to the connection that was made to its address
  /// (RFC 9000 §10.3.1). For a client; of several connections to one address the last one added gets them.
  public mutating func add(peer address: SocketAddress, _ handle: Handle) { peers[address] = handle }
  public mutating func removePeers(where isGone: (Handle) -> Bool) { peers = peers.filter { !isGone($0.value) } }

  /// Connection IDs routed.
  public var count: Int { handles.count }

  /// Routes an ID, from `.connectionIDIssued` on.
  public mutating func add(_ id: ConnectionID, _ handle: Handle) {
    handles[id] = handle
    last = nil
  }

  /// Stops routing an ID, at `.connectionIDRetired` or when its connection is drained.
  public mutating func remove(_ id: ConnectionID) {
    handles[id] = nil
    last = nil
  }

  public func handle(for id: ConnectionID) -> Handle? { handles[id] }

  /// Decides where one datagram goes.
  ///
  /// - Parameter reply: at least 1200 bytes, filled for ``Route/reply(byteCount:)``.
  public mutating func route(
    _ datagram: UnsafeRawBufferPointer, from path: Path, now: Instant, reply: UnsafeMutableRawBufferPointer
  ) -> Route {
    guard let header = InvariantHeader(datagram, shortIDLength: configuration.connectionIDs.length) else {
      return drop(.malformed)
    }
    if let id = ConnectionID(header.destinationID) {
      if let last, last.id == id { return .connection(last.handle) }
      if let handle = handles[id] {
        last = (id, handle)
        return .connection(handle)
      }
    }
    if header.version == nil, let handle = peers[path.remote] { return .connection(handle) }
    if let ring = configuration.connectionIDs.ring {
      let owner = ring.owner(of: header.destinationID)
      // Where the kernel steers, this is the rare datagram that it joined to a train of another connection's.
      if owner != ring.index { return .ring(owner) }
    }
    guard let version = header.version else { return resetIfKnown(datagram, header, now: now, reply: reply) }
    guard configuration.acceptsConnections else { return drop(.unknownConnection) }
    guard configuration.versions.contains(version) else {
      return negotiate(datagram, header, version, now: now, reply: reply)
    }
    return begin(datagram, path, now: now, reply: reply)
  }

  private mutating func drop(_ reason: DropReason) -> Route {
    drops[reason, default: 0] += 1
    return .drop(reason)
  }

  /// Answers are bounded, since anyone can provoke them from any address.
  private mutating func mayReply(_ now: Instant) -> Bool {
    let second = now.nanoseconds / 1_000_000_000
    if second != replySecond {
      replySecond = second
      repliesInSecond = 0
    }
    guard repliesInSecond < configuration.repliesPerSecond else { return false }
    repliesInSecond += 1
    return true
  }

  /// RFC 9000 §10.3: a packet for a connection that was lost here is answered so that its peer gives up too.
  private mutating func resetIfKnown(
    _ datagram: UnsafeRawBufferPointer, _ header: InvariantHeader, now: Instant, reply: UnsafeMutableRawBufferPointer
  ) -> Route {
    guard let resetKey, let id = ConnectionID(header.destinationID),
      let length = StatelessReset.length(answering: datagram.count)
    else { return drop(.unknownConnection) }
    guard mayReply(now) else { return drop(.rateLimited) }
    var writer = ByteWriter(reply)
    StatelessReset.write(to: &writer, token: resetKey.token(for: id), length: length, entropy: entropy)
    guard !writer.overflowed else { return drop(.unknownConnection) }
    resetsSent += 1
    return .reply(byteCount: writer.count)
  }

  private mutating func negotiate(
    _ datagram: UnsafeRawBufferPointer, _ header: InvariantHeader, _ version: Version, now: Instant,
    reply: UnsafeMutableRawBufferPointer
  ) -> Route {
    // RFC 9000 §6: "A server might not send a Version Negotiation packet if the datagram it receives is smaller than
    // the minimum size specified in a different version". RFC 8999 §6 forbids to answer one with another.
    guard version != .negotiation, datagram.count >= MTUDiscovery.base else { return drop(.unsupportedVersion) }
    guard mayReply(now) else { return drop(.rateLimited) }
    var writer = ByteWriter(reply)
    VersionNegotiation.write(to: &writer, answering: header, versions: configuration.versions, entropy: entropy)
    return writer.overflowed ? drop(.unsupportedVersion) : .reply(byteCount: writer.count)
  }

  /// A packet that may begin a connection (RFC 9000 §5.2.2).
  private mutating func begin(
    _ datagram: UnsafeRawBufferPointer, _ path: Path, now: Instant, reply: UnsafeMutableRawBufferPointer
  ) -> Route {
    let header: PacketHeader
    do throws(PacketHeaderError) {
      header = try PacketHeader(datagram, shortIDLength: configuration.connectionIDs.length)
    } catch { return drop(.malformed) }
    guard header.type == .initial else { return drop(.unknownConnection) }
    guard datagram.count >= MTUDiscovery.base else { return drop(.smallInitial) }
    if refusesConnections {
      return refuse(header, TransportError(.connectionRefused, "this server is going away"), now: now, reply: reply)
    }
    guard halfOpen < configuration.maximumHalfOpen else { return drop(.refused) }
    var request = InitialRequest(
      destinationID: header.destinationID, sourceID: header.sourceID, version: header.version)
    switch verdict(header, path, now) {
    case .retry(let originalDestinationID, let retrySourceID):
      request.originalDestinationID = originalDestinationID
      request.retrySourceID = retrySourceID
      request.isAddressValidated = true
      return .accept(request)
    case .invalidRetry:
      tokensRefused += 1
      // RFC 9000 §8.1.2: the client will accept no other Retry: "Instead, the server SHOULD immediately close" "the
      // connection with an INVALID_TOKEN error."
      let error = TransportError(.invalidToken, "the token of the Retry is no longer good")
      return refuse(header, error, now: now, reply: reply)
    case .newToken: request.isAddressValidated = true
    // RFC 9000 §8.1.3: "If the token is invalid, then the server SHOULD proceed as if the client did not have a validated
    // address, including potentially sending a Retry packet."
    case .none: break
    }
    // RFC 9000 §7.2: "This Destination Connection ID MUST be at least 8 bytes in length."
    guard header.destinationID.length >= 8 else { return drop(.shortConnectionID) }
    if request.isAddressValidated { tokensAccepted += 1 }
    guard mustRetry, !request.isAddressValidated else { return .accept(request) }
    return sendRetry(header, path, now: now, reply: reply)
  }

  /// RFC 9000 §8.1.3: "When a server receives an Initial packet with an address validation token, it MUST attempt to
  /// validate the token".
  private func verdict(_ header: PacketHeader, _ path: Path, _ now: Instant) -> AddressTokens.Verdict {
    if header.token.isEmpty { return .none }
    return tokens.judge(
      header.token, from: path.remote, destinationID: header.destinationID, version: header.version,
      retryLifetime: configuration.retryTokenLifetime, now: now)
  }

  /// Answers a client's first packet with CONNECTION_CLOSE, and keeps nothing (RFC 9000 §5.2.2).
  private mutating func refuse(
    _ header: PacketHeader, _ error: TransportError, now: Instant, reply: UnsafeMutableRawBufferPointer
  ) -> Route {
    guard mayReply(now) else { return drop(.rateLimited) }
    let secrets = header.destinationID.withUnsafeBytes {
      InitialSecrets(version: header.version, destinationConnectionID: $0)
    }
    let keys = ProtectionKeys(suite: InitialSecrets.suite, secret: secrets.server, version: header.version)
    var writer = ByteWriter(reply)
    let start = writer.beginLongPacket(
      .initial, version: header.version, destinationID: header.sourceID, sourceID: header.destinationID,
      packetNumber: 0, packetNumberLength: 1)
    writer.writeConnectionClose(error)
    guard let count = writer.finishPacket(start, key: keys.packet, headerProtection: keys.header) else {
      return drop(.malformed)
    }
    return .reply(byteCount: count)
  }

  private var mustRetry: Bool {
    switch configuration.retry {
    case .never: false
    case .always: true
    case .underLoad(let threshold): halfOpen >= threshold
    }
  }

  private mutating func sendRetry(
    _ header: PacketHeader, _ path: Path, now: Instant, reply: UnsafeMutableRawBufferPointer
  ) -> Route {
    guard mayReply(now) else { return drop(.rateLimited) }
    let id = configuration.connectionIDs.next(entropy)
    let token = tokens.sealRetry(
      to: path.remote, originalDestinationID: header.destinationID, retrySourceID: id, version: header.version,
      now: now, entropy: entropy)
    var writer = ByteWriter(reply)
    token.withUnsafeBytes {
      Retry.write(
        to: &writer, version: header.version, destinationID: header.sourceID, sourceID: id,
        originalDestinationID: header.destinationID,
        token: $0, entropy: entropy)
    }
    guard !writer.overflowed else { return drop(.malformed) }
    retriesSent += 1
    return .reply(byteCount: writer.count)
  }
}
