internal import QUIC
internal import Wire

/// The encoder's side of QPACK: our dynamic table at the peer, and which of its entries are still in use there
/// (RFC 9204 §2.1).
///
/// The policy is simple. A field line that may come again is inserted when there is room that nobody uses. An entry
/// whose insertion is not acknowledged is referred to only while the peer allows one more stream to be blocked over
/// it; otherwise the line goes as a literal.
struct QPACKEncoder {
  private(set) var table = DynamicTable()
  /// RFC 9204 §2.1.4.
  private(set) var knownReceivedCount: UInt64 = 0
  private var maximumCapacity: UInt64 = 0
  private var maximumBlockedStreams: UInt64 = 0
  private var reader = DecoderInstruction.Reader()
  /// Sections that refer to the table and were not acknowledged, oldest first.
  private var outstanding: [Outstanding] = []

  private struct Outstanding {
    let stream: StreamID
    let requiredInsertCount: UInt64
    /// The lowest absolute index referred to.
    let lowest: UInt64
  }

  /// We use no more of the peer's memory than this, in bytes.
  private static let capacityLimit: UInt64 = 4096
  /// With this many sections unacknowledged the table is left alone: the peer does not say what it has processed.
  private static let outstandingLimit = 128

  /// Takes what the peer's decoder allows.
  mutating func apply(_ settings: Settings) {
    // RFC 9204 §3.2.3: "the maximum table capacity is 0 until the encoder processes a SETTINGS frame with a non-zero
    // value of SETTINGS_QPACK_MAX_TABLE_CAPACITY." A value remembered for 0-RTT does not change.
    if maximumCapacity == 0 { maximumCapacity = settings.qpackMaximumTableCapacity }
    maximumBlockedStreams = settings.qpackBlockedStreams
  }

  /// Streams that may be blocked at the peer for all we know.
  var blockedStreams: Int {
    var streams: Set<StreamID> = []
    for section in outstanding where section.requiredInsertCount > knownReceivedCount { streams.insert(section.stream) }
    return streams.count
  }

  // MARK: Encoding

  /// Appends the encoded section, and to `instructions` what must go on the encoder stream before it.
  ///
  /// - Parameter mayInsert: The encoder stream can take instructions now.
  mutating func encode(
    _ list: HeaderList, on stream: StreamID, mayInsert: Bool, to section: inout [UInt8],
    instructions: inout [UInt8]
  ) {
    guard maximumCapacity > 0, outstanding.count < Self.outstandingLimit else {
      return FieldSectionEncoder.encode(list, to: &section)
    }
    var draft = Draft(mayBlock: mayBlock(stream))
    let lines = list.fields.map { line($0, mayInsert, &draft, &instructions) }
    guard draft.requiredInsertCount > 0 else { return FieldSectionEncoder.encode(list, to: &section) }
    outstanding.append(
      Outstanding(stream: stream, requiredInsertCount: draft.requiredInsertCount, lowest: draft.lowest))
    let fullRange = 2 * (maximumCapacity / 32)
    PrefixedInteger.encode(draft.requiredInsertCount % fullRange + 1, prefix: 8, flags: 0, to: &section)
    // All insertions came before, so the Base is never below the Required Insert Count.
    let base = table.insertCount
    PrefixedInteger.encode(base - draft.requiredInsertCount, prefix: 7, flags: 0, to: &section)
    for (field, line) in zip(list.fields, lines) {
      switch line {
      case .withoutTable: FieldSectionEncoder.encode(field, to: &section)
      case .indexed(let index): PrefixedInteger.encode(base - 1 - index, prefix: 6, flags: 0x80, to: &section)
      case .named(let index):
        let flags: UInt8 = field.neverIndexed ? 0b0110_0000 : 0b0100_0000
        PrefixedInteger.encode(base - 1 - index, prefix: 4, flags: flags, to: &section)
        StringLiteral.encode(field.value, prefix: 8, flags: 0, to: &section)
      }
    }
  }

  private enum Line {
    case withoutTable
    /// Absolute indices.
    case indexed(UInt64)
    case named(UInt64)
  }

  /// What the section being encoded refers to.
  private struct Draft {
    let mayBlock: Bool
    var requiredInsertCount: UInt64 = 0
    var lowest = UInt64.max

    mutating func refer(to index: UInt64) {
      requiredInsertCount = max(requiredInsertCount, index + 1)
      lowest = min(lowest, index)
    }
  }

  // RFC 9204 §2.1.2: "An encoder MUST limit the number of streams that could become blocked to the value of
  // SETTINGS_QPACK_BLOCKED_STREAMS at all times."
  private func mayBlock(_ stream: StreamID) -> Bool {
    outstanding.contains { $0.stream == stream && $0.requiredInsertCount > knownReceivedCount }
      || UInt64(blockedStreams) < maximumBlockedStreams
  }

