internal import Wire

/// Reads the peer's encoder and decoder streams (RFC 9204 §4.3, §4.4) while our table capacity is zero,
/// when few instructions can be right. Bytes may come in any pieces; nothing is buffered.
struct InstructionReader {
  enum Stream { case encoder, decoder }

  private let stream: Stream
  private var integer: PrefixedInteger.Decoder?
  /// Of the instruction being read: whether any value of its integer would be right.
  private var acceptsAnyValue = false

  init(_ stream: Stream) { self.stream = stream }

  mutating func read(_ bytes: UnsafeRawBufferPointer) throws(ConnectionError) {
    for byte in bytes {
      if integer == nil { integer = try start(byte) } else { integer?.feed(byte) }
      switch integer?.state {
      case .complete(let value):
        integer = nil
        guard acceptsAnyValue || value == 0 else {
          // RFC 9204 §4.3.1: "The decoder MUST treat a new dynamic table capacity value that exceeds this limit
          // as a connection error of type QPACK_ENCODER_STREAM_ERROR."
          throw failure("table capacity \(value) exceeds 0")
        }
      case .overflow: throw failure("integer of more than 62 bits")
      case .incomplete, nil: break
      }
    }
  }

  private mutating func start(_ first: UInt8) throws(ConnectionError) -> PrefixedInteger.Decoder {
    switch stream {
    case .encoder:
      // 001: Set Dynamic Table Capacity. All others insert, and no entry fits a table of capacity zero.
      // RFC 9204 §3.2.2: "the decoder MUST treat this as a connection error of type QPACK_ENCODER_STREAM_ERROR"
      guard first >> 5 == 0b001 else { throw failure("insertion into a table of capacity 0") }
      acceptsAnyValue = false
      return PrefixedInteger.Decoder(first: first, prefix: 5)
    case .decoder:
      // 01: Stream Cancellation, which may name any stream. The other two acknowledge what we never sent.
      // RFC 9204 §4.4.1: "this MUST be treated as a connection error of type QPACK_DECODER_STREAM_ERROR"
      guard first >> 6 == 0b01 else { throw failure("acknowledgment of what was not sent") }
      acceptsAnyValue = true
      return PrefixedInteger.Decoder(first: first, prefix: 6)
    }
  }

  private func failure(_ reason: String) -> ConnectionError {
    ConnectionError(stream == .encoder ? .qpackEncoderStreamError : .qpackDecoderStreamError, reason)
  }
}
