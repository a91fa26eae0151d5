public import Wire

/// How a ``UDPSocket`` is opened.
public struct UDPSocketOptions: Sendable {
  /// Other sockets may bind the same port; the kernel spreads flows over them (SO_REUSEPORT).
  public var reusePort = false
  /// Not 0: so many sockets share the port, and each gets the QUIC datagrams of a connection ID whose first byte's
  /// low five bits, unmasked and modulo this, are its number in the order of binding. Whatever else comes goes anywhere.
  public var steeredSockets = 0
  /// Of the mask over those bits: `PacketCrypto.HalfSipHash` of the next three bytes.
  public var steeringKey: UInt64 = 0
  /// An IPv6 socket bound to `::` also takes IPv4; addresses are then reported as IPv4.
  public var dualStack = true
  /// The kernel joins datagrams of one flow into trains (UDP_GRO), and receive buffers hold 64 KiB.
  /// Without it, buffers hold 2 KiB and what is longer is dropped and counted.
  public var receivesTrains = true
  /// Bytes asked for in each of the socket's kernel buffers; 0 leaves the system's default. Past
  /// `net.core.rmem_max` only with CAP_NET_ADMIN.
  public var socketBufferBytes = 4 << 20
  /// The TTL or hop limit of what is sent; nil leaves the system's.
  public var hopLimit: UInt8?
  /// ``UDPSocket/receivedHopLimit`` says how far each datagram came.
  public var receivesHopLimit = false
  /// Connects the socket: only this peer's datagrams come in, and its ICMP errors are heard.
  public var remote: SocketAddress?

  public init() {}

  /// For a QUIC endpoint that carries many connections.
  public static var endpoint: UDPSocketOptions { UDPSocketOptions() }

  /// For one proxied flow (RFC 9298): connected, no trains, small kernel buffers. Idle, it costs a
  /// descriptor and one armed operation, and no buffer.
  public static func flow(to remote: SocketAddress) -> UDPSocketOptions {
    var options = UDPSocketOptions()
    options.receivesTrains = false
    options.socketBufferBytes = 256 << 10
    options.remote = remote
    return options
  }
}

/// What a call of ``UDPSocket/withSendBuffer(_:)`` put into the buffer.
public struct UDPSend: Sendable {
  /// Bytes written, from the start of the buffer.
  public var byteCount: Int
  /// Bytes of each datagram; the last may be shorter. Not less than `byteCount` for a single one.
  public var segmentSize: Int
  /// Nil only on a connected socket.
  public var destination: SocketAddress?
  /// The address to send from; nil lets the kernel choose.
  public var source: IPAddress?
  /// The interface to leave by, whatever the routes say, beside a `source`; 0 leaves it to them. An IPv6 link-local source
  /// needs it.
  public var sourceScopeID: UInt32 = 0
  /// The two ECN bits (RFC 3168 §5).
  public var ecn: UInt8

  public init(
    byteCount: Int, segmentSize: Int, destination: SocketAddress? = nil, source: IPAddress? = nil, ecn: UInt8 = 0
  ) {
    self.byteCount = byteCount
    self.segmentSize = segmentSize
    self.destination = destination
    self.source = source
    self.ecn = ecn
  }
}

/// What a ``UDPSocket`` tells its owner, on the ring's thread.
public protocol UDPSocketDelegate: AnyObject {
  /// One datagram, or a train of datagrams of `segmentSize` bytes of which the last may be shorter.
  /// `bytes` may be written to and is valid only during the call. `local` is the address that it was
  /// sent to, with the socket's port. IPv4-mapped addresses are reported as IPv4.
  func udpSocket(
    _ socket: UDPSocket, received bytes: UnsafeMutableRawBufferPointer, segmentSize: Int,
    from remote: SocketAddress, to local: SocketAddress, ecn: UInt8)

  /// All datagrams of this batch have been delivered: the moment to answer them.
  func udpSocketBatchEnded(_ socket: UDPSocket)

  /// A send was refused earlier, and would now be taken.
  func udpSocketWritable(_ socket: UDPSocket)

  /// A send or receive failed: an ICMP error, an unreachable network, a datagram too long. What it
  /// concerned is lost. The socket goes on, unless ``UDPSocket/isOpen`` has become false.
  func udpSocket(_ socket: UDPSocket, failed error: RingError)
}

extension UDPSocketDelegate {
  public func udpSocketBatchEnded(_ socket: UDPSocket) {}
  public func udpSocketWritable(_ socket: UDPSocket) {}
}
