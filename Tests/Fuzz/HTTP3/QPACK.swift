import FuzzDriver
import QUIC
import Wire

@testable import HTTP3

/// An encoder stream and then a field section, both of an attacker's. The first byte says how long the stream is.
@Sendable func fuzzQPACKDecoder(_ input: UnsafeRawBufferPointer) {
  let (input, pieceSize) = input.pieces
  guard let first = input.first else { return }
  let rest = UnsafeRawBufferPointer(rebasing: input.dropFirst())
  let length = min(Int(first) * 4, rest.count)
  var decoder = QPACKDecoder(maximumCapacity: 4096, maximumBlockedStreams: 2)
  var stream = UnsafeRawBufferPointer(rebasing: rest[..<length])
  while !stream.isEmpty {
    let piece = UnsafeRawBufferPointer(rebasing: stream[..<min(pieceSize, stream.count)])
    do { try decoder.readInstructions(piece) } catch { return }
    precondition(decoder.table.size <= decoder.table.capacity && decoder.table.capacity <= 4096)
    stream = UnsafeRawBufferPointer(rebasing: stream[piece.count...])
  }
  decoder.acknowledgeInsertions()
  let section = UnsafeRawBufferPointer(rebasing: rest[length...])
  if let decoded = try? decoder.sectionDecoder(maximumSize: 65_536).decode(section) {
    precondition(decoded.requiredInsertCount <= decoder.table.insertCount)
    decoder.processed(StreamID(.client, .bidirectional, sequence: 0), requiredInsertCount: decoded.requiredInsertCount)
  }
}

/// Our encoder against our decoder, in an order of the input's choosing: what is decoded is what was encoded, and
/// neither ever finds fault with the other.
@Sendable func fuzzQPACKPair(_ input: UnsafeRawBufferPointer) {
  guard input.count >= 2 else { return }
  let capacity = Int(input[0]) * 16
  var settings = Settings()
  settings.qpackMaximumTableCapacity = UInt64(capacity)
  settings.qpackBlockedStreams = UInt64(input[1] & 7)
  var encoder = QPACKEncoder()
  encoder.apply(settings)
  var decoder = QPACKDecoder(maximumCapacity: capacity, maximumBlockedStreams: Int(input[1] & 7))
  var instructions: [UInt8] = []
  var delivered = 0
  var sections: [(stream: StreamID, bytes: [UInt8], list: HeaderList)] = []
  var sequence: UInt64 = 0

  for operation in input[2...] {
    let detail = operation >> 3
    switch operation & 7 {
    case 0, 1, 2:
      let list = fields(detail)
      let stream = StreamID(.client, .bidirectional, sequence: sequence)
      sequence += 1
      var bytes: [UInt8] = []
      encoder.encode(list, on: stream, mayInsert: operation & 7 != 2, to: &bytes, instructions: &instructions)
      sections.append((stream, bytes, list))
    case 3, 4:
      let end = min(instructions.count, delivered + (operation & 7 == 3 ? Int(detail) : 1 << 16))
      instructions[delivered..<end].withUnsafeBytes { bytes in
        do { try decoder.readInstructions(bytes) } catch {
          fatalError("the encoder's instruction is refused: \(error)")
        }
      }
      delivered = end
    case 5:
      guard !sections.isEmpty else { continue }
      let section = sections.remove(at: Int(detail) % sections.count)
      do {
        let decoded = try section.bytes.withUnsafeBytes { try decoder.sectionDecoder(maximumSize: 1 << 20).decode($0) }
        precondition(decoded.list == section.list, "a section decodes to another")
        decoder.processed(section.stream, requiredInsertCount: decoded.requiredInsertCount)
      } catch FieldSectionDecoder.Failure.blocked(_) {
        sections.append(section)
      } catch { fatalError("the encoder's section is refused: \(error)") }
    case 6: decoder.acknowledgeInsertions()
    default:
      guard !sections.isEmpty, detail > 28 else { break }
      decoder.abandoned(sections.removeLast().stream)
    }
    decoder.unsent.withUnsafeBytes { bytes in
      do { try encoder.readInstructions(bytes) } catch { fatalError("the decoder's instruction is refused: \(error)") }
    }
    decoder.unsent = []
    precondition(encoder.blockedStreams <= Int(input[1] & 7), "more streams may be blocked than the peer allows")
  }
}

/// One of a few lists, so that fields come again.
private func fields(_ choice: UInt8) -> HeaderList {
  var list: HeaderList = [":method": "GET", ":scheme": "https", ":path": "/\(choice)"]
  list.append("x-a\(choice & 3)", String(repeating: "v", count: Int(choice) * 5))
  if choice & 4 != 0 { list.append("user-agent", "one of \(choice & 1)") }
  if choice & 8 != 0 { list.append("authorization", "Bearer \(choice)") }
  return list
}
