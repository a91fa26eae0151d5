public import PacketCrypto

/// One side of a TLS 1.3 handshake, as QUIC drives it (RFC 9001 §4).
///
/// QUIC carries the messages and never sees inside them. The implementation stands above, in
/// `QUICTLS`; this is a class because it is touched only while CRYPTO frames flow.
public protocol TLSSession: AnyObject {
  /// The version of the connection, set before the first ``advance()`` and when another has been negotiated. A session
  /// is resumed in the version that it was begun in or not at all (RFC 9369 §5).
  var version: Version { get set }
  /// A client's: the version of the session that it would resume.
  var resumedVersion: Version? { get }
  /// A server's: the client has a session to resume.
  var isResumptionOffered: Bool { get }

  /// Our transport parameters, encoded (RFC 9001 §8.2), before the first ``advance()``.
  ///
  /// A server's ``advance()`` stops once, when ``peerTransportParameters`` are there: it may set its own again in view of
  /// them.
  func setTransportParameters(_ encoded: [UInt8])

  /// Handshake bytes from the peer's CRYPTO frames, in order within `level`.
  func receive(_ bytes: UnsafeRawBufferPointer, at level: EncryptionLevel) throws(TransportError)

  /// Moves the handshake on as far as it goes. Fails with a CRYPTO_ERROR that carries the alert.
  func advance() throws(TransportError)

  /// What the handshake produced, in the order in which it must take effect; nil when there is no more.
  func nextOutput() -> TLSOutput?

  /// RFC 9001 §4.1.1.
  var isComplete: Bool { get }
  /// The peer's transport parameters as they stood in its handshake message.
  var peerTransportParameters: [UInt8]? { get }
  /// The application protocol that both ends agreed on.
  var applicationProtocol: String? { get }
  /// The session was resumed from a ticket.
  var isResumed: Bool { get }
  /// What became of the early data that a client offered.
  var earlyData: EarlyDataState { get }
  /// A client that resumes: the server's parameters as they stood when it gave the ticket (RFC 9000 §7.4.1).
  var rememberedTransportParameters: [UInt8]? { get }
  /// The peer's certificate chain in DER, leaf first; empty when it showed none.
  var peerCertificates: [[UInt8]] { get }
}

public enum EarlyDataState: Sendable {
  case notOffered, offered, accepted, rejected
}

/// RFC 9001 §2.1.
public enum EncryptionLevel: UInt8, Sendable, CaseIterable, Comparable {
  case initial, zeroRTT, handshake, oneRTT
  public static func < (a: Self, b: Self) -> Bool { a.rawValue < b.rawValue }
}

/// The packet-number space that a level's packets count in (RFC 9000 §12.3).
public enum PacketNumberSpace: UInt8, Sendable, CaseIterable {
  case initial, handshake, applicationData
}

extension EncryptionLevel {
  public var packetNumberSpace: PacketNumberSpace {
    switch self {
    case .initial: .initial
    case .handshake: .handshake
    case .zeroRTT, .oneRTT: .applicationData
    }
  }
}

public enum TLSOutput {
  /// Bytes for CRYPTO frames at a level.
  case handshakeData(EncryptionLevel, [UInt8])
  /// A traffic secret to install. It is zeroed by whoever derives the keys from it.
  case secret(EncryptionLevel, Direction, CipherSuite, TrafficSecret)

  public enum Direction: Sendable { case read, write }
}
