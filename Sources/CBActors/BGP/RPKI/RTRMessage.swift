import Wire

/// A PDU between a validating cache and a router (RFC 8210 §5, and RFC 6810 for version 0).
public enum RTRMessage: Hashable, Sendable {
  case serialNotify(session: UInt16, serial: UInt32)
  case serialQuery(session: UInt16, serial: UInt32)
  case resetQuery
  case cacheResponse(session: UInt16)
  case prefix(ROAPayload, isAnnounced: Bool)
  /// With the times of version 1, in seconds.
  case endOfData(session: UInt16, serial: UInt32, Timing?)
  case cacheReset
  /// Of no use for origin validation.
  case routerKey([UInt8])
  case errorReport(ErrorCode, pdu: [UInt8], text: String)

  public struct Timing: Hashable, Sendable {
    public var refresh: UInt32
    public var retry: UInt32
    public var expire: UInt32
    public init(refresh: UInt32, retry: UInt32, expire: UInt32) {
      self.refresh = refresh
      self.retry = retry
      self.expire = expire
    }
    /// RFC 8210 §6.
    public static let usual = Timing(refresh: 3_600, retry: 600, expire: 7_200)
  }

  /// RFC 8210 §12.
  public struct ErrorCode: RawRepresentable, Hashable, Sendable {
    public let rawValue: UInt16
    public init(rawValue: UInt16) { self.rawValue = rawValue }
    public static let corruptData = ErrorCode(rawValue: 0)
    public static let internalError = ErrorCode(rawValue: 1)
    public static let noDataAvailable = ErrorCode(rawValue: 2)
    public static let invalidRequest = ErrorCode(rawValue: 3)
    public static let unsupportedVersion = ErrorCode(rawValue: 4)
    public static let unsupportedType = ErrorCode(rawValue: 5)
    public static let unknownWithdrawal = ErrorCode(rawValue: 6)
    public static let duplicateAnnouncement = ErrorCode(rawValue: 7)
    public static let unexpectedVersion = ErrorCode(rawValue: 8)
  }

  /// Why a PDU cannot be read, and what to report.
  struct Malformed: Error, Hashable {
    var code: ErrorCode
    var reason: String
  }

  /// Octets of the header.
  static let headerLength = 8
  /// A PDU is no longer, whatever it says: of an error report, the PDU in it and its text.
  static let maximumLength = 65_536
}

// MARK: - Reading

extension RTRMessage {
  /// The version and length that a header says; nil when it is not there yet.
  static func header(_ bytes: UnsafeRawBufferPointer) throws(Malformed) -> (version: UInt8, length: Int)? {
    var reader = ByteReader(bytes)
    guard let version = reader.readUInt8(), reader.skip(3), let length = reader.readUInt32() else { return nil }
    guard length >= headerLength, length <= maximumLength else {
      throw Malformed(code: .corruptData, reason: "a length of \(length)")
    }
    return (version, Int(length))
  }

