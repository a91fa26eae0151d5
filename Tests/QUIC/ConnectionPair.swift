import QUIC
import QUICTLS
import Wire

/// What sends and checks stream data in tests: each stream carries a pattern that its offset determines.
struct TestApplication {
  struct Outgoing {
    var sent = 0
    var total: Int
    var finish: Bool
  }
  var outgoing: [StreamID: Outgoing] = [:]
  /// Bytes received and checked, by stream.
  var received: [StreamID: Int] = [:]
  var finished: Set<StreamID> = []
  var corrupt = 0
  var datagrams: [[UInt8]] = []
  var events: [Event] = []
  /// What is sent back on each bidirectional stream that the peer opens.
  var reply: Outgoing?
  /// Reads nothing while set.
  var isPaused = false

  /// A prime number of bytes, so that the pattern never falls in step with frames or chunks.
  private static let pattern: [UInt8] = {
    let entropy = SeededEntropy(seed: 42)
    return entropy.bytes(65_521)
  }()

  private static func position(_ id: StreamID, _ offset: Int) -> Int {
    (offset + Int(id.rawValue) * 131) % pattern.count
  }

  /// The next bytes of a stream's pattern, at most `count`.
  static func withBytes(_ id: StreamID, _ offset: Int, _ count: Int, _ body: (UnsafeRawBufferPointer) -> Int) -> Int {
    let start = position(id, offset)
    return pattern.withUnsafeBytes {
      body(UnsafeRawBufferPointer(rebasing: $0[start..<min(start + count, $0.count)]))
    }
  }

  static func matches(_ id: StreamID, _ offset: Int, _ bytes: UnsafeRawBufferPointer) -> Bool {
    var offset = offset
    var rest = bytes
    while !rest.isEmpty {
      let compared = withBytes(id, offset, rest.count) { $0.elementsEqual(rest[..<$0.count]) ? $0.count : 0 }
      if compared == 0 { return false }
      offset += compared
      rest = UnsafeRawBufferPointer(rebasing: rest[compared...])
    }
    return true
  }

  mutating func drain(_ connection: inout Connection) {
    while let event = connection.nextEvent() {
      events.append(event)
      if case .streamOpened(let id) = event, id.direction == .bidirectional, let reply { outgoing[id] = reply }
      if case .datagramsReceived = event {
        while connection.readDatagram({ datagrams.append([UInt8]($0)) }) {}
      }
      if case .streamReadable(let id) = event, !isPaused { read(id, &connection) }
    }
    for id in outgoing.keys { push(id, &connection) }
  }

  mutating func read(_ id: StreamID, _ connection: inout Connection) {
    while true {
      let outcome = connection.read(id) { bytes, _ in
        let offset = received[id] ?? 0
        if !Self.matches(id, offset, bytes) { corrupt += 1 }
        received[id] = offset + bytes.count
        return bytes.count
      }
      if outcome == .ended { finished.insert(id) }
      if outcome != .progressed { return }
    }
  }

  mutating func push(_ id: StreamID, _ connection: inout Connection) {
    guard var state = outgoing[id], state.sent < state.total || state.finish else { return }
    while true {
      let size = min(16_000, state.total - state.sent)
      var offered = 0
      let taken = Self.withBytes(id, state.sent, size) { bytes in
        offered = bytes.count
        let isLast = state.finish && state.sent + bytes.count == state.total
        return connection.write(id, bytes, finish: isLast)
      }
      state.sent += taken
      if taken < offered { break }
      if state.sent == state.total {
        outgoing[id] = nil
        return
      }
    }
    outgoing[id] = state
  }

  func has(_ event: Event) -> Bool { events.contains(event) }

  var closeReason: CloseReason? {
    for case .closed(let reason) in events { return reason }
    return nil
  }
}

/// A client and a server connection joined by a link in virtual time.
final class ConnectionPair {
  enum End: String { case client, server }

  struct Datagram {
    var from: End
    /// Counted from 0 for each end.
    var index: Int
    var bytes: [UInt8]
    var path: Path
    var ecn: ECN
    var arrival: Instant
  }

  var now: Instant
  var client: Connection
  var server: Connection
  var clientApplication = TestApplication()
  var serverApplication = TestApplication()
  var delay = Interval.milliseconds(10)
  /// Decides about each datagram as it leaves; nil drops it.
  var filter: (Datagram) -> Datagram? = { $0 }
  /// Rewrites the path that the receiver sees.
  var route: (Datagram) -> Path = { $0.path }
  private(set) var inFlight: [Datagram] = []
  private(set) var sent: [End: Int] = [.client: 0, .server: 0]
  private(set) var bytesSent: [End: Int] = [.client: 0, .server: 0]
  /// Every datagram that left, when kept.
  var log: [Datagram] = []
  var keepsLog = false
  var maxSegments = 10
  private var buffer = [UInt8](repeating: 0, count: 65_536)

  static let clientPath = Path(local: SocketAddress("192.0.2.1:40000")!, remote: SocketAddress("198.51.100.1:443")!)

  static func reversed(_ path: Path) -> Path { Path(local: path.remote, remote: path.local) }

