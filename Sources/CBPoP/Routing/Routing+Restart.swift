import BGP
import CBActors
import Health
import Logging
import Ring
import Wire

/// A restart by will that the neighbors keep our routes through (RFC 4724).
extension Routing {
  /// What each neighbor would make of it.
  ///
  /// - Throws: why it must not be: nobody would keep our routes, or what they would lead to is not well.
  func restart() async throws(LookingGlassError) -> [RestartView] {
    let ill = await health?.monitor.statuses().filter { $0.state.level == .down } ?? []
    guard ill.isEmpty else {
      let groups = ill.map { "\($0.name) is down (\($0.state))" }.joined(separator: ", ")
      throw .refused("no graceful restart: neighbors would go on sending to what is not well; \(groups)")
    }
    let views = await speaker.status().map(RestartView.init)
    guard views.contains(where: { $0.keepsFor != nil }) else {
      let reasons = views.map { "\($0.neighbor): \($0.reason ?? "-")" }.joined(separator: ", ")
      throw .refused("no graceful restart: no neighbor would keep our routes; \(reasons)")
    }
    return views
  }

  /// Whether it still may be.
  func mayRestart() async -> Bool {
    do {
      _ = try await restart()
      return true
    } catch {
      logger.warning("stopping without a graceful restart", metadata: ["why": "\(error)"])
      return false
    }
  }

  /// Goes away for a restart. Nobody may ask any more.
  func stopForRestart() async {
    // From here on nothing is withdrawn any more.
    await health?.stop()
    // RFC 5882 §4.3: neighbors are not to take our silence for a dead path.
    await bfd?.stop()
    await speaker.stopForRestart("the PoP restarts")
    await validation?.stop()
    await monitoring.stop()
    await kernel?.stop()
    await watch.stop()
    await ring.shutdown()
  }
}

/// What a graceful restart comes to at a neighbor: one line of JSON.
public struct RestartView: Codable, Hashable, Sendable {
  public var neighbor: String
  /// Seconds; nil where it does not keep our routes.
  public var keepsFor: Int?
  /// Why it does not.
  public var reason: String?

  init(_ status: BGPSession.Status) {
    neighbor = status.name
    keepsFor = status.keepsOurRoutesFor.map { Int($0.seconds) }
    guard keepsFor == nil else { return }
    if status.parameters == nil {
      reason = "no session"
    } else if status.parameters?.peerGracefulRestart == nil {
      reason = "it has no graceful restart"
    } else {
      reason = "restartTime is not set"
    }
  }
}
