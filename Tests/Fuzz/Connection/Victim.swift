import Wire

@testable import HTTP3
@testable import QUIC

/// A connection under attack, with an application that does what an input says, or with HTTP/3.
final class Victim {
  var connection: QUIC.Connection
  var now: Instant
  /// The last datagrams that it sent, until someone takes them.
  private(set) var sent: [[UInt8]] = []
  private var bytes: [Path: Traffic] = [:]
  private(set) var events = 0
  private var http: HTTP3.Connection?
  private var opened: [StreamID] = []
  private var memory = [UInt8](repeating: 0, count: 16_384)

  init(_ connection: consuming QUIC.Connection, speaksHTTP: Bool, now: Instant) {
    http = speaksHTTP ? HTTP3.Connection(role: connection.role) : nil
    self.connection = connection
    self.now = now
  }

  /// What passed on one path, and whether it was ever validated.
  private struct Traffic {
    var sent = 0
    var received = 0
    var wasValidated = false
  }

  func takeSent() -> [[UInt8]] {
    defer { sent = [] }
    return sent
  }

  func receive(_ datagram: [UInt8], path: Path, ecn: ECN) {
    var datagram = datagram
    bytes[path, default: Traffic()].received += datagram.count
    datagram.withUnsafeMutableBytes { connection.receive($0, path: path, ecn: ecn, now: now) }
    settle()
  }

  func wait(_ time: Interval) {
    now = now + time
    // Many deadlines may lie in between; each is met late, as after a stop of the process.
    if let deadline = connection.deadline, deadline <= now { connection.handleTimeout(now: now) }
    settle()
  }

  /// Drains events and sends, as its owner does after everything that happens.
  func settle() {
    drain()
    for _ in 0..<64 {
      let transmission = memory.withUnsafeMutableBytes { connection.transmit(into: $0, maxSegments: 4, now: now) }
      guard let transmission else { break }
      precondition(transmission.byteCount > 0 && transmission.byteCount <= memory.count, "an empty transmission")
      countSent(transmission)
      sent.append([UInt8](memory[..<min(transmission.segmentSize, transmission.byteCount)]))
      if sent.count > 8 { sent.removeFirst() }
      drain()
    }
    check()
  }

  private func countSent(_ transmission: Transmission) {
    var traffic = bytes[transmission.path, default: Traffic()]
    traffic.sent += transmission.byteCount
    let paths = [connection.active] + connection.others
    if paths.contains(where: { $0.path == transmission.path && $0.isValidated }) { traffic.wasValidated = true }
    // RFC 9000 §8.1: three times what came, until the address is validated.
    let isLimited = connection.role == .server && !traffic.wasValidated
    precondition(!isLimited || traffic.sent <= 3 * traffic.received, "more than three times what was received")
    bytes[transmission.path] = traffic
  }

  private func drain() {
    while let event = connection.nextEvent() {
      events += 1
      if http != nil {
        if connection.isHandshakeComplete { http!.start(on: &connection) }
        http!.handle(event, on: &connection)
        drainHTTP()
      } else if case .streamOpened(let id) = event {
        opened.append(id)
        if opened.count > 64 { opened.removeFirst() }
      }
    }
  }

  private func drainHTTP() {
    while let event = http!.nextEvent() {
      switch event {
      case .requestReceived(let id, _, _):
        _ = try? http!.sendResponse([":status": "200"], to: id, finish: false, on: &connection)
        let body = [UInt8](repeating: 1, count: 300)
        _ = body.withUnsafeBytes { http!.sendData(id, $0, finish: true, on: &connection) }
      case .dataReadable(let id):
        while case .progressed = http!.readData(id, on: &connection, { bytes, _ in bytes.count }) {}
      default: break
      }
    }
  }

  /// What holds at every moment, whatever was received.
  private func check() {
    // The window plus what probes may add to it (RFC 9002 §7.5).
    let recovery = connection.recovery
    precondition(recovery.bytesInFlight <= recovery.controller.congestionWindow + 64 * 1_500, "too much in flight")
    precondition(connection.others.count <= 16, "paths without bound")
    precondition(connection.localIDs.active.count <= 9 && connection.peerIDs.active.count <= 9, "IDs without bound")
    precondition(connection.streams.table.count <= 1_000, "streams without bound")
  }

  /// The application does something: what, `choice` says.
  func act(_ choice: UInt8, _ amount: UInt8) {
    let stream = opened.isEmpty ? StreamID(rawValue: UInt64(amount)) : opened[Int(amount) % opened.count]
    switch choice % 12 {
    case 0: if let id = connection.openStream(.bidirectional) { opened.append(id) }
    case 1: if let id = connection.openStream(.unidirectional) { opened.append(id) }
    case 2, 3:
      let bytes = [UInt8](repeating: amount, count: Int(amount) * 64)
      _ = bytes.withUnsafeBytes { connection.write(stream, $0, finish: choice % 12 == 3) }
    case 4: while case .progressed = connection.read(stream, { bytes, _ in bytes.count }) {}
    case 5: _ = connection.read(stream) { bytes, _ in min(bytes.count, 1) }
    case 6: connection.reset(stream, code: UInt64(amount))
    case 7: connection.stopReading(stream, code: UInt64(amount))
    case 8:
      connection.setPriority(stream, StreamPriority(urgency: amount & 7, isIncremental: amount & 8 != 0))
    case 9:
      let bytes = [UInt8](repeating: amount, count: Int(amount) * 4)
      _ = bytes.withUnsafeBytes { connection.sendDatagram(UnsafeRawBufferPointer(start: nil, count: 0), $0) }
      while connection.readDatagram({ _ in }) {}
    case 10: connection.initiateKeyUpdate()
    default: if amount & 15 == 0 { connection.close(code: UInt64(amount), reason: "enough") }
    }
    settle()
  }

  /// Left alone, it comes to its end by its own deadlines, and none of them is met in vain for ever.
  func end() {
    for _ in 0..<20_000 {
      guard !connection.isDrained else { return }
      guard let deadline = connection.deadline else { break }
      now = max(now, deadline)
      connection.handleTimeout(now: now)
      settle()
    }
    fatalError("a connection that nobody speaks to does not end")
  }
}
