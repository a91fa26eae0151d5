public import PacketCrypto
public import Wire

/// The transport parameters of one endpoint (RFC 9000 §18.2, RFC 9221 §3, RFC 9287 §3, RFC 9368 §3).
///
/// A parameter that is absent has its default here. Durations are kept in the wire's units.
public struct TransportParameters: Hashable, Sendable {
  /// Server only: the Destination Connection ID of the client's first Initial packet.
  public var originalDestinationConnectionID: ConnectionID?
  /// Milliseconds; 0 means no time-out.
  public var maxIdleTimeout: UInt64 = 0
  /// Server only.
  public var statelessResetToken: StatelessResetToken?
  /// Bytes; at least 1200.
  public var maxUDPPayloadSize: UInt64 = 65527
  public var initialMaxData: UInt64 = 0
  /// Limits of streams that the sender of the parameters opens itself.
  public var initialMaxStreamDataBidiLocal: UInt64 = 0
  /// Limits of streams that the receiver of the parameters opens.
  public var initialMaxStreamDataBidiRemote: UInt64 = 0
  public var initialMaxStreamDataUni: UInt64 = 0
  public var initialMaxStreamsBidi: UInt64 = 0
  public var initialMaxStreamsUni: UInt64 = 0
  /// At most 20.
  public var ackDelayExponent: UInt64 = 3
  /// Milliseconds, below 2^14.
  public var maxAckDelay: UInt64 = 25
  public var disableActiveMigration = false
  /// Server only.
  public var preferredAddress: PreferredAddress?
  /// At least 2.
  public var activeConnectionIDLimit: UInt64 = 2
  public var initialSourceConnectionID: ConnectionID?
  /// Server only: present after a Retry.
  public var retrySourceConnectionID: ConnectionID?
  /// Bytes of a whole DATAGRAM frame; 0 means that none is accepted (RFC 9221 §3).
  public var maxDatagramFrameSize: UInt64 = 0
  public var versionInformation: VersionInformation?
  /// The sender takes packets whose Fixed Bit is clear (RFC 9287 §3).
  public var greaseQUICBit = false
  /// Microseconds; nil when the sender takes no ACK_FREQUENCY (draft-ietf-quic-ack-frequency §3).
  public var minAckDelay: UInt64?
  /// What a reserved parameter is made from, which peers must ignore (RFC 9000 §18.1). Never read from a peer.
  public var reservedSeed: UInt64?

  public init() {}
}

/// Version Information (RFC 9368 §3).
public struct VersionInformation: Hashable, Sendable {
  public var chosen: Version
  /// A client's in the order of its preference; a server's in none.
  public var available: [Version]

  public init(chosen: Version, available: [Version]) {
    self.chosen = chosen
    self.available = available
  }
}

/// RFC 9000 §18.2, preferred_address.
public struct PreferredAddress: Hashable, Sendable {
  /// Nil when the server gave none of this family.
  public var ipv4: SocketAddress?
  public var ipv6: SocketAddress?
  /// Has the sequence number 1.
  public var connectionID: ConnectionID
  public var resetToken: StatelessResetToken

  public init(ipv4: SocketAddress?, ipv6: SocketAddress?, connectionID: ConnectionID, resetToken: StatelessResetToken) {
    self.ipv4 = ipv4
    self.ipv6 = ipv6
    self.connectionID = connectionID
    self.resetToken = resetToken
  }
}

extension TransportParameters {
  /// RFC 9000 §18.2, RFC 9221 §3, RFC 9368 §3, RFC 9287 §3.
  enum ID: UInt64 {
    case originalDestinationConnectionID = 0x00
    case maxIdleTimeout = 0x01
    case statelessResetToken = 0x02
    case maxUDPPayloadSize = 0x03
    case initialMaxData = 0x04
    case initialMaxStreamDataBidiLocal = 0x05
    case initialMaxStreamDataBidiRemote = 0x06
    case initialMaxStreamDataUni = 0x07
    case initialMaxStreamsBidi = 0x08
    case initialMaxStreamsUni = 0x09
    case ackDelayExponent = 0x0a
    case maxAckDelay = 0x0b
    case disableActiveMigration = 0x0c
    case preferredAddress = 0x0d
    case activeConnectionIDLimit = 0x0e
    case initialSourceConnectionID = 0x0f
    case retrySourceConnectionID = 0x10
    case versionInformation = 0x11
    case maxDatagramFrameSize = 0x20
    case greaseQUICBit = 0x2ab2
    case minAckDelay = 0xff04_de1b
  }
}

