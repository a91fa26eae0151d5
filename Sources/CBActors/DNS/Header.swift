import Wire

/// The header's fields (RFC 1035 §4.1.1), the counts aside.
public struct Header: Hashable, Sendable {
  /// Its length in octets.
  public static let length = 12

  public var id: UInt16
  /// QR.
  public var isResponse = false
  public var opcode = Opcode.query
  /// AA.
  public var isAuthoritative = false
  /// TC.
  public var isTruncated = false
  /// RD.
  public var recursionDesired = false
  /// RA.
  public var recursionAvailable = false
  /// AD (RFC 4035 §3.2.3).
  public var authenticData = false
  /// CD (RFC 4035 §3.2.2).
  public var checkingDisabled = false
  /// The header's four bits below, EDNS's eight above (RFC 6891 §6.1.3).
  public var responseCode = ResponseCode.noError

  public init(id: UInt16) { self.id = id }

  /// The second 16 bits of the header.
  var flags: UInt16 {
    (isResponse ? 0x8000 : 0) | UInt16(opcode.rawValue & 0xf) << 11 | (isAuthoritative ? 0x0400 : 0)
      | (isTruncated ? 0x0200 : 0) | (recursionDesired ? 0x0100 : 0) | (recursionAvailable ? 0x0080 : 0)
      | (authenticData ? 0x0020 : 0) | (checkingDisabled ? 0x0010 : 0) | responseCode.rawValue & 0xf
  }

  init(id: UInt16, flags: UInt16) {
    self.id = id
    isResponse = flags & 0x8000 != 0
    opcode = Opcode(rawValue: UInt8(flags >> 11 & 0xf))
    isAuthoritative = flags & 0x0400 != 0
    isTruncated = flags & 0x0200 != 0
    recursionDesired = flags & 0x0100 != 0
    recursionAvailable = flags & 0x0080 != 0
    authenticData = flags & 0x0020 != 0
    checkingDisabled = flags & 0x0010 != 0
    responseCode = ResponseCode(rawValue: flags & 0xf)
  }
}

/// OPCODE (RFC 1035 §4.1.1), four bits.
public struct Opcode: RawRepresentable, Hashable, Sendable {
  public let rawValue: UInt8
  public init(rawValue: UInt8) { self.rawValue = rawValue }

  public static let query = Opcode(rawValue: 0)
}

/// RCODE (RFC 1035 §4.1.1) with EDNS's extension to 12 bits (RFC 6891 §6.1.3).
public struct ResponseCode: RawRepresentable, Hashable, Sendable {
  public let rawValue: UInt16
  public init(rawValue: UInt16) { self.rawValue = rawValue }

  public static let noError = ResponseCode(rawValue: 0)
  public static let formatError = ResponseCode(rawValue: 1)
  public static let serverFailure = ResponseCode(rawValue: 2)
  /// NXDOMAIN.
  public static let nameError = ResponseCode(rawValue: 3)
  public static let notImplemented = ResponseCode(rawValue: 4)
  public static let refused = ResponseCode(rawValue: 5)
  /// BADVERS (RFC 6891 §9).
  public static let badVersion = ResponseCode(rawValue: 16)
}

extension ResponseCode: CustomStringConvertible {
  public var description: String {
    switch self {
    case .noError: "NOERROR"
    case .formatError: "FORMERR"
    case .serverFailure: "SERVFAIL"
    case .nameError: "NXDOMAIN"
    case .notImplemented: "NOTIMP"
    case .refused: "REFUSED"
    case .badVersion: "BADVERS"
    default: "RCODE\(rawValue)"
    }
  }
}
