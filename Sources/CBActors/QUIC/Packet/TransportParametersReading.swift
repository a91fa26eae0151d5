import PacketCrypto
import Wire

extension TransportParameters {
  /// Reads what the peer sent and checks each value (RFC 9000 §7.4, §18.2).
  ///
  /// What concerns the connection's own IDs (RFC 9000 §7.3) is compared by the connection.
  ///
  /// - Parameter sender: the peer's role.
  /// - Throws: TRANSPORT_PARAMETER_ERROR.
  public init(_ encoded: UnsafeRawBufferPointer, from sender: Role) throws(TransportError) {
    self.init()
    var reader = ByteReader(encoded)
    // One bit for each identifier below 62, which all known ones but two are.
    var seen: UInt64 = 0
    while !reader.isAtEnd {
      guard let number = reader.readVarint(), let value = reader.readVarintPrefixedBytes() else {
        throw Self.error("truncated")
      }
      // RFC 9000 §7.4.2: "An endpoint MUST ignore transport parameters that it does not support."
      guard let id = ID(rawValue: number) else { continue }
      // RFC 9000 §7.4: "An endpoint MUST NOT send a parameter more than once in a given transport parameters extension."
      let bit: UInt64 = 1 << (id == .greaseQUICBit ? 62 : id == .minAckDelay ? 63 : number)
      guard seen & bit == 0 else { throw Self.error("\(id) given twice") }
      seen |= bit
      // RFC 9000 §18.2: "A server MUST treat receipt of any of these transport parameters as a connection error of type
      // TRANSPORT_PARAMETER_ERROR."
      guard sender == .server || !id.isServerOnly else { throw Self.error("\(id) sent by a client") }
      if id == .versionInformation {
        versionInformation = try Self.versions(value, from: sender)
      } else {
        try read(id, value)
      }
    }
    // ack-frequency §3: "Endpoints that support this extension MUST treat receipt of a min_ack_delay that is greater than the
    // max_ack_delay as a connection error of type TRANSPORT_PARAMETER_ERROR."
    if let minAckDelay, minAckDelay > maxAckDelay * 1_000 {
      throw Self.error("minAckDelay of \(minAckDelay) µs is more than maxAckDelay of \(maxAckDelay) ms")
    }
    // RFC 9000 §18.2: "A server that chooses a zero-length connection ID MUST NOT provide a preferred address."
    if preferredAddress != nil, initialSourceConnectionID?.length == 0 {
      throw Self.error("preferredAddress with a zero-length connection ID")
    }
  }

  public init(_ encoded: [UInt8], from sender: Role) throws(TransportError) {
    // A closure would widen the typed error to `any Error`; a Result keeps it.
    self = try encoded.withUnsafeBytes { bytes in
      Result { () throws(TransportError) in try TransportParameters(bytes, from: sender) }
    }.get()
  }

  private mutating func read(_ id: ID, _ value: UnsafeRawBufferPointer) throws(TransportError) {
    switch id {
    case .originalDestinationConnectionID: originalDestinationConnectionID = try Self.connectionID(id, value)
    case .initialSourceConnectionID: initialSourceConnectionID = try Self.connectionID(id, value)
    case .retrySourceConnectionID: retrySourceConnectionID = try Self.connectionID(id, value)
    case .maxIdleTimeout: maxIdleTimeout = try Self.integer(id, value)
    case .statelessResetToken:
      guard let token = StatelessResetToken(value) else { throw Self.error("\(id) is not 16 bytes") }
      statelessResetToken = token
    // RFC 9000 §18.2: "Values below 1200 are invalid."
    case .maxUDPPayloadSize: maxUDPPayloadSize = try Self.integer(id, value, in: 1200...Varint.max)
    case .initialMaxData: initialMaxData = try Self.integer(id, value)
    case .initialMaxStreamDataBidiLocal: initialMaxStreamDataBidiLocal = try Self.integer(id, value)
    case .initialMaxStreamDataBidiRemote: initialMaxStreamDataBidiRemote = try Self.integer(id, value)
    case .initialMaxStreamDataUni: initialMaxStreamDataUni = try Self.integer(id, value)
    // RFC 9000 §4.6: "the connection MUST be closed immediately with a connection error of type
    // TRANSPORT_PARAMETER_ERROR"
    case .initialMaxStreamsBidi:
      initialMaxStreamsBidi = try Self.integer(id, value, in: 0...FrameType.maximumStreamCount)
    case .initialMaxStreamsUni:
      initialMaxStreamsUni = try Self.integer(id, value, in: 0...FrameType.maximumStreamCount)
    // RFC 9000 §18.2: "Values above 20 are invalid."
    case .ackDelayExponent: ackDelayExponent = try Self.integer(id, value, in: 0...20)
    case .maxAckDelay: maxAckDelay = try Self.integer(id, value, in: 0...(1 << 14) - 1)
    case .disableActiveMigration:
      guard value.isEmpty else { throw Self.error("\(id) is not empty") }
      disableActiveMigration = true
    case .preferredAddress: preferredAddress = try Self.preferredAddress(value)
    // RFC 9000 §18.2: "The value of the active_connection_id_limit parameter MUST be at least 2."
    case .activeConnectionIDLimit: activeConnectionIDLimit = try Self.integer(id, value, in: 2...Varint.max)
    case .maxDatagramFrameSize: maxDatagramFrameSize = try Self.integer(id, value)
    case .greaseQUICBit:
      guard value.isEmpty else { throw Self.error("\(id) is not empty") }
      greaseQUICBit = true
    case .minAckDelay: minAckDelay = try Self.integer(id, value)
    case .versionInformation: break
    }
  }

