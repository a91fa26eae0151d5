public import Wire

/// The type of a capsule (RFC 9297 §3.2).
public struct CapsuleType: RawRepresentable, Hashable, Sendable {
  public let rawValue: UInt64
  public init(rawValue: UInt64) { self.rawValue = rawValue }

  /// RFC 9297 §3.5.
  public static let datagram = CapsuleType(rawValue: 0x00)
}

/// Reads a sequence of capsules from a data stream whose pieces arrive one by one (RFC 9297 §3.2).
///
/// A capsule that lies whole in one piece is handed on in place. One that is cut is put together, up to
/// `maximumValue` bytes; a larger one, and one of a type not asked for, is skipped without being kept.
public struct CapsuleReader: Sendable {
  private var cursor = FrameCursor()
  private var value: [UInt8] = []
  private var isKept = false
  private let accepted: [CapsuleType]
  private let maximumValue: Int

  /// Capsules of an accepted type that were too large. Those of other types are not counted.
  public private(set) var oversized: UInt64 = 0

  public init(accepting accepted: [CapsuleType] = [.datagram], maximumValue: Int) {
    self.accepted = accepted
    self.maximumValue = maximumValue
  }

  /// Reads all of `bytes`, and calls `body` for each accepted capsule that they complete.
  public mutating func read(
    _ bytes: UnsafeRawBufferPointer, _ body: (_ type: CapsuleType, _ value: UnsafeRawBufferPointer) -> Void
  ) {
    var reader = ByteReader(bytes)
    while true {
      if !cursor.isInPayload {
        guard cursor.readHeader(&reader) else { return }
        begin()
      }
      guard let piece = reader.readBytes(cursor.payload(of: reader.remaining)) else { return }
      let isWhole = UInt64(piece.count) == cursor.remaining
      let type = CapsuleType(rawValue: cursor.type)
      cursor.advance(piece.count)
      if isKept {
        if isWhole && value.isEmpty {
          body(type, piece)
        } else {
          value.append(contentsOf: piece)
          if isWhole {
            value.withUnsafeBytes { body(type, $0) }
            value.removeAll(keepingCapacity: true)
          }
        }
      }
      if !isWhole { return }
    }
  }

  // RFC 9297 §3.2: "Endpoints which receive a Capsule with an unknown Capsule Type MUST silently drop that Capsule and
  // skip over it to parse the next Capsule."
  private mutating func begin() {
    isKept = accepted.contains(CapsuleType(rawValue: cursor.type))
    if isKept && cursor.remaining > UInt64(maximumValue) {
      // RFC 9297 §3.5: "the implementation SHOULD discard the capsule without buffering its contents into memory."
      isKept = false
      oversized += 1
    }
  }

  /// The data stream has ended. Throws H3_MESSAGE_ERROR if it did so inside a capsule.
  // RFC 9297 §3.3: "the last capsule on the stream was truncated, this MUST be treated as if it were a malformed or
  // incomplete message."
  public func finish() throws(StreamError) {
    guard cursor.isAtBoundary else { throw StreamError(.messageError, "the data stream ends inside a capsule") }
  }
}

/// Writes capsules (RFC 9297 §3.2).
public enum CapsuleWriter {
  /// Bytes of a capsule's type and length, before its value.
  public static func headerLength(_ type: CapsuleType, valueLength: Int) -> Int {
    Varint.length(of: type.rawValue) + Varint.length(of: UInt64(valueLength))
  }

  /// Writes the type and length of a capsule; its value is to follow.
  public static func writeHeader(_ type: CapsuleType, valueLength: Int, to writer: inout ByteWriter) {
    writer.writeVarint(type.rawValue)
    writer.writeVarint(UInt64(max(0, valueLength)))
  }

  /// Writes a DATAGRAM capsule whose HTTP datagram has a Context ID (RFC 9297 §3.5, RFC 9298 §5).
  public static func writeDatagram(
    contextID: UInt64, _ payload: UnsafeRawBufferPointer, to writer: inout ByteWriter
  ) {
    writeHeader(.datagram, valueLength: Varint.length(of: contextID) + payload.count, to: &writer)
    writer.writeVarint(contextID)
    writer.write(payload)
  }
}
