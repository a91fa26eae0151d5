import Foundation
import QUIC
import QUICTLS
import Wire

/// One connection with HTTP/0.9 on it, as the interop runner has it (ALPN hq-interop): a client sends "GET /name" on a
/// bidirectional stream and ends it, a server answers with the file's bytes and ends the stream.
final class Exchange {
  var connection: Connection
  let tls: TLSHandshake
  let role: Role
  private let directory: URL
  /// A client's: names not yet asked for, and all of them for when early data was in vain.
  private var waiting: [String]
  private let wanted: [String]
  private var names: [StreamID: String] = [:]
  private var received: [StreamID: [UInt8]] = [:]
  private var sending: [StreamID: (bytes: [UInt8], offset: Int)] = [:]
  private(set) var stored = 0
  private(set) var bytesReceived = 0
  private(set) var closeReason: CloseReason?
  private(set) var issued: [ConnectionID] = []
  private(set) var retired: [ConnectionID] = []
  private var mayAsk = false

  init(_ connection: consuming Connection, tls: TLSHandshake, directory: URL, wanted: [String] = []) {
    role = connection.role
    self.connection = connection
    self.tls = tls
    self.directory = directory
    self.wanted = wanted
    waiting = wanted
  }

  /// A client has all that it came for.
  var isComplete: Bool { role == .client && stored == wanted.count }

  func takeRoutes() -> (issued: [ConnectionID], retired: [ConnectionID]) {
    defer { (issued, retired) = ([], []) }
    return (issued, retired)
  }

  /// Lets the application act on what happened.
  func run() {
    while let event = connection.nextEvent() {
      switch event {
      case .earlyDataReady, .handshakeCompleted, .streamsAvailable: mayAsk = true
      case .earlyDataRejected:
        waiting = wanted
        names = [:]
        received = [:]
        sending = [:]
        mayAsk = false
      case .streamReadable(let stream): read(stream)
      case .streamWritable(let stream): write(stream)
      case .closed(let reason): closeReason = reason
      case .connectionIDIssued(let id): issued.append(id)
      case .connectionIDRetired(let id): retired.append(id)
      default: break
      }
    }
    guard role == .client, mayAsk, closeReason == nil else { return }
    while let name = waiting.first, let stream = connection.openStream(.bidirectional) {
      waiting.removeFirst()
      names[stream] = name
      sending[stream] = (Array("GET /\(name)\r\n".utf8), 0)
      write(stream)
    }
  }

  private func read(_ stream: StreamID) {
    while true {
      let outcome = connection.read(stream) { [self] bytes, _ in
        received[stream, default: []].append(contentsOf: bytes)
        bytesReceived += bytes.count
        return bytes.count
      }
      switch outcome {
      case .progressed: continue
      case .blocked: return
      case .ended: return ended(stream)
      }
    }
  }

  private func ended(_ stream: StreamID) {
    let bytes = received.removeValue(forKey: stream) ?? []
    if role == .client {
      guard let name = names.removeValue(forKey: stream) else { return }
      try? Data(bytes).write(to: directory.appendingPathComponent(name))
      stored += 1
    } else {
      let request = String(decoding: bytes, as: UTF8.self).split(whereSeparator: \.isWhitespace)
      // One folder, no way out of it.
      guard request.count >= 2, request[0] == "GET", let name = request[1].split(separator: "/").last,
        let file = try? Data(contentsOf: directory.appendingPathComponent(String(name)))
      else { return connection.reset(stream, code: 1) }
      sending[stream] = (Array(file), 0)
      write(stream)
    }
  }

  private func write(_ stream: StreamID) {
    guard let (bytes, offset) = sending[stream] else { return }
    let taken = bytes.withUnsafeBytes {
      connection.write(stream, UnsafeRawBufferPointer(rebasing: $0[offset...]), finish: true)
    }
    sending[stream] = offset + taken < bytes.count ? (bytes, offset + taken) : nil
  }

  /// What was seen, as one line of JSON.
  func summary(ecn: [Int]) -> String {
    let statistics = connection.statistics
    let early: String =
      switch tls.earlyData {
      case .notOffered: "not offered"
      case .offered: "offered"
      case .accepted: "accepted"
      case .rejected: "rejected"
      }
    let fields: [String: Any] = [
      "role": "\(role)", "complete": connection.isHandshakeComplete, "resumed": connection.isResumed,
      "earlyData": early, "cipher": tls.cipherSuiteName ?? "", "group": tls.keyExchangeGroup ?? "",
      "keyUpdates": statistics.keyUpdates, "migrations": statistics.migrations, "sent": statistics.packetsSent,
      "received": statistics.packetsReceived, "lost": statistics.packetsLost, "dropped": statistics.drops.total,
      "stored": stored, "bytes": bytesReceived, "ecn": ecn, "closed": closeReason.map { "\($0)" } ?? "",
    ]
    guard let data = try? JSONSerialization.data(withJSONObject: fields, options: [.sortedKeys]) else { return "{}" }
    return String(decoding: data, as: UTF8.self)
  }
}
