import DNS
import Ring
import Wire

/// The DNS server of `cbpop --dev`: answers for one zone on loopback, so that discovery runs as it
/// would against a real zone.
actor DevelopmentDNS {
  nonisolated let ring: RingExecutor
  nonisolated var unownedExecutor: UnownedSerialExecutor { ring.asUnownedSerialExecutor() }

  private let responder: ZoneResponder
  private var socket: UDPSocket?
  private var listener: TCPListener?

  init(ring: RingExecutor, zone: Zone) {
    self.ring = ring
    responder = ZoneResponder(zone)
  }

  /// The records by which a client finds a PoP: HTTPS (RFC 9460), SRV (RFC 2782) and addresses.
  ///
  /// - Parameter listening: the PoP's own addresses; the port of the first one is published.
  static func zone(domain: String, listening: [SocketAddress]) throws -> Zone {
    let origin = try DNSName(domain)
    var zone = Zone(origin: origin)
    let host = try DNSName("pop.\(domain)")
    let port = listening.first?.port ?? 443
    var fours: [IPv4Address] = []
    var sixes: [IPv6Address] = []
    for address in listening where address.port == port {
      switch address.ip {
      case .v4(let four): fours.append(four == .any ? .loopback : four)
      case .v6(let six): sixes.append(six == .any ? .loopback : six)
      }
    }
    var service = ServiceBinding(priority: 1, target: host)
    service.parameters.alpn = [Array("h3".utf8)]
    service.parameters.port = port
    service.parameters.ipv4Hints = fours
    service.parameters.ipv6Hints = sixes
    try zone.insert(Record(origin, ttl: 60, .https(service)))
    try zone.insert(
      Record(
        DNSName("_cloudbridge._udp.\(domain)"), ttl: 60,
        .srv(ServiceLocation(priority: 0, weight: 1, port: port, target: host))))
    for name in [origin, host] {
      for four in fours { try zone.insert(Record(name, ttl: 60, .a(four))) }
      for six in sixes { try zone.insert(Record(name, ttl: 60, .aaaa(six))) }
    }
    return zone
  }

  /// Answers on UDP and TCP. Throws ``DevelopmentError`` for an address that is not loopback.
  @discardableResult
  func start(on address: SocketAddress) throws -> SocketAddress {
    guard address.ip.isLoopback else { throw DevelopmentError.notLoopback("DNS server", "\(address)") }
    let socket = try UDPSocket(on: ring, bind: address, delegate: self)
    self.socket = socket
    listener = try TCPListener(on: ring, bind: socket.localAddress, delegate: self)
    return socket.localAddress
  }

  func stop() {
    socket?.close()
    socket = nil
    listener?.close()
    listener = nil
  }
}

extension DevelopmentDNS: UDPSocketDelegate {
  nonisolated func udpSocket(
    _ socket: UDPSocket, received bytes: UnsafeMutableRawBufferPointer, segmentSize: Int,
    from remote: SocketAddress, to local: SocketAddress, ecn: UInt8
  ) {
    var offset = 0
    while offset < bytes.count {
      let end = min(offset + segmentSize, bytes.count)
      if let answer = responder.respond(to: UnsafeRawBufferPointer(rebasing: bytes[offset..<end]), over: .udp) {
        answer.withUnsafeBytes {
          _ = socket.send(
            $0, UDPSend(byteCount: $0.count, segmentSize: $0.count, destination: remote, source: local.ip))
        }
      }
      offset = end
    }
  }

  /// A client that went away is no concern of the server's.
  nonisolated func udpSocket(_ socket: UDPSocket, failed error: RingError) {}
}

extension DevelopmentDNS: TCPListenerDelegate {
  nonisolated func tcpListener(_ listener: TCPListener, accepted connection: TCPConnection) {
    connection.start(delegate: TCPQueries(responder: responder))
  }

  nonisolated func tcpListener(_ listener: TCPListener, failed error: RingError) {}
}

/// The queries of one TCP connection, answered in order (RFC 7766).
private final class TCPQueries: TCPConnectionDelegate {
  private let responder: ZoneResponder
  private var reader = TCPMessageReader()

  init(responder: ZoneResponder) { self.responder = responder }

  func tcpConnection(_ connection: TCPConnection, received bytes: UnsafeRawBufferPointer) -> Int {
    reader.append(bytes)
    while let query = reader.next() {
      guard let answer = responder.respond(to: query, over: .tcp), let frame = TCPMessageReader.frame(answer) else {
        continue
      }
      let written = frame.withUnsafeBytes { connection.write($0) }
      // A client that asks without reading is not kept.
      guard written == frame.count else {
        connection.abort()
        return bytes.count
      }
    }
    return bytes.count
  }

  func tcpConnectionReceivedEnd(_ connection: TCPConnection) { connection.close() }
  func tcpConnection(_ connection: TCPConnection, failed error: RingError) {}
}
