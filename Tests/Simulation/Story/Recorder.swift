import Glibc
import QUIC
import Wire

/// Writes down a run that failed and is run again: a line for each datagram, and each connection's qlog.
final class Recorder: @unchecked Sendable {
  // Proof: a run is one thread's, and so are its connections, which alone ask for sinks.
  private let name: String
  let trace = PacketTrace()
  private var logs: [(role: Role, memory: QLogMemory)] = []

  /// - Parameter name: what the files' names begin with, such as `seed-7`.
  init(name: String) { self.name = name }

  var makeSink: @Sendable (QLogSubject) -> (any QLogSink)? {
    { [self] subject in
      let memory = QLogMemory()
      logs.append((subject.role, memory))
      return memory
    }
  }

  /// Writes the files to SIMULATION_TRACES (`/tmp`), and says which they are. Where an end had several connections,
  /// those after the first are numbered.
  func write() -> String {
    let folder = getenv("SIMULATION_TRACES").map { String(cString: $0) } ?? "/tmp"
    var counts: [Role: Int] = [:]
    var written: [String] = []
    let text = Array((trace.lines.joined(separator: "\n") + "\n").utf8)
    if Self.write(text, to: "\(folder)/\(name).trace") { written.append("\(folder)/\(name).trace") }
    for (role, memory) in logs {
      counts[role, default: 0] += 1
      let number = counts[role]! > 1 ? "-\(counts[role]!)" : ""
      let path = "\(folder)/\(name)-\(role == .client ? "client" : "server")\(number).sqlog"
      if Self.write(memory.bytes, to: path) { written.append(path) }
    }
    return written.isEmpty ? "nothing could be written to \(folder)" : written.joined(separator: " ")
  }

  private static func write(_ bytes: [UInt8], to path: String) -> Bool {
    guard let file = fopen(path, "w") else { return false }
    defer { fclose(file) }
    return fwrite(bytes, 1, bytes.count, file) == bytes.count
  }
}
