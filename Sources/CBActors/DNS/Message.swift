import Wire

/// A DNS message (RFC 1035 §4).
public struct Message: Hashable, Sendable {
  public var header: Header
  public var questions: [Question] = []
  public var answers: [Record] = []
  public var authorities: [Record] = []
  /// Without the OPT record, which is ``edns``.
  public var additionals: [Record] = []
  public var edns: EDNS?

  public init(header: Header) { self.header = header }

  /// The largest message: what TCP's length prefix can say (RFC 1035 §4.2.2).
  public static let maximumLength = 65_535
  /// The most records taken from one message; one with more is malformed.
  public static let maximumRecords = 1_024
}

/// An entry of the question section (RFC 1035 §4.1.2).
public struct Question: Hashable, Sendable {
  public var name: DNSName
  public var type: RecordType
  public var recordClass: RecordClass

  public init(_ name: DNSName, _ type: RecordType, class recordClass: RecordClass = .internet) {
    self.name = name
    self.type = type
    self.recordClass = recordClass
  }
}

extension Question: CustomStringConvertible {
  public var description: String { "\(name) \(type)" }
}

/// Why bytes are no DNS message.
public enum MessageError: Error, Hashable, Sendable {
  /// Shorter than the header.
  case shorterThanHeader
  case tooLong
  case badName
  case badQuestion
  /// A record that ends beyond the message, or whose data breaks its type's format.
  case badRecord
  case tooManyRecords
  /// RFC 6891 §6.1.1: a second OPT, one outside the additional section, or one not named by the root.
  case badOPT
  case trailingBytes
}

extension Message {
  /// Parses one whole message.
  ///
  /// A message with TC set may break off inside its records; what came before is kept.
  public init(_ bytes: UnsafeRawBufferPointer) throws(MessageError) {
    guard bytes.count >= Header.length else { throw .shorterThanHeader }
    guard bytes.count <= Self.maximumLength else { throw .tooLong }
    func word(_ index: Int) -> UInt16 { UInt16(bytes[index * 2]) << 8 | UInt16(bytes[index * 2 + 1]) }
    header = Header(id: word(0), flags: word(1))
    let counts = (questions: Int(word(2)), answers: Int(word(3)), authorities: Int(word(4)), additionals: Int(word(5)))
    guard counts.answers + counts.authorities + counts.additionals <= Self.maximumRecords else {
      throw .tooManyRecords
    }
    var offset = Header.length
    // A query has one question (RFC 9619); none is legal in some responses.
    guard counts.questions <= 1 else { throw .badQuestion }
    for _ in 0..<counts.questions { questions.append(try Self.question(in: bytes, at: &offset)) }
    do throws(MessageError) {
      for _ in 0..<counts.answers { answers.append(try Self.ordinaryRecord(in: bytes, at: &offset)) }
      for _ in 0..<counts.authorities { authorities.append(try Self.ordinaryRecord(in: bytes, at: &offset)) }
      for _ in 0..<counts.additionals { try takeAdditional(in: bytes, at: &offset) }
      guard offset == bytes.count else { throw .trailingBytes }
    } catch {
      guard header.isTruncated, error != .trailingBytes else { throw error }
    }
  }

  public init(_ bytes: [UInt8]) throws(MessageError) {
    // withUnsafeBytes does not carry a typed error out.
    self = try bytes.withUnsafeBytes { bytes in
      Result { () throws(MessageError) in try Message(bytes) }
    }.get()
  }

  private static func question(in bytes: UnsafeRawBufferPointer, at offset: inout Int) throws(MessageError) -> Question
  {
    guard let name = DNSName(in: bytes, at: &offset, end: bytes.count) else { throw .badName }
    var reader = ByteReader(UnsafeRawBufferPointer(rebasing: bytes[offset...]))
    guard let type = reader.readUInt16(), let recordClass = reader.readUInt16() else { throw .badQuestion }
    offset += reader.offset
    return Question(name, RecordType(rawValue: type), class: RecordClass(rawValue: recordClass))
  }

  /// The fixed fields of a record, its data still in place.
  private struct RawRecord {
    var name: DNSName
    var type: RecordType
    var recordClass: UInt16
    var ttl: UInt32
    var data: Range<Int>
  }

  private static func rawRecord(
    in bytes: UnsafeRawBufferPointer, at offset: inout Int
  ) throws(MessageError) -> RawRecord {
    guard let name = DNSName(in: bytes, at: &offset, end: bytes.count) else { throw .badName }
    var reader = ByteReader(UnsafeRawBufferPointer(rebasing: bytes[offset...]))
    guard let type = reader.readUInt16(), let recordClass = reader.readUInt16(), let ttl = reader.readUInt32(),
      let length = reader.readUInt16(), reader.remaining >= Int(length)
    else { throw .badRecord }
    let start = offset + reader.offset
    offset = start + Int(length)
    return RawRecord(
      name: name, type: RecordType(rawValue: type), recordClass: recordClass, ttl: ttl, data: start..<offset)
  }

