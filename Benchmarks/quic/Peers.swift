import HTTP3
import QUIC
import QUICTLS
import Wire

/// A certificate of P-256 for pop.example, and the contexts around it.
struct Contexts {
  let server: ServerTLSContext
  private let onlyX25519: Bool

  init(onlyX25519: Bool) throws {
    self.onlyX25519 = onlyX25519
    server = try ServerTLSContext(
      identity: TLSIdentity(certificateChain: Array(Self.certificate.utf8), privateKey: Array(Self.key.utf8)),
      applicationProtocols: ["h3"], earlyDataContext: [1])
  }

  /// A client that has met no server yet.
  func client() throws -> ClientTLSContext {
    let context = try ClientTLSContext(
      trust: .certificates(Array(Self.certificate.utf8)), applicationProtocols: ["h3"], offersEarlyData: true)
    if onlyX25519 { context.offerOnlyX25519() }
    return context
  }

  static let name = "pop.example"
  private static let certificate = """
    -----BEGIN CERTIFICATE-----
    MIIBmzCCAUGgAwIBAgIUWjrk5JPzKUzK1bE6xR8xj7kJl6UwCgYIKoZIzj0EAwIw
    FjEUMBIGA1UEAwwLcG9wLmV4YW1wbGUwIBcNMjYxMTIzMTYwOTI5WhgPMjEyNjEw
    MzAxNjA5MjlaMBYxFDASBgNVBAMMC3BvcC5leGFtcGxlMFkwEwYHKoZIzj0CAQYI
    KoZIzj0DAQcDQgAEZNfP6IfQv6pjxT7XRBdHJmSsi8UXXnk3w8xIySi20a2CReqN
    WPvmwlhTCFrqaC/PO6+UD7/PK1n2YWdeQ5zUmqNrMGkwHQYDVR0OBBYEFAvD5lDg
    W3vjRwCT3QrMJQqL9JDGMB8GA1UdIwQYMBaAFAvD5lDgW3vjRwCT3QrMJQqL9JDG
    MA8GA1UdEwEB/wQFMAMBAf8wFgYDVR0RBA8wDYILcG9wLmV4YW1wbGUwCgYIKoZI
    zj0EAwIDSAAwRQIgHUxcSqv6ouheTFFhgB5E+3foMt5jAq/LWmnhkJCHnfQCIQD1
    UcAJXe8n197SvjRGi64OWr8Y+bMzWFyq8GVDObGy5Q==
    -----END CERTIFICATE-----
    """
  private static let key = """
    -----BEGIN PRIVATE KEY-----
    MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgiN9/ziz0wGcB/FRd
    DsMLQG5sH2uqr/Wr4hQjBMIpYDyhRANCAARk18/oh9C/qmPFPtdEF0cmZKyLxRde
    eTfDzEjJKLbRrYJF6o1Y++bCWFMIWupoL887r5QPv88rWfZhZ15DnNSa
    -----END PRIVATE KEY-----
    """
}

/// One end; a class, since it is kept in arrays.
final class End {
  var connection: QUIC.Connection
  /// Apart, so that a connection without it is not charged for it.
  private let http: HTTPEnd?
  /// CPU-seconds spent in it.
  var spent = 0.0
  /// Bytes read from streams.
  private(set) var received = 0

  init(_ connection: consuming QUIC.Connection, speaksHTTP: Bool) {
    http = speaksHTTP ? HTTPEnd(role: connection.role) : nil
    self.connection = connection
  }

  /// Hears the events, reads what came, and keeps `routes` up to date.
  func drain(_ routes: Routes?) {
    while let event = connection.nextEvent() {
      if case .connectionIDIssued(let id) = event { routes?.endpoint.add(id, self) }
      if case .connectionIDRetired(let id) = event { routes?.endpoint.remove(id) }
      if let http {
        if connection.isHandshakeComplete { http.connection.start(on: &connection) }
        http.connection.handle(event, on: &connection)
        while http.connection.nextEvent() != nil {}
      } else if case .streamReadable(let id) = event {
        while case .progressed = connection.read(
          id,
          { bytes, _ in
            received += bytes.count
            return bytes.count
          })
        {}
      }
    }
  }
}

private final class HTTPEnd {
  var connection: HTTP3.Connection
  init(role: Role) { connection = HTTP3.Connection(role: role) }
}

