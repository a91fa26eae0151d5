internal import CNIOBoringSSL
internal import Synchronization

/// Lets each ticket's early data in once (RFC 8446 §8.1), on whichever ring of the process it comes.
///
/// BoringSSL already refuses early data whose ClientHello is older than a minute by its ticket's age (RFC 8446 §8.3), so
/// a ticket needs to be remembered only a little longer than that. It is shown here when it has been opened: what was
/// never given out takes no room. When the register is full, it refuses early data: the handshake goes on without it.
///
/// It knows of this process alone. Early data by a ticket that another one issued is refused unseen (``TicketKeys``).
public final class ReplayRegister: Sendable {
  /// Seconds that a ticket is remembered, at least; twice what BoringSSL tolerates either way.
  static let window: Int64 = 120

  private struct State {
    /// Digests of the tickets seen in this window and in the one before.
    var present: Set<[UInt8]> = []
    var former: Set<[UInt8]> = []
    var windowStart = Int64.min
    var refused: UInt64 = 0
  }

  private let limit: Int
  private let now: @Sendable () -> Int64
  private let state = Mutex(State())

  /// - Parameters:
  ///   - limit: tickets remembered of each window.
  ///   - now: seconds on a clock that never goes back.
  public init(limit: Int = 65_536, now: @escaping @Sendable () -> Int64) {
    self.limit = limit
    self.now = now
  }

  /// Early data that was refused because its ticket had been used, or the register was full.
  public var refused: UInt64 { state.withLock { $0.refused } }

  /// True once for each ticket in a window.
  func admit(_ ticket: UnsafeRawBufferPointer) -> Bool {
    let digest = [UInt8](unsafeUninitializedCapacity: 32) { digest, count in
      SHA256(ticket.baseAddress?.assumingMemoryBound(to: UInt8.self), ticket.count, digest.baseAddress)
      count = 32
    }
    let now = now()
    return state.withLock { state in
      if state.windowStart == .min { state.windowStart = now }
      if now - state.windowStart >= Self.window {
        state.former = now - state.windowStart >= 2 * Self.window ? [] : state.present
        state.present = []
        state.windowStart = now
      }
      guard state.present.count < limit, !state.former.contains(digest), state.present.insert(digest).inserted else {
        state.refused += 1
        return false
      }
      return true
    }
  }
}
