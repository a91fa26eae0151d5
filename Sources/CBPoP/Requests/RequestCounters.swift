import Synchronization

/// What became of the requests of a PoP. Shared by all rings.
public final class RequestCounters: Sendable {
  private let counts = Mutex(Counts())

  public struct Counts: Sendable, Hashable {
    public var connections: UInt64 = 0
    public var pages: UInt64 = 0
    /// Requests that came in early data and were served.
    public var early: UInt64 = 0
    /// Tunnels opened, by what they carry: `TCP`, `UDP`.
    public var tunnels: [String: UInt64] = [:]
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