/// A client and a server joined by memory: what one sends the other has at once, a millisecond later by their clock.
final class Joint {
  let client: End
  private(set) var server: End?
  private let routes: Routes
  private let contexts: Contexts
  private let speaksHTTP: Bool
  private var now = Instant(nanoseconds: 1_000_000_000)
  private let entropy: SeededEntropy
  private let path = Path(local: SocketAddress("192.0.2.1:40000")!, remote: SocketAddress("198.51.100.1:443")!)
  private var back: Path { Path(local: path.remote, remote: path.local) }
  private var buffer = [UInt8](repeating: 0, count: 16_384)
  private var reply = [UInt8](repeating: 0, count: 2_048)

  init(
    _ contexts: Contexts, client context: ClientTLSContext, seed: UInt64, speaksHTTP: Bool = false,
    routes: Routes = Routes()
  ) throws {
    self.contexts = contexts
    self.speaksHTTP = speaksHTTP
    self.routes = routes
    entropy = SeededEntropy(seed: seed)
    let start = Processor.seconds()
    let tls = try context.makeSession(serverName: Contexts.name)
    client = End(
      QUIC.Connection(client: Configuration(), tls: tls, path: path, now: now, entropy: entropy), speaksHTTP: speaksHTTP
    )
    client.spent = Processor.since(start)
  }

  /// Lets everything that is due pass; true when something did.
  func exchange() -> Bool {
    let upstream = move(from: client, to: nil)
    let downstream = server.map { move(from: $0, to: client) } ?? false
    now = now + .milliseconds(1)
    return upstream || downstream
  }

  private func move(from sender: End, to receiver: End?) -> Bool {
    var moved = false
    while true {
      var start = Processor.seconds()
      let sent = buffer.withUnsafeMutableBytes { sender.connection.transmit(into: $0, maxSegments: 10, now: now) }
      sender.drain(sender === server ? routes : nil)
      sender.spent += Processor.since(start)
      guard let sent else { return moved }
      moved = true
      start = Processor.seconds()
      let target = receiver ?? server ?? accept(sent.byteCount)
      buffer.withUnsafeMutableBytes { bytes in
        var offset = 0
        while offset < sent.byteCount {
          let end = min(offset + sent.segmentSize, sent.byteCount)
          target.connection.receive(
            UnsafeMutableRawBufferPointer(rebasing: bytes[offset..<end]), path: receiver == nil ? back : path,
            ecn: sent.ecn, now: now)
          offset = end
        }
      }
      target.drain(target === server ? routes : nil)
      target.spent += Processor.since(start)
    }
  }

  private func accept(_ count: Int) -> End {
    let route = buffer.withUnsafeBytes { bytes in
      reply.withUnsafeMutableBytes {
        routes.endpoint.route(
          UnsafeRawBufferPointer(rebasing: bytes[..<min(count, 1_200)]), from: back, now: now, reply: $0)
      }
    }
    guard case .accept(let request) = route else { fatalError("the endpoint does not accept: \(route)") }
    let end = End(
      QUIC.Connection(
        server: Configuration(), tls: contexts.server.makeSession(), path: back, initial: request, now: now,
        entropy: entropy), speaksHTTP: speaksHTTP)
    server = end
    return end
  }

  /// Until both have confirmed the handshake.
  func connect() {
    for _ in 0..<50 {
      _ = exchange()
      if client.connection.isHandshakeConfirmed, server?.connection.isHandshakeConfirmed == true { return }
    }
    fatalError("the handshake does not end")
  }

  /// Until nothing more is to be said but what an idle connection says.
  func settle() {
    let end = now + .seconds(5)
    while now < end {
      while exchange() {}
      now = now + .milliseconds(50)
      for side in [client, server] {
        guard let side else { continue }
        if let deadline = side.connection.deadline, deadline <= now { side.connection.handleTimeout(now: now) }
      }
    }
  }

  /// Sends `count` bytes each way over one stream, to its end.
  func transfer(_ count: Int) {
    guard let server, let id = client.connection.openStream(.bidirectional) else { return }
    for (sender, receiver) in [(client, server), (server, client)] {
      var left = count
      let piece = [UInt8](repeating: 7, count: 16_384)
      var rounds = 0
      while receiver.received < count, rounds < 100_000 {
        rounds += 1
        while left > 0 {
          let size = min(left, piece.count)
          let taken = piece.withUnsafeBytes {
            sender.connection.write(
              id, UnsafeRawBufferPointer(rebasing: $0[..<size]), finish: size == left)
          }
          left -= taken
          if taken < size { break }
        }
        if !exchange() {
          now = now + .milliseconds(25)
          sender.connection.handleTimeout(now: now)
          receiver.connection.handleTimeout(now: now)
        }
      }
    }
  }
}
