internal import QUIC

/// What a decoder says on its stream (RFC 9204 §4.4).
enum DecoderInstruction: Equatable {
  case sectionAcknowledgment(StreamID)
  case streamCancellation(StreamID)
  case insertCountIncrement(UInt64)

  func encode(to output: inout [UInt8]) {
    switch self {
    case .sectionAcknowledgment(let id): PrefixedInteger.encode(id.rawValue, prefix: 7, flags: 0x80, to: &output)
    case .streamCancellation(let id): PrefixedInteger.encode(id.rawValue, prefix: 6, flags: 0x40, to: &output)
    case .insertCountIncrement(let count): PrefixedInteger.encode(count, prefix: 6, flags: 0, to: &output)
    }
  }

  /// Reads a decoder stream whose bytes come in any pieces; nothing is buffered.
  struct Reader {
    private var integer: PrefixedInteger.Decoder?
    private var first: UInt8 = 0

    enum Progress: Equatable {
      case incomplete
      case instruction(DecoderInstruction)
      /// An integer of more than 62 bits.
      case overflow
    }

    mutating func feed(_ byte: UInt8) -> Progress {
      if integer == nil {
        first = byte
        integer = PrefixedInteger.Decoder(first: byte, prefix: byte & 0x80 != 0 ? 7 : 6)
      } else {
        integer?.feed(byte)
      }
      switch integer?.state {
      case .complete(let value):
        integer = nil
        if first & 0x80 != 0 { return .instruction(.sectionAcknowledgment(StreamID(rawValue: value))) }
        return .instruction(
          first & 0x40 != 0 ? .streamCancellation(StreamID(rawValue: value)) : .insertCountIncrement(value))
      case .overflow: return .overflow
      case .incomplete, nil: return .incomplete
      }
    }
  }
}
