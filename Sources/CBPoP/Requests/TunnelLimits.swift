import Synchronization

/// How many tunnels are open, in all and for each user, and how many may be. Shared by all rings.
public final class TunnelLimits: Sendable {
  public let total: Int
  public let perUser: Int
  private let open = Mutex(Open())

  private struct Open {
    var total = 0
    var byUser: [String: Int] = [:]
  }

  /// Why no tunnel can be opened now.
  public enum Refusal: Error, Hashable, Sendable, CustomStringConvertible {
    case total(Int)
    case perUser(Int)

    public var description: String {
      switch self {
      case .total(let limit): "this PoP has all of its \(limit) tunnels open"
      case .perUser(let limit): "all \(limit) tunnels of this user are open"
      }
    }
  }

  public init(total: Int, perUser: Int) {
    self.total = total
    self.perUser = perUser
  }

  /// Counts one more tunnel of `user`. Every success is to be followed by one ``release(_:)``.
  public func acquire(_ user: String) throws(Refusal) {
    let refusal: Refusal? = open.withLock { open in
      if open.total >= total { return .total(total) }
      if open.byUser[user, default: 0] >= perUser { return .perUser(perUser) }
      open.total += 1
      open.byUser[user, default: 0] += 1
      return nil
    }
    if let refusal { throw refusal }
  }

  public func release(_ user: String) {
    open.withLock { open in
      guard let count = open.byUser[user] else { return }
      open.total -= 1
      open.byUser[user] = count > 1 ? count - 1 : nil
    }
  }

  /// Open tunnels, and users that have any.
  public var usage: (tunnels: Int, users: Int) { open.withLock { ($0.total, $0.byUser.count) } }
}
