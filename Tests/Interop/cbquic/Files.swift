import Foundation
import QUIC

/// The files of one connection: what a client still wants and has stored, what a server hands out.
final class Files {
  private let directory: URL
  /// A client's: names not yet asked for.
  private var waiting: [String]
  private let wanted: Int
  private var names: [StreamID: String] = [:]
  private var received: [StreamID: [UInt8]] = [:]
  private(set) var stored = 0
  private(set) var bytesReceived = 0

  init(in directory: URL, wanted: [String] = []) {
    self.directory = directory
    self.wanted = wanted.count
    waiting = wanted
  }

  /// A client has all that it came for.
  var areComplete: Bool { stored == wanted }
  var next: String? { waiting.first }

  /// The next name was asked for on a stream.
  func asked(on stream: StreamID) {
    names[stream] = waiting.removeFirst()
  }

  /// What was asked for on a stream has to be asked for again.
  func again(_ stream: StreamID) {
    received[stream] = nil
    if let name = names.removeValue(forKey: stream) { waiting.append(name) }
  }

  func againAll() {
    for stream in names.keys.sorted() { again(stream) }
  }

  func receive(_ bytes: UnsafeRawBufferPointer, on stream: StreamID) {
    received[stream, default: []].append(contentsOf: bytes)
    bytesReceived += bytes.count
  }

  /// All that came on a stream.
  func take(_ stream: StreamID) -> [UInt8] { received.removeValue(forKey: stream) ?? [] }

  func store(_ stream: StreamID) {
    let bytes = take(stream)
    guard let name = names.removeValue(forKey: stream) else { return }
    // Not by Foundation, which waits for the disk at each file.
    guard let file = fopen(directory.appendingPathComponent(name).path, "wb") else { return }
    defer { fclose(file) }
    if fwrite(bytes, 1, bytes.count, file) == bytes.count { stored += 1 }
  }

  /// A file by the path of a request: one folder, no way out of it.
  func contents(at path: some StringProtocol) -> [UInt8]? {
    path.split(separator: "/").last.flatMap {
      try? Array(Data(contentsOf: directory.appendingPathComponent(String($0))))
    }
  }
}

/// Answers that wait for room.
struct Answers {
  private var bodies: [StreamID: (bytes: [UInt8], offset: Int)] = [:]

  mutating func add(_ bytes: [UInt8], on stream: StreamID) { bodies[stream] = (bytes, 0) }
  mutating func removeAll() { bodies = [:] }

  /// Lets `write` take as much as it can of what is left for a stream; it returns how many bytes it took.
  mutating func send(on stream: StreamID, _ write: (UnsafeRawBufferPointer) -> Int) {
    guard let (bytes, offset) = bodies[stream] else { return }
    let taken = bytes.withUnsafeBytes { write(UnsafeRawBufferPointer(rebasing: $0[offset...])) }
    bodies[stream] = offset + taken < bytes.count ? (bytes, offset + taken) : nil
  }
}