  init(
    _ clientConfiguration: Configuration = Configuration(), _ serverConfiguration: Configuration = Configuration(),
    clientTLS: ClientTLSContext? = nil, serverTLS: ServerTLSContext? = nil, serverName: String = "pop.example",
    seed: UInt64 = 1, misstating change: ((inout TransportParameters) -> Void)? = nil,
    clientSession: ((any TLSSession) -> any TLSSession) = { $0 }
  ) throws {
    let clientContext = try clientTLS ?? ConnectionFixture.client()
    let serverContext = try serverTLS ?? ConnectionFixture.server()
    let start = Instant(nanoseconds: 1_000_000_000)
    var initiator = Connection(
      client: clientConfiguration, tls: clientSession(try clientContext.makeSession(serverName: serverName)),
      path: Self.clientPath, now: start, entropy: SeededEntropy(seed: seed))
    var memory = [UInt8](repeating: 0, count: 65_536)
    let first = memory.withUnsafeMutableBytes { initiator.transmit(into: $0, maxSegments: 1, now: start) }!
    let bytes = [UInt8](memory[..<first.byteCount])
    client = initiator
    now = start
    let header = try bytes.withUnsafeBytes { try PacketHeader($0, shortIDLength: 8) }
    let session = serverContext.makeSession()
    server = Connection(
      server: serverConfiguration, tls: change.map { MisstatingTLS(session, $0) } ?? session,
      path: Self.reversed(Self.clientPath),
      initial: InitialRequest(
        destinationID: header.destinationID, sourceID: header.sourceID, version: header.version), now: start,
      entropy: SeededEntropy(seed: seed &+ 1000))
    pendingFirst = (first, bytes)
  }

  private var pendingFirst: (Transmission, [UInt8])?

  private func post(_ end: End, _ transmission: Transmission, _ bytes: [UInt8]) {
    var offset = 0
    while offset < transmission.byteCount {
      let size = min(transmission.segmentSize, transmission.byteCount - offset)
      let datagram = Datagram(
        from: end, index: sent[end]!, bytes: [UInt8](bytes[offset..<offset + size]), path: transmission.path,
        ecn: transmission.ecn, arrival: now + delay)
      sent[end]! += 1
      bytesSent[end]! += size
      offset += size
      if keepsLog { log.append(datagram) }
      if let passed = filter(datagram) { insert(passed) }
    }
  }

  /// Lets the ClientHello's datagrams, which are two, come after the others that leave with them.
  func holdClientHelloBack() {
    filter = {
      var datagram = $0
      if datagram.from == .client, datagram.index < 2 { datagram.arrival = datagram.arrival + .milliseconds(5) }
      return datagram
    }
  }

  func insert(_ datagram: Datagram) {
    var position = inFlight.count
    while position > 0, inFlight[position - 1].arrival > datagram.arrival { position -= 1 }
    inFlight.insert(datagram, at: position)
  }

  /// Lets both ends send and their applications act until neither has anything more at this instant.
  func flush() {
    if let (transmission, bytes) = pendingFirst {
      pendingFirst = nil
      post(.client, transmission, bytes)
    }
    clientApplication.drain(&client)
    serverApplication.drain(&server)
    while let transmission = buffer.withUnsafeMutableBytes({ bytes in
      client.transmit(into: bytes, maxSegments: maxSegments, now: now)
    }) {
      post(.client, transmission, [UInt8](buffer[..<transmission.byteCount]))
    }
    while let transmission = buffer.withUnsafeMutableBytes({ bytes in
      server.transmit(into: bytes, maxSegments: maxSegments, now: now)
    }) {
      post(.server, transmission, [UInt8](buffer[..<transmission.byteCount]))
    }
    clientApplication.drain(&client)
    serverApplication.drain(&server)
  }

  /// One step of virtual time. False when nothing will ever happen again.
  @discardableResult
  func step() -> Bool {
    flush()
    var next = Instant.distantFuture
    if let first = inFlight.first { next = first.arrival }
    if let deadline = client.deadline { next = min(next, deadline) }
    if let deadline = server.deadline { next = min(next, deadline) }
    guard next < .distantFuture else { return false }
    now = max(now, next)
    while let first = inFlight.first, first.arrival <= now {
      inFlight.removeFirst()
      deliver(first)
    }
    if let deadline = client.deadline, deadline <= now { client.handleTimeout(now: now) }
    if let deadline = server.deadline, deadline <= now { server.handleTimeout(now: now) }
    flush()
    return true
  }

  private func deliver(_ datagram: Datagram) {
    var bytes = datagram.bytes
    let path = route(datagram)
    bytes.withUnsafeMutableBytes { bytes in
      if datagram.from == .client {
        server.receive(bytes, path: Self.reversed(path), ecn: datagram.ecn, now: now)
      } else {
        client.receive(bytes, path: Self.reversed(path), ecn: datagram.ecn, now: now)
      }
    }
  }

  /// Steps until `condition` holds. False when it never did within `steps`.
  @discardableResult
  func run(steps: Int = 100_000, until condition: (ConnectionPair) -> Bool) -> Bool {
    flush()
    for _ in 0..<steps {
      if condition(self) { return true }
      guard step() else { return condition(self) }
    }
    return condition(self)
  }

  /// Lets `time` pass.
  func run(for time: Interval) {
    let end = now + time
    run { pair in
      let next = [pair.inFlight.first?.arrival, pair.client.deadline, pair.server.deadline].compactMap { $0 }.min()
      return next.map { $0 > end } ?? true
    }
    now = max(now, end)
  }

  /// Reads something of a connection: `#expect` cannot look into a noncopyable value itself.
  func see<Value>(_ body: (ConnectionPair) -> Value) -> Value { body(self) }

  /// Opens a stream at one end; nil when it may not.
  func open(_ end: End, _ direction: StreamDirection = .bidirectional) -> StreamID? {
    end == .client ? client.openStream(direction) : server.openStream(direction)
  }

  /// Completes the handshake; false when it does not.
  func connect() -> Bool {
    run(steps: 2_000) { $0.client.isHandshakeConfirmed && $0.server.isHandshakeConfirmed }
  }
}