  private static func record(_ raw: RawRecord, in bytes: UnsafeRawBufferPointer) throws(MessageError) -> Record {
    guard let data = RecordData(raw.type, in: bytes, at: raw.data) else { throw .badRecord }
    // RFC 2181 §8: a TTL with its top bit set counts as zero.
    let ttl = raw.ttl > UInt32(Int32.max) ? 0 : raw.ttl
    return Record(raw.name, class: RecordClass(rawValue: raw.recordClass), ttl: ttl, data)
  }

  private static func ordinaryRecord(
    in bytes: UnsafeRawBufferPointer, at offset: inout Int
  ) throws(MessageError) -> Record {
    let raw = try rawRecord(in: bytes, at: &offset)
    guard raw.type != .opt else { throw .badOPT }
    return try record(raw, in: bytes)
  }

  private mutating func takeAdditional(
    in bytes: UnsafeRawBufferPointer, at offset: inout Int
  ) throws(MessageError) {
    let raw = try Self.rawRecord(in: bytes, at: &offset)
    guard raw.type == .opt else {
      additionals.append(try Self.record(raw, in: bytes))
      return
    }
    guard edns == nil, raw.name.isRoot else { throw .badOPT }
    var edns = EDNS(udpPayloadSize: raw.recordClass)
    edns.version = UInt8(truncatingIfNeeded: raw.ttl >> 16)
    edns.dnssecOK = raw.ttl & 0x8000 != 0
    var reader = ByteReader(UnsafeRawBufferPointer(rebasing: bytes[raw.data]))
    while !reader.isAtEnd {
      guard let code = reader.readUInt16(), let length = reader.readUInt16(), let value = reader.readBytes(Int(length))
      else { throw .badOPT }
      edns.options.append(EDNS.Option(code: code, value: Array(value)))
    }
    header.responseCode = ResponseCode(
      rawValue: UInt16(truncatingIfNeeded: raw.ttl >> 24) << 4 | header.responseCode.rawValue)
    self.edns = edns
  }
}

extension Message {
  /// The message's bytes, without name compression; nil when they are more than `limit`, or when a record's
  /// data is longer than its length can say.
  public func serialized(limit: Int = Message.maximumLength) -> [UInt8]? {
    let additionalCount = additionals.count + (edns == nil ? 0 : 1)
    let counts = [questions.count, answers.count, authorities.count, additionalCount]
    guard counts.allSatisfy({ $0 <= UInt16.max }) else { return nil }
    var bytes = bigEndian(header.id) + bigEndian(header.flags) + counts.flatMap { bigEndian(UInt16($0)) }
    for question in questions {
      bytes += question.name.wire + bigEndian(question.type.rawValue) + bigEndian(question.recordClass.rawValue)
    }
    for record in [answers, authorities, additionals].joined() {
      guard
        bytes.appendRecord(
          record.name, record.type, class: record.recordClass.rawValue, ttl: record.ttl, record.data.encoded)
      else { return nil }
    }
    if let edns {
      let ttl =
        UInt32(header.responseCode.rawValue >> 4 & 0xff) << 24 | UInt32(edns.version) << 16
        | (edns.dnssecOK ? 0x8000 : 0)
      let options = edns.options.flatMap {
        bigEndian($0.code) + bigEndian(UInt16(clamping: $0.value.count)) + $0.value.prefix(Int(UInt16.max))
      }
      guard bytes.appendRecord(.root, .opt, class: edns.udpPayloadSize, ttl: ttl, options) else { return nil }
    }
    return bytes.count <= min(limit, Self.maximumLength) ? bytes : nil
  }
}

extension [UInt8] {
  fileprivate mutating func appendRecord(
    _ name: DNSName, _ type: RecordType, class recordClass: UInt16, ttl: UInt32, _ data: [UInt8]
  ) -> Bool {
    guard let length = UInt16(exactly: data.count) else { return false }
    self += name.wire
    self += bigEndian(type.rawValue) + bigEndian(recordClass) + bigEndian(ttl) + bigEndian(length)
    self += data
    return true
  }
}

/// An integer's octets in network order.
func bigEndian<T: FixedWidthInteger>(_ value: T) -> [UInt8] { withUnsafeBytes(of: value.bigEndian) { Array($0) } }