  /// RFC 9368 §4: "If that leads to a parsing failure (for example, if it is too short or if its length is not divisible by
  /// four), then the endpoint MUST close the connection" with a "TRANSPORT_PARAMETER_ERROR".
  private static func versions(
    _ value: UnsafeRawBufferPointer, from sender: Role
  ) throws(TransportError) -> VersionInformation {
    var reader = ByteReader(value)
    guard value.count % 4 == 0, let chosen = reader.readUInt32() else { throw error("malformed versionInformation") }
    var available: [Version] = []
    while let version = reader.readUInt32() { available.append(Version(rawValue: version)) }
    // RFC 9368 §4: "If an endpoint receives a Chosen Version equal to zero, or any Available Version equal to zero, it
    // MUST treat it as a parsing failure."
    guard chosen != 0, !available.contains(.negotiation) else { throw error("versionInformation with version 0") }
    let information = VersionInformation(chosen: Version(rawValue: chosen), available: available)
    // RFC 9368 §4: "If a server receives Version Information where the Chosen Version is not included in Available
    // Versions, it MUST treat it as a parsing failure."
    guard sender == .server || available.contains(information.chosen) else {
      throw error("versionInformation whose chosen version is not available")
    }
    return information
  }

  private static func integer(
    _ id: ID, _ value: UnsafeRawBufferPointer, in range: ClosedRange<UInt64> = 0...Varint.max
  ) throws(TransportError) -> UInt64 {
    var reader = ByteReader(value)
    guard let integer = reader.readVarint(), reader.isAtEnd else { throw error("\(id) is not one integer") }
    guard range.contains(integer) else { throw error("\(id) of \(integer) is out of range") }
    return integer
  }

  private static func connectionID(
    _ id: ID, _ value: UnsafeRawBufferPointer
  ) throws(TransportError) -> ConnectionID {
    guard let connectionID = ConnectionID(value) else { throw error("\(id) is longer than 20 bytes") }
    return connectionID
  }

  private static func preferredAddress(_ value: UnsafeRawBufferPointer) throws(TransportError) -> PreferredAddress {
    var reader = ByteReader(value)
    guard let four = reader.readBytes(4).flatMap({ IPAddress(networkBytes: $0) }), let fourPort = reader.readUInt16(),
      let six = reader.readBytes(16).flatMap({ IPAddress(networkBytes: $0) }), let sixPort = reader.readUInt16(),
      let length = reader.readUInt8(), let id = reader.readBytes(Int(length)).flatMap({ ConnectionID($0) }),
      let token = reader.readBytes(StatelessResetToken.length).flatMap({ StatelessResetToken($0) }), reader.isAtEnd
    else { throw error("malformed preferredAddress") }
    // RFC 9000 §18.2: "a server MUST NOT include a zero-length connection ID in this transport parameter."
    guard id.length > 0 else { throw error("preferredAddress without a connection ID") }
    return PreferredAddress(
      ipv4: fourPort == 0 && four == .v4(.any) ? nil : SocketAddress(four, port: fourPort),
      ipv6: sixPort == 0 && six == .v6(.any) ? nil : SocketAddress(six, port: sixPort),
      connectionID: id, resetToken: token)
  }

  @inline(never) private static func error(_ reason: String) -> TransportError {
    TransportError(.transportParameterError, "transport parameters: \(reason)")
  }
}

extension TransportParameters.ID {
  /// RFC 9000 §18.2: "A client MUST NOT include any server-only transport parameter"
  fileprivate var isServerOnly: Bool {
    switch self {
    case .originalDestinationConnectionID, .preferredAddress, .retrySourceConnectionID, .statelessResetToken: true
    default: false
    }
  }
}