  /// Reads one whole PDU.
  init(_ bytes: UnsafeRawBufferPointer) throws(Malformed) {
    var reader = ByteReader(bytes)
    guard let version = reader.readUInt8(), let type = reader.readUInt8(), let word = reader.readUInt16(),
      reader.skip(4)
    else { throw Malformed(code: .corruptData, reason: "no header") }
    switch type {
    case 0: self = .serialNotify(session: word, serial: try Self.serial(&reader))
    case 1: self = .serialQuery(session: word, serial: try Self.serial(&reader))
    case 2: self = .resetQuery
    case 3: self = .cacheResponse(session: word)
    case 4, 6: self = try Self.prefix(&reader, isIPv4: type == 4)
    case 7:
      let serial = try Self.serial(&reader)
      guard version > 0 else {
        self = .endOfData(session: word, serial: serial, nil)
        break
      }
      guard let refresh = reader.readUInt32(), let retry = reader.readUInt32(), let expire = reader.readUInt32() else {
        throw Malformed(code: .corruptData, reason: "an End of Data without its times")
      }
      self = .endOfData(session: word, serial: serial, Timing(refresh: refresh, retry: retry, expire: expire))
    case 8: self = .cacheReset
    case 9 where version > 0:
      guard reader.remaining >= 24 else { throw Malformed(code: .corruptData, reason: "half a router key") }
      self = .routerKey(Array(bytes))
      return
    case 10:
      guard let count = reader.readUInt32(), let pdu = reader.readBytes(Int(count)), let length = reader.readUInt32(),
        let text = reader.readBytes(Int(length))
      else { throw Malformed(code: .corruptData, reason: "half an error report") }
      self = .errorReport(
        ErrorCode(rawValue: word), pdu: Array(pdu), text: String(decoding: text, as: UTF8.self))
    default: throw Malformed(code: .unsupportedType, reason: "type \(type)")
    }
    guard reader.isAtEnd else { throw Malformed(code: .corruptData, reason: "octets behind a PDU of type \(type)") }
  }

  private static func serial(_ reader: inout ByteReader) throws(Malformed) -> UInt32 {
    guard let serial = reader.readUInt32() else { throw Malformed(code: .corruptData, reason: "no serial number") }
    return serial
  }

  /// RFC 8210 §5.6 and §5.7.
  private static func prefix(_ reader: inout ByteReader, isIPv4: Bool) throws(Malformed) -> RTRMessage {
    guard let flags = reader.readUInt8(), let length = reader.readUInt8(), let longest = reader.readUInt8(),
      reader.skip(1), let octets = reader.readBytes(isIPv4 ? 4 : 16), let address = IPAddress(networkBytes: octets),
      let number = reader.readUInt32(), let prefix = IPPrefix(address, length: Int(length)),
      let payload = ROAPayload(prefix, maximumLength: Int(longest), autonomousSystem: number)
    else { throw Malformed(code: .corruptData, reason: "a prefix that is none") }
    return .prefix(payload, isAnnounced: flags & 1 == 1)
  }
}

// MARK: - Writing

extension RTRMessage {
  public func serialized(version: UInt8) -> [UInt8] {
    switch self {
    case .serialNotify(let session, let serial): Self.pdu(version, 0, session, serial.octets)
    case .serialQuery(let session, let serial): Self.pdu(version, 1, session, serial.octets)
    case .resetQuery: Self.pdu(version, 2, 0, [])
    case .cacheResponse(let session): Self.pdu(version, 3, session, [])
    case .prefix(let payload, let isAnnounced):
      Self.pdu(
        version, payload.prefix.address.isIPv4 ? 4 : 6, 0,
        [isAnnounced ? 1 : 0, UInt8(payload.prefix.length), UInt8(payload.maximumLength), 0]
          + payload.prefix.address.networkBytes + payload.autonomousSystem.octets)
    case .endOfData(let session, let serial, let timing):
      Self.pdu(
        version, 7, session,
        serial.octets
          + (version == 0
            ? [] : [(timing ?? .usual).refresh, (timing ?? .usual).retry, (timing ?? .usual).expire].flatMap(\.octets)))
    case .cacheReset: Self.pdu(version, 8, 0, [])
    case .routerKey(let whole): whole
    case .errorReport(let code, let pdu, let text):
      Self.pdu(
        version, 10, code.rawValue,
        UInt32(pdu.count).octets + pdu + UInt32(text.utf8.count).octets + Array(text.utf8))
    }
  }

  private static func pdu(_ version: UInt8, _ type: UInt8, _ word: UInt16, _ body: [UInt8]) -> [UInt8] {
    [version, type] + word.octets + UInt32(headerLength + body.count).octets + body
  }
}

extension FixedWidthInteger {
  /// In network byte order.
  var octets: [UInt8] { withUnsafeBytes(of: bigEndian) { Array($0) } }
}
