import BGP
import CBActors
import Logging
import Settings
import Wire

/// What operators order, besides looking.
extension Routing {
  /// Answers what is asked over the control socket.
  func answer(_ request: ControlRequest, _ emit: (any Encodable & Sendable) async throws -> Void) async throws {
    switch request {
    case .reload: for view in try await reload() { try await emit(view) }
    case .stop: for view in try await restart() { try await emit(view) }
    case .refresh(let name): try await emit(try await refresh(name))
    default: try await lookingGlass.answer(request, emit)
    }
  }

  /// Reads the policy file again and gives the neighbors what it says now. A file that is wrong changes nothing.
  func reload() async throws(LookingGlassError) -> [ReloadView] {
    let policies: PoPSettings.BGP.Policies
    do throws(SettingsError) {
      policies = try PoPSettings.BGP.Policies(file: settings.policies.file)
      let problems = settings.policyProblems(policies) { .init(.file(policies.file ?? "", line: nil), key: $0, $1) }
      guard problems.isEmpty else { throw SettingsError(problems) }
    } catch {
      logger.error("policies not reloaded", metadata: ["error": "\(error)"])
      throw .refused("the policies stay as they are:\n\(error)")
    }
    var views: [ReloadView] = []
    for neighbor in settings.neighbors {
      let policy = neighbor.policy(policies, localAS: settings.localAS)
      do throws(BGPSpeaker.NeighborError) {
        let view = ReloadView(neighbor.name, try await speaker.setPolicy(policy, of: neighbor.name))
        if view.change != .unchanged {
          logger.notice(
            "policy reloaded", metadata: ["neighbor": "\(neighbor.name)", "change": "\(view.change.rawValue)"])
        }
        views.append(view)
      } catch {
        throw .noNeighbor(neighbor.name)
      }
    }
    return views
  }

  private func refresh(_ name: String) async throws(LookingGlassError) -> RefreshView {
    do throws(BGPSpeaker.NeighborError) {
      let families = try await speaker.refresh(name)
      return RefreshView(neighbor: name, families: families.members.map { "\($0)" })
    } catch {
      switch error {
      case .unknown: throw .noNeighbor(name)
      case .refused(let refusal): throw .refused("\(name): \(refusal)")
      }
    }
  }

  /// Says once what goes nowhere for want of a policy.
  static func warn(_ settings: PoPSettings.BGP, _ logger: Logger) {
    for neighbor in settings.neighbors {
      for (what, remedy) in neighbor.missingPolicies(localAS: settings.localAS) {
        logger.warning(
          "no policy", metadata: ["neighbor": "\(neighbor.name)", "so": "\(what)", "write": "\(remedy)"])
      }
    }
  }
}

/// What a reload came to for a neighbor: one line of JSON.
public struct ReloadView: Codable, Hashable, Sendable {
  public enum Change: String, Codable, Hashable, Sendable {
    case unchanged
    /// Its routes, which are kept as they came, are judged by the new policy.
    case judgedAnew = "judged anew"
    /// None were kept; it has been asked for them.
    case askedAgain = "asked again"
    /// None were kept, and it cannot be asked.
    case cannotBeAsked = "cannot be asked"
  }

  public var neighbor: String
  public var change: Change
  /// Why it cannot be asked.
  public var reason: String?

  init(_ neighbor: String, _ change: BGPSpeaker.PolicyChange) {
    self.neighbor = neighbor
    switch change {
    case .unchanged: self.change = .unchanged
    case .judgedAnew: self.change = .judgedAnew
    case .askedAgain: self.change = .askedAgain
    case .cannotBeAsked(let refusal):
      self.change = .cannotBeAsked
      reason = "\(refusal)"
    }
  }
}

/// A neighbor that was asked for its routes: one line of JSON.
public struct RefreshView: Codable, Hashable, Sendable {
  public var neighbor: String
  public var families: [String]
}
