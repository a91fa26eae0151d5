public import QUIC

extension QUICEndpoint {
  /// What came in, and what became of datagrams that reached no connection.
  public struct Counters: Sendable, Hashable {
    public var datagramsReceived: UInt64 = 0
    public var bytesReceived: UInt64 = 0
    public var connectionsAccepted: UInt64 = 0
    public var connectionsRefused: UInt64 = 0
    /// Clients that came back with a token, and proved their address by it.
    public var tokensAccepted: UInt64 = 0
    /// Connections that resumed a session, and those of them whose early data was accepted.
    public var resumed: UInt64 = 0
    public var earlyDataAccepted: UInt64 = 0
    /// Version Negotiation, Retry and stateless reset packets.
    public var repliesSent: UInt64 = 0
    /// Handed to the endpoint of another ring, which their connection ID names.
    public var tossed: UInt64 = 0
    /// Not handed on, because too many were on their way.
    public var tossesDropped: UInt64 = 0
    public var socketErrors: UInt64 = 0
    /// Datagrams of no connection, by why they were dropped.
    public var drops: [QUIC.Endpoint<HTTP3Session>.DropReason: UInt64] = [:]
    /// Packets that connections dropped, those of connections that are over included.
    public var packetDrops = PacketDrops()

    public init() {}

    public mutating func add(_ other: Counters) {
      datagramsReceived += other.datagramsReceived
      bytesReceived += other.bytesReceived
      connectionsAccepted += other.connectionsAccepted
      connectionsRefused += other.connectionsRefused
      tokensAccepted += other.tokensAccepted
      resumed += other.resumed
      earlyDataAccepted += other.earlyDataAccepted
      repliesSent += other.repliesSent
      tossed += other.tossed
      tossesDropped += other.tossesDropped
      socketErrors += other.socketErrors
      drops.merge(other.drops, uniquingKeysWith: +)
      packetDrops.add(other.packetDrops)
    }
  }
}
