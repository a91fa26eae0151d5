internal import QUIC
internal import Wire

/// The decoder's side of QPACK: the peer's dynamic table, the streams that wait for it, and what the peer's encoder
/// is to be told (RFC 9204 §2.2).
///
/// Memory is bounded by what our SETTINGS allow: the table's capacity, an instruction that fits it, and one number for
/// each stream that may be blocked. The field sections of blocked streams stay with the transport.
struct QPACKDecoder {
  private(set) var table = DynamicTable()
  /// SETTINGS_QPACK_MAX_TABLE_CAPACITY and SETTINGS_QPACK_BLOCKED_STREAMS as we announced them.
  let maximumCapacity: Int
  let maximumBlockedStreams: Int
  /// Instructions for the decoder stream that were not taken yet.
  var unsent: [UInt8] = []
  /// The part of an encoder instruction that has come.
  private var partial: [UInt8] = []
  private var blocked: [(stream: StreamID, requiredInsertCount: UInt64)] = []
  /// RFC 9204 §2.1.4: what the peer's encoder knows, or will, of our Insert Count.
  private var knownReceivedCount: UInt64 = 0

  init(maximumCapacity: Int, maximumBlockedStreams: Int) {
    self.maximumCapacity = maximumCapacity
    self.maximumBlockedStreams = maximumBlockedStreams
  }

  func sectionDecoder(maximumSize: Int) -> FieldSectionDecoder {
    FieldSectionDecoder(maximumSize: maximumSize, maximumCapacity: maximumCapacity, table: table)
  }

  // MARK: The encoder stream

  /// Takes in the next bytes of the peer's encoder stream.
  mutating func readInstructions(_ bytes: UnsafeRawBufferPointer) throws(ConnectionError) {
    if partial.isEmpty {
      let consumed = try apply(bytes)
      partial.append(contentsOf: bytes[consumed...])
      return
    }
    var whole = partial
    partial = []
    whole.append(contentsOf: bytes)
    let result = whole.withUnsafeBytes { buffer -> Result<Int, ConnectionError> in
      do throws(ConnectionError) { return .success(try apply(buffer)) } catch { return .failure(error) }
    }
    whole.removeFirst(try result.get())
    partial = whole
  }

  private mutating func apply(_ bytes: UnsafeRawBufferPointer) throws(ConnectionError) -> Int {
    var reader = ByteReader(bytes)
    var consumed = 0
    while true {
      let instruction: EncoderInstruction?
      do throws(EncoderInstruction.Malformed) {
        // A string of more than this fits no table that we allow.
        instruction = try EncoderInstruction.decode(&reader, limit: max(0, maximumCapacity - 32))
      } catch {
        throw Self.failure("malformed encoder instruction")
      }
      guard let instruction else { return consumed }
      try apply(instruction)
      consumed = reader.offset
    }
  }

  private mutating func apply(_ instruction: EncoderInstruction) throws(ConnectionError) {
    switch instruction {
    case .setCapacity(let capacity):
      // RFC 9204 §4.3.1: "The decoder MUST treat a new dynamic table capacity value that exceeds this limit as a
      // connection error of type QPACK_ENCODER_STREAM_ERROR."
      guard capacity <= UInt64(maximumCapacity) else {
        throw Self.failure("table capacity \(capacity) exceeds \(maximumCapacity)")
      }
      table.setCapacity(Int(capacity))
    case .insertWithStaticName(let index, let value):
      // RFC 9204 §3.1: "this MUST be treated as a connection error of type QPACK_ENCODER_STREAM_ERROR."
      guard let named = StaticTable.entry(index) else { throw Self.failure("static table index \(index)") }
      try insert(named.name, named.name.utf8.count, value)
    case .insertWithDynamicName(let index, let value):
      let named = try existing(index)
      try insert(named.name, named.nameLength, value)
    case .insertWithLiteralName(let name, let value):
      try insert(String(decoding: name, as: UTF8.self), name.count, value)
    case .duplicate(let index): try insert(try existing(index))
    }
  }

  // RFC 9204 §2.2.3: "If the decoder encounters a reference in an encoder instruction to a dynamic table entry that has
  // already been evicted, it MUST treat this as a connection error of type QPACK_ENCODER_STREAM_ERROR."
  private func existing(_ index: UInt64) throws(ConnectionError) -> DynamicTable.Entry {
    guard let entry = table.entry(relative: index) else { throw Self.failure("dynamic table index \(index)") }
    return entry
  }

  private mutating func insert(_ name: String, _ nameLength: Int, _ value: [UInt8]) throws(ConnectionError) {
    let text = String(decoding: value, as: UTF8.self)
    try insert(DynamicTable.Entry(name: name, value: text, nameLength: nameLength, valueLength: value.count))
  }

  private mutating func insert(_ entry: DynamicTable.Entry) throws(ConnectionError) {
    // RFC 9204 §3.2.2: "the decoder MUST treat this as a connection error of type QPACK_ENCODER_STREAM_ERROR."
    guard table.insert(entry) else { throw Self.failure("an entry larger than the table") }
  }

  private static func failure(_ reason: String) -> ConnectionError {
    ConnectionError(.qpackEncoderStreamError, reason)
  }

  // MARK: Blocked streams

  func isBlocked(_ stream: StreamID) -> Bool { blocked.contains { $0.stream == stream } }

  /// Notes that a field section on `stream` needs entries that have not come.
  mutating func block(_ stream: StreamID, until requiredInsertCount: UInt64) throws(ConnectionError) {
    // RFC 9204 §2.1.2: "If a decoder encounters more blocked streams than it promised to support, it MUST treat this as
    // a connection error of type QPACK_DECOMPRESSION_FAILED."
    guard blocked.count < maximumBlockedStreams else {
      throw ConnectionError(.qpackDecompressionFailed, "more than \(maximumBlockedStreams) blocked streams")
    }
    blocked.append((stream, requiredInsertCount))
  }

  /// Takes out the stream that was blocked first among those that are so no longer.
  mutating func nextUnblocked() -> StreamID? {
    blocked.firstIndex { $0.requiredInsertCount <= table.insertCount }.map { blocked.remove(at: $0).stream }
  }

  // MARK: The decoder stream

  // RFC 9204 §2.2.2.1: "After the decoder finishes decoding a field section encoded using representations containing
  // dynamic table references, it MUST emit a Section Acknowledgment instruction"
  mutating func processed(_ stream: StreamID, requiredInsertCount: UInt64) {
    guard requiredInsertCount > 0 else { return }
    DecoderInstruction.sectionAcknowledgment(stream).encode(to: &unsent)
    knownReceivedCount = max(knownReceivedCount, requiredInsertCount)
  }

  // RFC 9204 §2.2.2.2: "when it abandons reading of a stream, it generates a Stream Cancellation instruction"
  mutating func abandoned(_ stream: StreamID) {
    blocked.removeAll { $0.stream == stream }
    guard maximumCapacity > 0 else { return }
    DecoderInstruction.streamCancellation(stream).encode(to: &unsent)
  }

  /// Tells of insertions that no acknowledgment has told of.
  mutating func acknowledgeInsertions() {
    guard table.insertCount > knownReceivedCount else { return }
    DecoderInstruction.insertCountIncrement(table.insertCount - knownReceivedCount).encode(to: &unsent)
    knownReceivedCount = table.insertCount
  }
}
