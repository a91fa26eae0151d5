import PacketCrypto
import Wire

/// Driving TLS, installing and discarding keys, and agreeing on transport parameters
/// (RFC 9000 §7, RFC 9001 §4).
extension Connection {
  mutating func start() {
    tls.version = version
    if role == .server { offeredAddress = offerPreferredAddress() }
    tls.setTransportParameters(ourTransportParameters().encoded())
    guard role == .client else { return }
    installInitialKeys()
    attempt { connection throws(TransportError) in try connection.advanceHandshake() }
  }

  func ourTransportParameters() -> TransportParameters {
    var parameters = TransportParameters()
    parameters.maxIdleTimeout = UInt64(max(0, configuration.maxIdleTimeout.milliseconds))
    parameters.maxUDPPayloadSize = min(max(configuration.maxUDPPayloadSize, 1200), 65_527)
    parameters.initialMaxData = configuration.initialMaxData
    parameters.initialMaxStreamDataBidiLocal = configuration.initialMaxStreamDataBidiLocal
    parameters.initialMaxStreamDataBidiRemote = configuration.initialMaxStreamDataBidiRemote
    parameters.initialMaxStreamDataUni = configuration.initialMaxStreamDataUni
    parameters.initialMaxStreamsBidi = streams.settings.maxStreamsBidi
    parameters.initialMaxStreamsUni = streams.settings.maxStreamsUni
    parameters.maxAckDelay = UInt64(min(max(0, configuration.ackDelay.milliseconds), 16_383))
    parameters.disableActiveMigration = configuration.disableActiveMigration
    parameters.activeConnectionIDLimit = Self.activeConnectionIDLimit(configuration)
    parameters.maxDatagramFrameSize = configuration.maxDatagramFrameSize
    parameters.minAckDelay = configuration.minAckDelay.map {
      min(UInt64(max(0, $0.microseconds)), parameters.maxAckDelay * 1_000)
    }
    parameters.versionInformation = ourVersionInformation()
    parameters.greaseQUICBit = configuration.greases
    parameters.reservedSeed = configuration.greases ? greaseSeed : nil
    // RFC 9000 §7.3: "Each endpoint includes the value of the Source Connection ID field from the first Initial packet
    // it sent in the initial_source_connection_id transport parameter"
    parameters.initialSourceConnectionID = localIDs.first
    if role == .server {
      parameters.originalDestinationConnectionID = originalDestinationID
      parameters.retrySourceConnectionID = retrySourceID
      parameters.preferredAddress = offeredAddress
      parameters.statelessResetToken = localIDs.resetKey.token(for: localIDs.first)
    }
    return parameters
  }

  mutating func installInitialKeys() {
    let keys = initialKeys(version)
    spaces[0].readKeys = keys.read
    spaces[0].writeKeys = keys.write
  }

  /// RFC 9001 §5.2: from the Destination Connection ID of the client's first Initial packet, or of the first after a Retry.
  mutating func initialKeys(_ version: Version) -> (read: ProtectionKeys, write: ProtectionKeys) {
    let destination = routedInitialID ?? retrySourceID ?? originalDestinationID
    let secrets = destination.withUnsafeBytes { InitialSecrets(version: version, destinationConnectionID: $0) }
    let (read, write) = role == .client ? (secrets.server, secrets.client) : (secrets.client, secrets.server)
    return (
      ProtectionKeys(suite: InitialSecrets.suite, secret: read, version: version),
      ProtectionKeys(suite: InitialSecrets.suite, secret: write, version: version)
    )
  }

  /// Hands TLS what has come in order, and takes what it yields, until neither moves.
  mutating func advanceHandshake() throws(TransportError) {
    try feedTLS(.initial)
    try feedTLS(.handshake)
    try feedTLS(.oneRTT)
    try tls.advance()
    if role == .server, peerTransportParameters == nil, let encoded = tls.peerTransportParameters {
      try chooseVersion(encoded)
      try tls.advance()
    }
    try takeTLSOutput()
    if peerTransportParameters == nil, let encoded = tls.peerTransportParameters {
      try applyPeerParameters(encoded)
      // RFC 9001 §5.7: a server has its 1-RTT keys and knows the client's limits: it may send.
      if role == .server, oneRTT != nil { events.append(.earlyDataReady) }
    }
    if tls.isComplete, !isHandshakeComplete { try completeHandshake() }
  }

