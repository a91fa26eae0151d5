/// TYPE and QTYPE (RFC 1035 §3.2.2, §3.2.3).
public struct RecordType: RawRepresentable, Hashable, Sendable {
  public let rawValue: UInt16
  public init(rawValue: UInt16) { self.rawValue = rawValue }

  public static let a = RecordType(rawValue: 1)
  public static let ns = RecordType(rawValue: 2)
  public static let cname = RecordType(rawValue: 5)
  public static let soa = RecordType(rawValue: 6)
  public static let txt = RecordType(rawValue: 16)
  /// RFC 3596.
  public static let aaaa = RecordType(rawValue: 28)
  /// RFC 2782.
  public static let srv = RecordType(rawValue: 33)
  /// RFC 6891.
  public static let opt = RecordType(rawValue: 41)
  /// RFC 9460.
  public static let svcb = RecordType(rawValue: 64)
  /// RFC 9460 §9.
  public static let https = RecordType(rawValue: 65)
  /// QTYPE `*` (RFC 1035 §3.2.3).
  public static let any = RecordType(rawValue: 255)
}

extension RecordType: CustomStringConvertible {
  /// The mnemonic, or `TYPE731` as RFC 3597 §5 writes an unknown one.
  public var description: String {
    switch self {
    case .a: "A"
    case .ns: "NS"
    case .cname: "CNAME"
    case .soa: "SOA"
    case .txt: "TXT"
    case .aaaa: "AAAA"
    case .srv: "SRV"
    case .opt: "OPT"
    case .svcb: "SVCB"
    case .https: "HTTPS"
    case .any: "ANY"
    default: "TYPE\(rawValue)"
    }
  }
}

/// CLASS and QCLASS (RFC 1035 §3.2.4, §3.2.5).
public struct RecordClass: RawRepresentable, Hashable, Sendable {
  public let rawValue: UInt16
  public init(rawValue: UInt16) { self.rawValue = rawValue }

  /// IN, the Internet.
  public static let internet = RecordClass(rawValue: 1)
}