  private mutating func line(
    _ field: Field, _ mayInsert: Bool, _ draft: inout Draft, _ instructions: inout [UInt8]
  ) -> Line {
    let inStatic = StaticTable.match(field.name, field.value)
    if case .line = inStatic, !field.neverIndexed { return .withoutTable }
    let (whole, named) = search(field)
    // RFC 9204 §7.1.3: a field line that must never be indexed goes as a literal everywhere.
    if !field.neverIndexed {
      if let whole {
        guard isUsable(whole, draft) else { return .withoutTable }
        draft.refer(to: whole)
        return .indexed(whole)
      }
      if mayInsert, Self.mayComeAgain(field), insert(field, inStatic, named, draft, &instructions) {
        let index = table.insertCount - 1
        guard isUsable(index, draft) else { return .withoutTable }
        draft.refer(to: index)
        return .indexed(index)
      }
    }
    guard case .none = inStatic, let named, isUsable(named, draft) else { return .withoutTable }
    draft.refer(to: named)
    return .named(named)
  }

  private func isUsable(_ index: UInt64, _ draft: Draft) -> Bool { index < knownReceivedCount || draft.mayBlock }

  /// The newest entries that equal `field`, or share its name.
  private func search(_ field: Field) -> (whole: UInt64?, named: UInt64?) {
    var named: UInt64?
    var index = table.insertCount
    while index > table.dropCount {
      index -= 1
      guard let entry = table.entry(at: index), entry.name == field.name else { continue }
      if entry.value == field.value { return (index, index) }
      named = named ?? index
    }
    return (nil, named)
  }

  /// Fields whose values differ from message to message would only push out others.
  private static func mayComeAgain(_ field: Field) -> Bool {
    switch field.name {
    case ":path", "age", "content-length", "content-range", "date", "etag", "expires", "if-modified-since",
      "if-none-match", "last-modified", "location", "range":
      false
    default: field.size <= Int(capacityLimit) / 4
    }
  }

  private mutating func insert(
    _ field: Field, _ inStatic: StaticTable.Match, _ named: UInt64?, _ draft: Draft, _ instructions: inout [UInt8]
  ) -> Bool {
    if table.capacity == 0 {
      table.setCapacity(Int(min(maximumCapacity, Self.capacityLimit)))
      EncoderInstruction.encodeCapacity(table.capacity, to: &instructions)
    }
    let entry = DynamicTable.Entry(field)
    // RFC 9204 §3.2.2: "The encoder MUST NOT cause a dynamic table entry to be evicted unless that entry is evictable"
    guard let dropCount = table.dropCount(afterInserting: entry.size),
      dropCount == table.dropCount || dropCount <= firstInUse(draft)
    else { return false }
    if case .name(let index) = inStatic {
      EncoderInstruction.encodeInsertion(staticName: index, field.value, to: &instructions)
    } else if let named {
      EncoderInstruction.encodeInsertion(dynamicName: table.insertCount - 1 - named, field.value, to: &instructions)
    } else {
      EncoderInstruction.encodeInsertion(field.name, field.value, to: &instructions)
    }
    return table.insert(entry)
  }

  /// The lowest absolute index that must stay: referred to by a section not acknowledged, or itself not acknowledged.
  private func firstInUse(_ draft: Draft) -> UInt64 {
    outstanding.reduce(min(knownReceivedCount, draft.lowest)) { min($0, $1.lowest) }
  }

  // MARK: The decoder stream

  /// Takes in the next bytes of the peer's decoder stream.
  mutating func readInstructions(_ bytes: UnsafeRawBufferPointer) throws(ConnectionError) {
    for byte in bytes {
      switch reader.feed(byte) {
      case .incomplete: break
      case .overflow: throw Self.failure("integer of more than 62 bits")
      case .instruction(let instruction): try apply(instruction)
      }
    }
  }

  private mutating func apply(_ instruction: DecoderInstruction) throws(ConnectionError) {
    switch instruction {
    case .sectionAcknowledgment(let stream):
      // RFC 9204 §4.4.1: "a stream on which every encoded field section with a non-zero Required Insert Count has
      // already been acknowledged, this MUST be treated as a connection error of type QPACK_DECODER_STREAM_ERROR."
      guard let index = outstanding.firstIndex(where: { $0.stream == stream }) else {
        throw Self.failure("acknowledgment of a section that was not sent")
      }
      knownReceivedCount = max(knownReceivedCount, outstanding.remove(at: index).requiredInsertCount)
    case .streamCancellation(let stream): outstanding.removeAll { $0.stream == stream }
    case .insertCountIncrement(let increment):
      // RFC 9204 §4.4.3: "An encoder that receives an Increment field equal to zero, or one that increases the Known
      // Received Count beyond what the encoder has sent, MUST treat this as a connection error of type
      // QPACK_DECODER_STREAM_ERROR."
      guard increment > 0, increment <= table.insertCount - knownReceivedCount else {
        throw Self.failure("increment of \(increment)")
      }
      knownReceivedCount += increment
    }
  }

  private static func failure(_ reason: String) -> ConnectionError {
    ConnectionError(.qpackDecoderStreamError, reason)
  }
}