  private mutating func feedTLS(_ level: EncryptionLevel) throws(TransportError) {
    let index = Int(level.packetNumberSpace.rawValue)
    while spaces[index].cryptoReceive.isReadable {
      let bytes = spaces[index].cryptoReceive.readable
      try tls.receive(bytes, at: level)
      spaces[index].cryptoReceive.consume(bytes.count)
    }
  }

  private mutating func takeTLSOutput() throws(TransportError) {
    while let output = tls.nextOutput() {
      switch output {
      case .handshakeData(let level, let bytes):
        bytes.withUnsafeBytes { spaces[Int(level.packetNumberSpace.rawValue)].cryptoSend.append($0) }
      case .secret(let level, let direction, let suite, let secret):
        if direction == .read { try receiveFrom(level) }
        install(level, direction, suite, secret)
      }
    }
  }

  /// TLS reads its next messages at another level.
  private mutating func receiveFrom(_ level: EncryptionLevel) throws(TransportError) {
    guard level != .zeroRTT, level > receivingLevel else { return }
    // RFC 9001 §4.1.3: "When TLS provides keys for a higher encryption level, if there is data from a previous encryption
    // level that TLS has not consumed, this MUST be treated as a connection error of type PROTOCOL_VIOLATION."
    guard spaces[Int(receivingLevel.packetNumberSpace.rawValue)].cryptoReceive.isEmpty else {
      throw TransportError(
        .protocolViolation, "handshake data left over at the \(receivingLevel) level", frameType: FrameType.crypto)
    }
    receivingLevel = level
  }

  private mutating func install(
    _ level: EncryptionLevel, _ direction: TLSOutput.Direction, _ suite: CipherSuite, _ secret: TrafficSecret
  ) {
    switch level {
    // Initial keys come from the connection ID.
    case .initial: break
    case .zeroRTT: installEarlyKeys(direction, suite, secret)
    case .handshake:
      guard !spaces[1].isDiscarded else { return }
      isVersionSettled = true
      let keys = ProtectionKeys(suite: suite, secret: secret, version: version)
      if direction == .read { spaces[1].readKeys = keys } else { spaces[1].writeKeys = keys }
      if direction == .write { recovery.hasHandshakeKeys = true }
    case .oneRTT:
      if direction == .write {
        oneRTT = OneRTTKeys(
          suite: suite, version: version, limits: AEADLimits(suite, configuration), write: secret)
        if let read = earlierReadSecret { oneRTT!.installRead(read) }
        earlierReadSecret = nil
      } else if let oneRTT {
        oneRTT.installRead(secret)
      } else {
        earlierReadSecret = secret
      }
    }
  }

  private mutating func applyPeerParameters(_ encoded: [UInt8]) throws(TransportError) {
    let parameters = try TransportParameters(encoded, from: role.peer)
    try authenticateConnectionIDs(parameters)
    try checkVersion(parameters.versionInformation)
    if configuration.minAckDelay != nil, let least = parameters.minAckDelay {
      ackRequests = AckRequests(
        least: .microseconds(Int64(clamping: least)), most: .milliseconds(Int64(parameters.maxAckDelay)))
    }
    clearsFixedBit = parameters.greaseQUICBit && configuration.greases
    peerTransportParameters = parameters
    try checkEarlyData(against: parameters)
    streams.setPeerLimits(parameters, events: &events)
    recovery.peerMaxAckDelay = .milliseconds(Int64(parameters.maxAckDelay))
    mtu.limit(to: parameters.maxUDPPayloadSize)
    applyMTU()
    if let token = parameters.statelessResetToken { peerIDs.setFirstResetToken(token) }
    if let preferred = parameters.preferredAddress { try takePreferredAddress(preferred) }
    // RFC 9000 §10.1: "Each endpoint advertises a max_idle_timeout, but the effective value at an endpoint is computed
    // as the minimum of the two advertised values (or the sole advertised value, if only one endpoint advertises a
    // non-zero value)."
    if parameters.maxIdleTimeout > 0 {
      let theirs = Interval.milliseconds(Int64(clamping: parameters.maxIdleTimeout))
      idleTimeout = min(idleTimeout ?? theirs, theirs)
    }
    restartIdleTimer()
  }

