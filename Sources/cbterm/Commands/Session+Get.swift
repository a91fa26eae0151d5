import CBClient
import Foundation

extension Session {
  private struct GetResult: Encodable, Sendable {
    var status: Int
    var reason: String
    var fields: [GetResponse.Field]
    var bytes: Int
    var file: String?
    /// The body where it is UTF-8.
    var text: String?
    /// The body where it is not.
    var base64: String?
  }

  /// A body inside a JSON document is held in memory; larger ones want `-o`.
  private static let maximumJSONBody = 16 * 1024 * 1024

  func get(_ url: String, output: String?, headOnly: Bool, json: Bool) async throws(ClientError) -> Answer {
    let engine = try currentEngine()
    if await engine.status().state == .disconnected {
      screen.progress("Connecting to the nearest PoP")
      _ = try await engine.connect(pop: nil)
    }
    screen.progress("Fetching \(url)")
    let response = try await engine.get(GetRequest(url: url, headOnly: headOnly))
    let head = response.head
    var result = GetResult(status: head.status, reason: head.reason, fields: head.fields, bytes: 0)
    if headOnly {
      return Answer(result) { GetRendering.head(head, $0) }
    }
    if let output {
      result.bytes = try await save(response, to: output, url: url)
      result.file = output
      let saved = result
      return Answer(result) { format in
        ["\(GetRendering.status(head, format)), \(Quantity.bytes(UInt64(saved.bytes))) in \(output.printable)"]
      }
    }
    if json {
      let body = try await collect(response)
      result.bytes = body.count
      result.text = String(validating: body, as: UTF8.self)
      if result.text == nil { result.base64 = Data(body).base64EncodedString() }
      return Answer(result)
    }
    screen.progress(nil)
    if head.status >= 400 { screen.note(GetRendering.status(head, screen.noteFormat)) }
    try await show(response)
    return Answer()
  }

  private func collect(_ response: GetResponse) async throws(ClientError) -> [UInt8] {
    var body: [UInt8] = []
    while let chunk = try await response.nextChunk() {
      body += chunk
      guard body.count <= Self.maximumJSONBody else {
        throw ClientError(.failure, "the body is larger than 16 MiB", hint: "write it to a file: get URL -o FILE")
      }
    }
    return body
  }

  /// Passes the body on as it comes. A terminal gets text alone.
  private func show(_ response: GetResponse) async throws(ClientError) {
    let isTerminal = screen.format.width != nil
    var last: UInt8 = 0x0a
    while let chunk = try await response.nextChunk() {
      guard !chunk.isEmpty else { continue }
      if isTerminal, chunk.contains(0) {
        throw ClientError(
          .failure, "the body is not text, and could upset the terminal", hint: "write it to a file: get URL -o FILE")
      }
      await screen.body(isTerminal ? Self.harmless(chunk) : chunk)
      last = chunk[chunk.count - 1]
    }
    if isTerminal, last != 0x0a { screen.out("\n") }
  }

  /// Escape and other control characters as `?`, so that a page cannot steer the terminal.
  static func harmless(_ bytes: [UInt8]) -> [UInt8] {
    bytes.map { byte in
      switch byte {
      case 0x09, 0x0a, 0x0d, 0x20..<0x7f, 0x80...: byte
      default: 0x3f
      }
    }
  }

  /// Writes beside the target and renames, so that a transfer that breaks leaves no half file under its name.
  private func save(_ response: GetResponse, to path: String, url: String) async throws(ClientError) -> Int {
    let partial = path + ".part"
    guard FileManager.default.createFile(atPath: partial, contents: nil),
      let file = FileHandle(forWritingAtPath: partial)
    else {
      throw ClientError(.failure, "cannot write \(partial): \(String(cString: strerror(errno)))")
    }
    var isComplete = false
    defer { if !isComplete { try? FileManager.default.removeItem(atPath: partial) } }
    let length = response.head.fields.first { $0.name.lowercased() == "content-length" }.flatMap { UInt64($0.value) }
    var count = 0
    var shown = ContinuousClock.now
    while let chunk = try await response.nextChunk() {
      do { try file.write(contentsOf: chunk) } catch {
        throw ClientError(.failure, "cannot write \(partial): \(error.localizedDescription)")
      }
      count += chunk.count
      if ContinuousClock.now - shown > .milliseconds(500) {
        shown = .now
        let total = length.map { " of \(Quantity.bytes($0))" } ?? ""
        screen.progress("Fetching \(url): \(Quantity.bytes(UInt64(count)))\(total)")
      }
    }
    do { try file.close() } catch {
      throw ClientError(.failure, "cannot write \(partial): \(error.localizedDescription)")
    }
    guard rename(partial, path) == 0 else {
      throw ClientError(.failure, "cannot write \(path): \(String(cString: strerror(errno)))")
    }
    isComplete = true
    return count
  }
}