extension TransportParameters {
  /// The parameters as a TLS extension carries them. Those at their default are left out.
  public func encoded() -> [UInt8] {
    // Beside the versions the longest there can be: 21 parameters, of which the preferred address has 61 bytes and no
    // other more than 20.
    withUnsafeTemporaryAllocation(
      byteCount: 512 + 4 * (versionInformation?.available.count ?? 0), alignment: 8
    ) { memory in
      var writer = ByteWriter(memory)
      write(to: &writer)
      return [UInt8](writer.written)
    }
  }

  private func write(to writer: inout ByteWriter) {
    let absent = TransportParameters()
    let integers: [(ID, KeyPath<TransportParameters, UInt64>)] = [
      (.maxIdleTimeout, \.maxIdleTimeout), (.maxUDPPayloadSize, \.maxUDPPayloadSize),
      (.initialMaxData, \.initialMaxData), (.initialMaxStreamDataBidiLocal, \.initialMaxStreamDataBidiLocal),
      (.initialMaxStreamDataBidiRemote, \.initialMaxStreamDataBidiRemote),
      (.initialMaxStreamDataUni, \.initialMaxStreamDataUni), (.initialMaxStreamsBidi, \.initialMaxStreamsBidi),
      (.initialMaxStreamsUni, \.initialMaxStreamsUni), (.ackDelayExponent, \.ackDelayExponent),
      (.maxAckDelay, \.maxAckDelay), (.activeConnectionIDLimit, \.activeConnectionIDLimit),
      (.maxDatagramFrameSize, \.maxDatagramFrameSize),
    ]
    for (id, path) in integers where self[keyPath: path] != absent[keyPath: path] {
      let value = min(self[keyPath: path], Varint.max)
      writer.writeVarint(id.rawValue)
      writer.writeVarint(UInt64(Varint.length(of: value)))
      writer.writeVarint(value)
    }
    let connectionIDs: [(ID, ConnectionID?)] = [
      (.originalDestinationConnectionID, originalDestinationConnectionID),
      (.initialSourceConnectionID, initialSourceConnectionID), (.retrySourceConnectionID, retrySourceConnectionID),
    ]
    for case (let id, let value?) in connectionIDs {
      writer.writeVarint(id.rawValue)
      writer.writeVarint(UInt64(value.length))
      value.withUnsafeBytes { writer.write($0) }
    }
    if let statelessResetToken {
      writer.writeVarint(ID.statelessResetToken.rawValue)
      writer.writeVarint(UInt64(StatelessResetToken.length))
      statelessResetToken.withUnsafeBytes { writer.write($0) }
    }
    if disableActiveMigration {
      writer.writeVarint(ID.disableActiveMigration.rawValue)
      writer.writeVarint(0)
    }
    if let preferredAddress {
      writer.writeVarint(ID.preferredAddress.rawValue)
      writer.writeVarint(UInt64(4 + 2 + 16 + 2 + 1 + preferredAddress.connectionID.length + StatelessResetToken.length))
      preferredAddress.write(to: &writer)
    }
    if let versionInformation {
      writer.writeVarint(ID.versionInformation.rawValue)
      writer.writeVarint(UInt64(4 * (1 + versionInformation.available.count)))
      writer.write(versionInformation.chosen.rawValue)
      for version in versionInformation.available { writer.write(version.rawValue) }
    }
    if greaseQUICBit {
      writer.writeVarint(ID.greaseQUICBit.rawValue)
      writer.writeVarint(0)
    }
    if let minAckDelay {
      let value = min(minAckDelay, Varint.max)
      writer.writeVarint(ID.minAckDelay.rawValue)
      writer.writeVarint(UInt64(Varint.length(of: value)))
      writer.writeVarint(value)
    }
    if let reservedSeed { writeReserved(reservedSeed, to: &writer) }
  }

  /// RFC 9000 §18.1: "Transport parameters with an identifier of the form 31 * N + 27 for integer values of N are reserved
  /// to exercise the requirement that unknown transport parameters be ignored." Up to seven bytes of nothing.
  private func writeReserved(_ seed: UInt64, to writer: inout ByteWriter) {
    writer.writeVarint(31 * (seed >> 8 & 0xff_ffff) + 27)
    let length = Int(seed & 0x07)
    writer.writeVarint(UInt64(length))
    for index in 0..<length { writer.write(UInt8(truncatingIfNeeded: seed >> (8 * index))) }
  }
}

extension PreferredAddress {
  fileprivate func write(to writer: inout ByteWriter) {
    writer.write(ipv4?.ip.networkBytes ?? [UInt8](repeating: 0, count: 4))
    writer.write(ipv4?.port ?? 0)
    writer.write(ipv6?.ip.networkBytes ?? [UInt8](repeating: 0, count: 16))
    writer.write(ipv6?.port ?? 0)
    writer.write(connectionID)
    resetToken.withUnsafeBytes { writer.write($0) }
  }
}
