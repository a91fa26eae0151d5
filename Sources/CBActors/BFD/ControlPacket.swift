public import Wire

/// What a system says of its session (RFC 5880 §4.1, the Sta field).
public enum SessionState: UInt8, Hashable, Sendable {
  case adminDown
  case down
  case initializing
  case up
}

/// Why a session is no longer up (RFC 5880 §4.1, the Diag field).
public struct Diagnostic: RawRepresentable, Hashable, Sendable {
  public let rawValue: UInt8
  public init(rawValue: UInt8) { self.rawValue = rawValue & 0x1f }

  public static let none = Diagnostic(rawValue: 0)
  public static let detectionTimeExpired = Diagnostic(rawValue: 1)
  public static let echoFailed = Diagnostic(rawValue: 2)
  public static let neighborSignaledDown = Diagnostic(rawValue: 3)
  public static let forwardingPlaneReset = Diagnostic(rawValue: 4)
  public static let pathDown = Diagnostic(rawValue: 5)
  public static let concatenatedPathDown = Diagnostic(rawValue: 6)
  public static let administrativelyDown = Diagnostic(rawValue: 7)
  public static let reverseConcatenatedPathDown = Diagnostic(rawValue: 8)
}

extension Diagnostic: CustomStringConvertible {
  public var description: String {
    switch self {
    case .none: "no diagnostic"
    case .detectionTimeExpired: "control detection time expired"
    case .echoFailed: "echo function failed"
    case .neighborSignaledDown: "neighbor signaled session down"
    case .forwardingPlaneReset: "forwarding plane reset"
    case .pathDown: "path down"
    case .concatenatedPathDown: "concatenated path down"
    case .administrativelyDown: "administratively down"
    case .reverseConcatenatedPathDown: "reverse concatenated path down"
    default: "diagnostic \(rawValue)"
    }
  }
}

/// A BFD Control packet without its authentication section (RFC 5880 §4.1). Intervals are in microseconds.
public struct ControlPacket: Hashable, Sendable {
  public static let version: UInt8 = 1
  /// Octets of the mandatory section.
  public static let length = 24

  public var diagnostic = Diagnostic.none
  public var state: SessionState
  public var isPoll = false
  public var isFinal = false
  public var isControlPlaneIndependent = false
  public var hasAuthentication = false
  public var isDemand = false
  public var detectMultiplier: UInt8
  public var myDiscriminator: UInt32
  public var yourDiscriminator: UInt32
  public var desiredMinTxInterval: UInt32
  public var requiredMinRxInterval: UInt32
  public var requiredMinEchoRxInterval: UInt32 = 0

  public init(
    state: SessionState, detectMultiplier: UInt8 = 3, myDiscriminator: UInt32, yourDiscriminator: UInt32,
    desiredMinTxInterval: UInt32, requiredMinRxInterval: UInt32
  ) {
    self.state = state
    self.detectMultiplier = detectMultiplier
    self.myDiscriminator = myDiscriminator
    self.yourDiscriminator = yourDiscriminator
    self.desiredMinTxInterval = desiredMinTxInterval
    self.requiredMinRxInterval = requiredMinRxInterval
  }

  /// Why a packet is discarded before a session is asked (RFC 5880 §6.8.6, in its order).
  public enum Rejection: Error, Hashable, Sendable {
    case version
    case length
    case detectMultiplier
    case multipoint
    case myDiscriminator
    /// Your Discriminator is zero, and the state is neither Down nor AdminDown.
    case yourDiscriminator
  }

  /// Reads and checks the payload of a datagram.
  public init(_ bytes: UnsafeRawBufferPointer) throws(Rejection) {
    var reader = ByteReader(bytes)
    guard let first = reader.readUInt8(), let second = reader.readUInt8(), let multiplier = reader.readUInt8(),
      let length = reader.readUInt8()
    else { throw .length }
    // RFC 5880 §6.8.6: if the version number is not 1, the packet is discarded.
    guard first >> 5 == Self.version else { throw .version }
    // §6.8.6: shorter than 24 octets, or 26 with authentication, or longer than the datagram: discarded.
    let hasAuthentication = second & 0x04 != 0
    guard length >= (hasAuthentication ? 26 : 24), Int(length) <= bytes.count else { throw .length }
    // §6.8.6: a Detect Mult of zero: discarded.
    guard multiplier != 0 else { throw .detectMultiplier }
    // §6.8.6: the Multipoint bit set: discarded.
    guard second & 0x01 == 0 else { throw .multipoint }
    guard let mine = reader.readUInt32(), let yours = reader.readUInt32(), let desired = reader.readUInt32(),
      let required = reader.readUInt32(), let echo = reader.readUInt32(),
      let state = SessionState(rawValue: second >> 6)
    else { throw .length }
    // §6.8.6: a My Discriminator of zero: discarded.
    guard mine != 0 else { throw .myDiscriminator }
    // §6.8.6: no Your Discriminator, though the session has begun: discarded.
    guard yours != 0 || state == .down || state == .adminDown else { throw .yourDiscriminator }
    self.init(
      state: state, detectMultiplier: multiplier, myDiscriminator: mine, yourDiscriminator: yours,
      desiredMinTxInterval: desired, requiredMinRxInterval: required)
    diagnostic = Diagnostic(rawValue: first)
    isPoll = second & 0x20 != 0
    isFinal = second & 0x10 != 0
    isControlPlaneIndependent = second & 0x08 != 0
    self.hasAuthentication = hasAuthentication
    isDemand = second & 0x02 != 0
    requiredMinEchoRxInterval = echo
  }

  /// Writes 24 octets.
  public func write(to writer: inout ByteWriter) {
    writer.write(Self.version << 5 | diagnostic.rawValue)
    var second = state.rawValue << 6
    if isPoll { second |= 0x20 }
    if isFinal { second |= 0x10 }
    if isControlPlaneIndependent { second |= 0x08 }
    if isDemand { second |= 0x02 }
    writer.write(second)
    writer.write(detectMultiplier)
    writer.write(UInt8(Self.length))
    writer.write(myDiscriminator)
    writer.write(yourDiscriminator)
    writer.write(desiredMinTxInterval)
    writer.write(requiredMinRxInterval)
    writer.write(requiredMinEchoRxInterval)
  }
}
