import QUIC
import Wire

/// How a run ends, and what is wrong with it.
extension Network {
  /// Both applications have sent and received everything.
  var isTransferDone: Bool { client.isDone && (server?.isDone ?? false) }

  var firstFault: String? { fault ?? faultAtTheEnd ?? client.fault ?? servers.lazy.compactMap(\.fault).first }

  /// Runs the transfer, then closes from the client's side and runs until both ends have ended.
  func runToTheEnd(limit: Interval = .seconds(900)) {
    run(until: now + limit) { isTransferDone || client.closeReason != nil || server?.closeReason != nil }
    guard isTransferDone, firstFault == nil else { return }
    for end in [client, server].compactMap({ $0 }) where end.checksContent && end.connection.liveStreamCount > 0 {
      faultAtTheEnd = "memory: \(end.connection.liveStreamCount) streams that are over at the \(end.role)"
    }
    client.connection.close(code: 7, reason: "done")
    run(until: now + limit) { client.connection.isDrained && (server?.connection.isDrained ?? true) }
  }

  /// How the run differs from what it must be; nil when it does not.
  var verdict: String? {
    if let firstFault { return firstFault }
    guard isTransferDone else {
      return "unfinished at \(now.nanoseconds / 1_000_000) ms: client \(Self.state(client)), "
        + "server \(server.map(Self.state) ?? "none")"
    }
    guard client.closeReason == .localApplication(code: 7, reason: "done") else {
      return "client ended with \(String(describing: client.closeReason))"
    }
    for end in [client] + servers where end.closeReason != nil && !end.connection.isDrained {
      return "convergence: the \(end.role) is closed and never drained"
    }
    // Its CONNECTION_CLOSE may have been lost.
    switch server?.closeReason {
    case .peerApplication(code: 7, reason: "done"), .idleTimeout: return nil
    case let other: return "server ended with \(String(describing: other))"
    }
  }

  private static func state(_ peer: Peer) -> String {
    "\(peer.connection.isHandshakeComplete ? "connected" : "handshaking"), "
      + "received \(peer.receivedBytes.values.reduce(0, +)), ended \(peer.ended.count), "
      + "acknowledged \(peer.acknowledged.count), closed \(String(describing: peer.closeReason)), "
      + "deadline \((peer.connection.deadline?.nanoseconds ?? -1) / 1_000_000), \(peer.connection.statistics)"
  }
}
