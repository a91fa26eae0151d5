import PacketCrypto
import Wire

/// 0-RTT: data before the handshake is complete (RFC 9001 §4.6, RFC 9000 §7.4.1).
///
/// A client that resumes uses the parameters that it remembers of the server, says `.earlyDataReady`, and sends 0-RTT
/// packets until the server's own parameters come. A server that accepts takes those packets and answers at once, with
/// 1-RTT packets of its own. Whoever uses early data must bear that it may be replayed (RFC 9001 §9.2).
extension Connection {
  /// What became of the early data that the client offered.
  public var earlyData: EarlyDataState { tls.earlyData }

  /// A client may send 0-RTT packets: it has the keys, and the server's parameters are still those remembered.
  ///
  /// RFC 9000 §7.4.1: "When sending frames in 0-RTT packets, a client MUST only use remembered transport parameters"
  var sendsEarlyData: Bool { role == .client && earlyKeys != nil && peerTransportParameters == nil }

  mutating func installEarlyKeys(_ direction: TLSOutput.Direction, _ suite: CipherSuite, _ secret: TrafficSecret) {
    guard role == .client else {
      // RFC 9001 §5.6: "A server MUST NOT use 0-RTT keys to protect packets"
      if direction == .read { earlyKeys = ProtectionKeys(suite: suite, secret: secret, version: originalVersion) }
      return
    }
    guard direction == .write, let encoded = tls.rememberedTransportParameters,
      var parameters = try? TransportParameters(encoded, from: .server)
    else { return }
    // RFC 9000 §7.4.1: "A client MUST NOT use remembered values for the following parameters"
    let absent = TransportParameters()
    parameters.ackDelayExponent = absent.ackDelayExponent
    parameters.maxAckDelay = absent.maxAckDelay
    // ack-frequency §3: "Endpoints MUST NOT remember the value of the min_ack_delay transport parameter"
    parameters.minAckDelay = nil
    parameters.initialSourceConnectionID = nil
    parameters.originalDestinationConnectionID = nil
    parameters.preferredAddress = nil
    parameters.retrySourceConnectionID = nil
    parameters.statelessResetToken = nil
    earlyKeys = ProtectionKeys(suite: suite, secret: secret, version: originalVersion)
    rememberedParameters = parameters
    streams.setPeerLimits(parameters, events: &events)
    applyMTU()
    events.append(.earlyDataReady)
  }

  /// What the server says now of the parameters that early data was sent by.
  mutating func checkEarlyData(against parameters: TransportParameters) throws(TransportError) {
    guard role == .client, let remembered = rememberedParameters else { return }
    rememberedParameters = nil
    guard tls.earlyData == .accepted else { return rejectEarlyData() }
    // RFC 9000 §7.4.1: "a server that accepts 0-RTT data MUST NOT set values for the following parameters" "that are
    // smaller than the remembered values of the parameters."
    let limits: [KeyPath<TransportParameters, UInt64>] = [
      \.activeConnectionIDLimit, \.initialMaxData, \.initialMaxStreamDataBidiLocal, \.initialMaxStreamDataBidiRemote,
      \.initialMaxStreamDataUni, \.initialMaxStreamsBidi, \.initialMaxStreamsUni,
      // RFC 9221 §3: "they MUST validate that the new value of the max_datagram_frame_size transport parameter sent by
      // the server in the handshake is greater than or equal to the stored value"
      \.maxDatagramFrameSize,
    ]
    guard limits.allSatisfy({ parameters[keyPath: $0] >= remembered[keyPath: $0] }) else {
      throw TransportError(.protocolViolation, "0-RTT accepted with smaller limits than before")
    }
  }

  /// RFC 9001 §4.6.2: "The client therefore MUST reset the state of all streams, including application state bound to
  /// those streams."
  private mutating func rejectEarlyData() {
    earlyKeys = nil
    streams = Streams(role: role, settings: streams.settings, pool: streams.pool)
    if qlog != nil { streams.touched = [] }
    while !outgoingDatagrams.isEmpty {
      outgoingDatagrams.removeFirst()
      counts.datagramsDroppedSending += 1
    }
    recovery.discard(.applicationData, now: clock)
    events.append(.earlyDataRejected)
  }

  /// A Retry came: what 0-RTT packets carried is sent again. RFC 9001 §4.6.2: "A client MAY reattempt 0-RTT if it
  /// receives a Retry or Version Negotiation packet."
  mutating func repeatEarlyData() {
    guard earlyKeys != nil else { return }
    recovery.collectProbeFrames(.applicationData, packets: .max)
    for position in recovery.probeFrames.indices { repair(recovery.probeFrames[position], .applicationData) }
  }

  /// Opens a 0-RTT packet's header and payload, or keeps it until the ClientHello has been seen.
  mutating func earlyReadKeys(
    _ packet: UnsafeMutableRawBufferPointer, path: Path, ecn: ECN
  ) -> ProtectionKeys? {
    if let earlyKeys { return earlyKeys }
    // RFC 9001 §4.6.2: "When rejecting 0-RTT, a server MUST NOT process any 0-RTT packets, even if it could."
    wait(packet, isGone: peerTransportParameters != nil, path: path, ecn: ecn)
    return nil
  }

  /// A server whose handshake is complete keeps the keys of 0-RTT for packets that were overtaken.
  mutating func retireEarlyKeys() {
    guard earlyKeys != nil else { return }
    if role == .client {
      // RFC 9001 §4.9.3: "a client SHOULD discard 0-RTT keys as soon as it installs 1-RTT keys"
      earlyKeys = nil
    } else {
      // RFC 9001 §4.9.3: "servers MUST discard 0-RTT keys within a short time; the RECOMMENDED time period is three
      // times the Probe Timeout"
      earlyKeysExpiry = clock + recovery.probeTimeout * 3
    }
  }
}

extension Configuration {
  /// What a ticket's early data goes by, in a form to compare: a server takes early data only where it is the same.
  ///
  /// RFC 9000 §7.4.1: "A server MUST reject 0-RTT data if the restored values for transport parameters cannot be
  /// supported."
  public var earlyDataContext: [UInt8] {
    let limits = [
      activeConnectionIDLimit, initialMaxData, initialMaxStreamDataBidiLocal, initialMaxStreamDataBidiRemote,
      initialMaxStreamDataUni, maxStreamsBidi, maxStreamsUni, maxDatagramFrameSize, maxUDPPayloadSize,
    ]
    return limits.flatMap { limit in withUnsafeBytes(of: limit.bigEndian) { Array($0) } }
  }
}