  /// RFC 9000 §7.3: what the peer's parameters say of connection IDs must be what the packets said.
  private func authenticateConnectionIDs(_ parameters: TransportParameters) throws(TransportError) {
    // RFC 9000 §7.3: "An endpoint MUST treat the following as a connection error of type TRANSPORT_PARAMETER_ERROR or
    // PROTOCOL_VIOLATION"
    guard let source = parameters.initialSourceConnectionID, source == peerInitialSourceID else {
      throw TransportError(.transportParameterError, "initial_source_connection_id is absent or wrong")
    }
    guard role == .client else { return }
    guard parameters.originalDestinationConnectionID == originalDestinationID else {
      throw TransportError(.transportParameterError, "original_destination_connection_id is absent or wrong")
    }
    guard parameters.retrySourceConnectionID == retrySourceID else {
      throw TransportError(.transportParameterError, "retry_source_connection_id is wrong")
    }
  }

  private mutating func completeHandshake() throws(TransportError) {
    guard peerTransportParameters != nil else {
      // RFC 9001 §8.2: "endpoints that receive ClientHello or EncryptedExtensions messages without the
      // quic_transport_parameters extension MUST close the connection with an error of type 0x016d"
      throw TransportError(.crypto(alert: 0x6d), "no transport parameters")
    }
    isHandshakeComplete = true
    retireEarlyKeys()
    events.append(.handshakeCompleted)
    issueConnectionIDs()
    if role == .server {
      // RFC 9001 §4.1.2: "the TLS handshake is considered confirmed at the server when the handshake completes. The
      // server MUST send a HANDSHAKE_DONE frame as soon as the handshake is complete."
      isHandshakeDoneDue = true
      isNewTokenDue = configuration.addressTokens != nil
      confirmHandshake()
    }
  }

  mutating func confirmHandshake() {
    guard !isHandshakeConfirmed else { return }
    isHandshakeConfirmed = true
    recovery.isHandshakeConfirmed = true
    // RFC 9001 §4.9.2: "An endpoint MUST discard its Handshake keys when the TLS handshake is confirmed".
    discard(.initial)
    discard(.handshake)
    mtu.start()
    if role == .client { probePreferredAddress() }
    if isOriginalIDRouted, let routedInitialID {
      isOriginalIDRouted = false
      events.append(.connectionIDRetired(routedInitialID))
    }
    events.append(.handshakeConfirmed)
    // Of ten thousand connections nearly all are idle: none keeps the room that its handshake took.
    events.shrinkOnceEmpty()
    recovery.releaseBuffers()
    packetFrames = []
  }

  mutating func discard(_ space: PacketNumberSpace) {
    let index = Int(space.rawValue)
    guard !spaces[index].isDiscarded else { return }
    spaces[index].discard()
    if space == .initial { originalInitialKeys = nil }
    recovery.discard(space, now: clock)
  }

  mutating func issueConnectionIDs() {
    guard let peerTransportParameters else { return }
    for id in localIDs.replenish(peerLimit: peerTransportParameters.activeConnectionIDLimit, entropy: entropy) {
      events.append(.connectionIDIssued(id))
    }
  }

  /// Runs something that the peer may have caused to fail; a failure closes the connection.
  mutating func attempt(_ body: (inout Connection) throws(TransportError) -> Void) {
    do throws(TransportError) { try body(&self) } catch { fail(error) }
  }
}
