import QUIC
import Testing
import Wire

/// One end of a simulated connection, with an application on it that moves known bytes and checks
/// that what comes is each byte once and in order.
class Peer {
  var connection: Connection
  let role: Role
  let plan: TransferPlan
  /// The connection IDs that this end has issued and not retired, and what its endpoint has not been told of them.
  private(set) var connectionIDs: [ConnectionID] = []
  private var routes: [(ConnectionID, isIssued: Bool)] = []
  private(set) var closeReason: CloseReason?
  private var sending: [StreamID: Int] = [:]
  private(set) var receivedBytes: [StreamID: Int] = [:]
  private(set) var ended = Set<StreamID>()
  private(set) var acknowledged = Set<StreamID>()
  private(set) var datagramsReceived: [UInt64: Int] = [:]
  private(set) var datagramsSent: UInt64 = 0
  private var unopened: Int
  /// The first thing that was not as it must be.
  private(set) var fault: String?
  /// Datagrams leave this end in batches of at most so many.
  let maxSegments: Int
  /// The connection takes streams: the handshake is complete, or early data may be sent (RFC 9001 §4.6, §5.7).
  private(set) var isReady = false
  /// Early data was refused since this was last asked.
  private var hasBeenRefused = false
  private(set) var tokens: [[UInt8]] = []
  /// What it sends is the plan's bytes.
  var checksContent = true
  let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 16, alignment: 16)

  init(_ connection: consuming Connection, plan: TransferPlan, maxSegments: Int) {
    role = connection.role
    self.connection = connection
    self.plan = plan
    self.maxSegments = maxSegments
    unopened = role == .client ? plan.streams : 0
  }

  deinit { buffer.deallocate() }

  /// Everything that this end was to send is acknowledged, and everything it was to receive is there.
  var isDone: Bool { unopened == 0 && acknowledged.count == plan.streams && ended.count == plan.streams }

  /// Lets the application act on what happened.
  func run() {
    while let event = connection.nextEvent() {
      if closeReason != nil { note("event after the last: \(event)") }
      handle(event)
    }
    guard isReady, closeReason == nil else { return }
    act()
  }

  /// What the application does of itself.
  func act() {
    openStreams()
    for stream in sending.keys.sorted() { push(stream) }
    sendDatagrams()
  }

  func takeRoutes() -> [(ConnectionID, isIssued: Bool)] {
    defer { routes.removeAll(keepingCapacity: true) }
    return routes
  }

  /// RFC 9001 §4.6.2: whatever was begun in early data is to be begun again.
  func startOver() {
    isReady = false
    hasBeenRefused = true
    unopened = plan.streams
    sending = [:]
    receivedBytes = [:]
    ended = []
    acknowledged = []
    datagramsSent = 0
  }

  func takeRefusal() -> Bool {
    defer { hasBeenRefused = false }
    return hasBeenRefused
  }

  func note(_ text: String) { if fault == nil { fault = "\(role): \(text)" } }

  func handle(_ event: Event) {
    switch event {
    case .closed(let reason): closeReason = reason
    case .earlyDataReady, .handshakeCompleted: isReady = true
    case .earlyDataRejected: startOver()
    case .tokenReceived(let token): tokens.append(token)
    case .connectionIDIssued(let id):
      connectionIDs.append(id)
      routes.append((id, true))
    case .connectionIDRetired(let id):
      connectionIDs.removeAll { $0 == id }
      routes.append((id, false))
    default: streamEvent(event)
    }
  }

  /// What became of the application's data.
  func streamEvent(_ event: Event) {
    switch event {
    case .streamOpened(let stream):
      if receivedBytes[stream] != nil { note("opened twice: \(stream)") }
      receivedBytes[stream] = receivedBytes[stream] ?? 0
      sending[stream] = 0
    case .streamReadable(let stream): pull(stream)
    case .streamFinished(let stream):
      if !acknowledged.insert(stream).inserted { note("finished twice: \(stream)") }
      if sending[stream] != nil { note("finished before everything was written: \(stream)") }
    case .datagramsReceived: readDatagrams()
    case .streamReset, .streamStopped: note("\(event)")
    default: break
    }
  }

  private func openStreams() {
    while unopened > 0, let stream = connection.openStream(.bidirectional) {
      unopened -= 1
      sending[stream] = 0
      receivedBytes[stream] = 0
    }
  }

  private func push(_ stream: StreamID) {
    guard var offset = sending[stream] else { return }
    while true {
      let count = min(plan.bytes - offset, 16_384)
      let isLast = offset + count == plan.bytes
      let taken = TransferPlan.withBytes(at: offset, count, of: stream, from: role) {
        connection.write(stream, $0, finish: isLast)
      }
      if taken < 0 || taken > count { note("write took \(taken) of \(count)") }
      offset += taken
      if taken == count, isLast {
        sending[stream] = nil
        return
      }
      if taken < count { break }
    }
    sending[stream] = offset
  }

  private func pull(_ stream: StreamID) {
    while true {
      let outcome = connection.read(stream) { [self] bytes, finished in
        let offset = receivedBytes[stream] ?? 0
        if !TransferPlan.matches(bytes, at: offset, of: stream, from: role.peer) {
          note("wrong bytes at \(offset) of stream \(stream)")
        }
        receivedBytes[stream] = offset + bytes.count
        if finished, offset + bytes.count != plan.bytes { note("stream \(stream) ended at \(offset + bytes.count)") }
        return bytes.count
      }
      switch outcome {
      case .progressed: continue
      case .blocked: return
      case .ended:
        if receivedBytes[stream] != plan.bytes { note("stream \(stream) is short") }
        ended.insert(stream)
        return
      }
    }
  }

  private func sendDatagrams() {
    while datagramsSent < plan.datagrams, connection.maximumDatagramSize ?? 0 > 200 {
      let header = withUnsafeBytes(of: datagramsSent.bigEndian) { [UInt8]($0) }
      let payload = [UInt8](repeating: UInt8(truncatingIfNeeded: datagramsSent), count: Int(datagramsSent % 100))
      let isQueued = header.withUnsafeBytes { header in
        payload.withUnsafeBytes { payload in connection.sendDatagram(header, payload) }
      }
      if !isQueued { return note("datagram refused") }
      datagramsSent += 1
    }
  }

  private func readDatagrams() {
    while connection.readDatagram({ [self] bytes in
      guard bytes.count >= 8 else { return note("short datagram") }
      let number = UInt64(bigEndian: bytes.loadUnaligned(as: UInt64.self))
      datagramsReceived[number, default: 0] += 1
      let isIntact =
        bytes.count == 8 + Int(number % 100) && bytes[8...].allSatisfy { $0 == UInt8(truncatingIfNeeded: number) }
      if !isIntact || number >= plan.datagrams { note("wrong datagram") }
      if datagramsReceived[number]! > 1 { note("datagram \(number) came twice") }
    }) {}
  }
}
