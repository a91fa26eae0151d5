public import Foundation

public struct LogLine: Hashable, Codable, Sendable {
  public enum Level: String, Codable, Sendable, CaseIterable { case trace, debug, info, notice, warning, error }

  public var time: Date
  public var level: Level
  /// The part of the client that wrote it, such as `quic` or `proxy`.
  public var source: String
  public var message: String

  public init(time: Date, level: Level, source: String, message: String) {
    self.time = time
    self.level = level
    self.source = source
    self.message = message
  }
}

public enum ClientEvent: Hashable, Codable, Sendable {
  /// - Parameter pop: the PoP's name, where there is one.
  case stateChanged(ConnectionState, pop: String?)
  case connectionLost(reason: String)
  /// The PoP takes no new tunnels and a new connection is being opened; the tunnels that there are go on for a while.
  case popLeaving(pop: String)
  /// The machine is on another network, and the connection goes on from there with all its tunnels. Both are addresses
  /// of the machine.
  case moved(from: String, to: String)
  /// The next attempt begins after `seconds`; `attempt` counts from 1 since the loss.
  case reconnecting(seconds: Double, attempt: Int, reason: String)
  case tunnelOpened(name: String, listen: String, target: String)
  case tunnelClosed(name: String, reason: String)
  /// A flow that the PoP refused, such as a target that its policy forbids.
  case flowRefused(target: String, reason: String)
  /// The stored tokens can no longer be renewed.
  case signInNeeded(reason: String)
}
