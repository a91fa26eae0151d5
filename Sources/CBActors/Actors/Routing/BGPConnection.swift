import BGP
import Ring
import Wire

/// A connection of a session, and the ear that it lends it. Of the ring's thread.
final class BGPConnection: TCPConnectionDelegate {
  private let id: BGP.Session.ConnectionID
  private weak var session: BGPSession?
  private var connection: TCPConnection?
  private var farewell: RingTimer?
  /// All has been said; nothing is heard any more.
  private var isLeaving = false

  static var options: TCPConnection.Options {
    var options = TCPConnection.Options()
    options.receiveBufferSize = 64 << 10
    options.isClosedAtKill = true
    return options
  }

  /// How long a neighbor may take to close after a goodbye.
  private static let farewellTime = Interval.seconds(2)

  init(_ id: BGP.Session.ConnectionID, session: BGPSession) {
    self.id = id
    self.session = session
  }

  var localAddress: IPAddress? { connection?.localAddress?.ip }
  /// The interface that a link-local neighbor is on; 0 for any other.
  var interface: UInt32 { connection?.remoteAddress.scopeID ?? 0 }
  /// Both ends, where it is there.
  var ends: (local: SocketAddress, remote: SocketAddress)? {
    connection.flatMap { connection in connection.localAddress.map { ($0, connection.remoteAddress) } }
  }
  var queuedBytes: Int { connection?.queuedBytes ?? 0 }

  func connect(to address: SocketAddress, from local: IPAddress?, _ options: TCPConnection.Options) throws(RingError) {
    guard let session else { return }
    connection = try TCPConnection.connect(
      on: session.ring, to: address, from: local, timeout: .infinite, options: options, delegate: self)
  }

  func take(_ connection: TCPConnection) {
    self.connection = connection
    connection.start(delegate: self)
  }

  func write(_ bytes: UnsafeRawBufferPointer) -> Int { connection?.write(bytes) ?? 0 }

  /// Lets what was written arrive. A connection that is closed with octets unread is reset, and the peer may never see
  /// the NOTIFICATION: so it is read to its end, for a moment.
  func sayGoodbye() {
    isLeaving = true
    guard let connection, connection.isOpen else { return end() }
    connection.shutdownWrite()
    let timer = RingTimer(on: connection.ring) { [self] in end() }
    timer.schedule(at: connection.ring.now + Self.farewellTime)
    farewell = timer
  }

  private func end() {
    farewell?.cancel()
    farewell = nil
    connection?.close()
    connection = nil
    session?.assumeIsolated { $0.goodbyeEnded() }
    session = nil
  }

  func tcpConnectionEstablished(_ connection: TCPConnection) {
    session?.assumeIsolated { [id] in $0.opened(id) }
  }

  func tcpConnection(_ connection: TCPConnection, received bytes: UnsafeRawBufferPointer) -> Int {
    // What still comes after the goodbye is of no interest.
    if isLeaving { return bytes.count }
    let borrowed = RingBound(bytes)
    session?.assumeIsolated { [id] in $0.received(borrowed.value, on: id) }
    return bytes.count
  }

  func tcpConnectionReceivedEnd(_ connection: TCPConnection) {
    if isLeaving { return end() }
    self.connection = nil
    connection.close()
    session?.assumeIsolated { [id] in $0.failed(id, nil) }
  }

  func tcpConnectionWritable(_ connection: TCPConnection) {
    if !isLeaving { session?.assumeIsolated { [id] in $0.writable(id) } }
  }

  func tcpConnection(_ connection: TCPConnection, failed error: RingError) {
    self.connection = nil
    if isLeaving { return end() }
    session?.assumeIsolated { [id] in $0.failed(id, error) }
  }
}
