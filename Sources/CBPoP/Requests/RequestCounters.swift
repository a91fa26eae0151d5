import Synchronization

/// What became of the requests of a PoP. Shared by all rings.
public final class RequestCounters: Sendable {
  private let counts = Mutex(Counts())

  public struct Counts: Sendable, Hashable {
    public var connections: UInt64 = 0
    public var pages: UInt64 = 0
    public var tcpTunnels: UInt64 = 0
    public var udpTunnels: UInt64 = 0
    /// Refused requests by status code.
    public var refused: [Int: UInt64] = [:]
    /// Refused tokens by reason (``Identity/TokenRefusal/label``).
    public var tokensRefused: [String: UInt64] = [:]
    public var bytesToTargets: UInt64 = 0
    public var bytesToClients: UInt64 = 0
  }

  public init() {}

  public func count(_ change: (inout Counts) -> Void) { counts.withLock { change(&$0) } }
  public var snapshot: Counts { counts.withLock { $0 } }
}
