import FuzzDriver
import QUIC
import Wire

@testable import HTTP3

/// What comes in streams is cut into pieces of as many bytes as an input's first byte says; 0 is all at once.
@main enum FuzzHTTP3 {
  static func main() {
    runFuzzer([
      "server-request": { fuzzRequest($0, .server) }, "client-response": { fuzzRequest($0, .client) },
      "control-streams": fuzzUnidirectional, "field-sections": fuzzFieldSection, "huffman": fuzzHuffman,
      "capsules": fuzzCapsules, "qpack-decoder": fuzzQPACKDecoder, "qpack-pair": fuzzQPACKPair,
      "priority": fuzzPriority, "targets": fuzzTarget,
    ])
  }
}

extension UnsafeRawBufferPointer {
  /// An input that is cut into pieces, and their size.
  var pieces: (bytes: UnsafeRawBufferPointer, size: Int) {
    let (choice, rest) = choiceAndRest
    return (rest, choice == 0 ? Swift.max(1, rest.count) : Int(choice))
  }
}

/// A transport that has one stream's bytes to give and takes everything.
private struct OneStream: StreamTransport, ~Copyable {
  let role: Role
  let id: StreamID
  var rest: UnsafeRawBufferPointer
  let pieceSize: Int
  var ended = false
  var isOpen = true
  var opened: UInt64 = 0
  var maximumDatagramSize: Int? { 1200 }

  mutating func openStream(_ direction: StreamDirection) -> StreamID? {
    defer { opened += 1 }
    return StreamID(role, direction, sequence: direction == .bidirectional ? 0 : opened)
  }
  mutating func write(_ stream: StreamID, _ bytes: UnsafeRawBufferPointer, finish: Bool) -> Int { bytes.count }
  func writableBytes(_ stream: StreamID) -> Int { 1 << 20 }
  mutating func read(
    _ stream: StreamID, _ body: (_ bytes: UnsafeRawBufferPointer, _ finished: Bool) -> Int
  ) -> StreamRead {
    guard stream == id, !ended else { return .ended }
    let count = min(rest.count, pieceSize)
    let isLast = count == rest.count
    let consumed = body(UnsafeRawBufferPointer(rebasing: rest[..<count]), isLast)
    precondition(consumed >= 0 && consumed <= count)
    rest = UnsafeRawBufferPointer(rebasing: rest[consumed...])
    if isLast && consumed == count {
      ended = true
      return .ended
    }
    return consumed == 0 ? .blocked : .progressed
  }
  mutating func setPriority(_ stream: StreamID, _ priority: StreamPriority) {}
  mutating func reset(_ stream: StreamID, code: UInt64) {}
  mutating func stopReading(_ stream: StreamID, code: UInt64) { if stream == id { ended = true } }
  mutating func sendDatagram(_ header: UnsafeRawBufferPointer, _ payload: UnsafeRawBufferPointer) -> Bool { true }
  mutating func readDatagram(_ body: (UnsafeRawBufferPointer) -> Void) -> Bool { false }
  mutating func close(code: UInt64, reason: String) { isOpen = false }
}

@Sendable private func fuzzRequest(_ input: UnsafeRawBufferPointer, _ role: Role) {
  let (input, pieceSize) = input.pieces
  let id = StreamID(.client, .bidirectional, sequence: 0)
  var transport = OneStream(role: role, id: id, rest: input, pieceSize: pieceSize)
  var http = Connection(role: role)
  http.start(on: &transport)
  if role == .client {
    let request: HeaderList = [":method": "GET", ":scheme": "https", ":authority": "a", ":path": "/"]
    _ = try? http.sendRequest(request, finish: true, on: &transport)
  } else {
    http.handle(.streamOpened(id), on: &transport)
  }
  http.handle(.streamReadable(id), on: &transport)
  var total = 0
  while true {
    let outcome = http.readData(id, on: &transport) { bytes, _ in
      total += bytes.count
      return bytes.count
    }
    guard case .progressed = outcome else { break }
  }
  precondition(total <= input.count)
  while http.nextEvent() != nil {}
}

@Sendable private func fuzzUnidirectional(_ input: UnsafeRawBufferPointer) {
  let (input, pieceSize) = input.pieces
  let id = StreamID(.client, .unidirectional, sequence: 0)
  var transport = OneStream(role: .server, id: id, rest: input, pieceSize: pieceSize)
  var http = Connection(role: .server)
  http.start(on: &transport)
  http.handle(.streamOpened(id), on: &transport)
  http.handle(.streamReadable(id), on: &transport)
  while http.nextEvent() != nil {}
}

/// What decodes must, encoded again, decode to itself.
@Sendable private func fuzzFieldSection(_ input: UnsafeRawBufferPointer) {
  let decoder = FieldSectionDecoder(maximumSize: 65536)
  guard let list = try? decoder.decode(input).list else { return }
  var coded: [UInt8] = []
  FieldSectionEncoder.encode(list, to: &coded)
  // U+FFFD, which stands for bytes that are not UTF-8, is longer than they were.
  let again = coded.withUnsafeBytes { try? FieldSectionDecoder(maximumSize: 1 << 20).decode($0).list }
  precondition(again == list)
  _ = try? MessageRules.checkRequest(list, connectProtocol: true)
  _ = try? MessageRules.checkResponse(list)
}

@Sendable private func fuzzHuffman(_ input: UnsafeRawBufferPointer) {
  if let text = Huffman.decode(input, limit: 1 << 20) {
    var coded: [UInt8] = []
    Huffman.encode(text, to: &coded)
    precondition(coded.elementsEqual(input))
  }
  var coded: [UInt8] = []
  Huffman.encode(input, to: &coded)
  let back = coded.withUnsafeBytes { Huffman.decode($0, limit: input.count) }
  precondition(back?.elementsEqual(input) ?? false)
}

@Sendable private func fuzzCapsules(_ input: UnsafeRawBufferPointer) {
  let (input, pieceSize) = input.pieces
  var reader = CapsuleReader(maximumValue: 65528)
  var total = 0
  var rest = input
  while !rest.isEmpty {
    let piece = UnsafeRawBufferPointer(rebasing: rest[..<min(pieceSize, rest.count)])
    reader.read(piece) { _, value in total += value.count }
    rest = UnsafeRawBufferPointer(rebasing: rest[piece.count...])
  }
  precondition(total <= input.count)
  try? reader.finish()
}
