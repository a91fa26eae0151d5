import BGP
public import Health
import Settings
public import Wire

extension PoPSettings.BGP {
  /// Prefixes that are announced and withdrawn together, and what goes with them.
  public struct Announcements: Hashable, Sendable {
    public var name: String
    public var prefixes: [IPPrefix]
    /// Names of checks; empty for all.
    public var checks: [String]
    /// In place of being withdrawn they are announced with the MED and the communities of their state.
    public var staysAnnounced: Bool
    public var med: [Announcement.Level: UInt32]
    /// As text.
    public var communities: [Announcement.Level: [String]]

    init(name: String, prefixes: [IPPrefix]) {
      self.name = name
      self.prefixes = prefixes
      checks = []
      staysAnnounced = false
      med = [:]
      communities = [:]
    }

    init(_ settings: ResolvedSettings, _ path: String) {
      self.init(
        name: settings.text("\(path).name") ?? "",
        prefixes: settings.list("\(path).prefixes").compactMap { IPPrefix(settingsText: $0) })
      checks = settings.list("\(path).checks")
      staysAnnounced = settings.text("\(path).onFailure") == "med"
      for (level, suffix) in [(Announcement.Level.up, "Up"), (.degraded, "Degraded"), (.drained, "Drained")] {
        let value = UInt32(settings.integer("\(path).med\(suffix)"))
        if value > 0 { med[level] = value }
        communities[level] = settings.list("\(path).communities\(suffix)")
      }
    }

    /// What the neighbors are told; nil where the prefixes are taken back.
    func attributes(_ level: Announcement.Level) -> PathAttributes? {
      guard staysAnnounced || level == .up || level == .degraded else { return nil }
      var attributes = PathAttributes()
      let level = level == .down ? .drained : level
      attributes.multiExitDisc = med[level] ?? med[.up]
      let texts = communities[level].flatMap { $0.isEmpty ? nil : $0 } ?? communities[.up] ?? []
      for text in texts {
        // The settings have been judged.
        switch try? AnyCommunity(parsing: text) {
        case .standard(let one)?: attributes.communities.append(one)
        case .extended(let one)?: attributes.extendedCommunities.append(one)
        case .large(let one)?: attributes.largeCommunities.append(one)
        case nil: break
        }
      }
      return attributes
    }
  }

  /// The group of `announce`, where there is one, and those of `announcements`.
  public var groups: [Announcements] {
    (announce.isEmpty ? [] : [Announcements(name: "announce", prefixes: announce)]) + announcements
  }

  static let announcementsSection = Schema.Key.sections(
    "announcements",
    example: [
      [
        "name": "web", "prefixes": "203.0.113.0/24", "checks": "listeners,load", "onFailure": "med", "medUp": "100",
        "medDegraded": "200", "medDrained": "1000", "communitiesUp": "65000:100", "communitiesDrained": "65000:900",
      ]
    ],
    commentedOut: true,
    "Prefixes whose announcement hangs on checks of their own, or that carry a MED or communities.",
    [
      .value("name", .identifier, required: true, "For logs."),
      .list("prefixes", .prefix, required: true, "What to announce; no prefix twice, nor one of announce."),
      .list(
        "checks", .identifier,
        "Checks of health that they hang on: listeners, interfaces, load, drain, or the name of one of "
          + "bgp.health.commands. Without any, on all."),
      .value(
        "onFailure", .choice(["withdraw", "med"]), default: "withdraw",
        "Withdraw them while a check fails or they are drained, or go on announcing them with medDrained and "
          + "communitiesDrained: so clients come when there is no other PoP."),
      .value("medUp", .integer(0...4_294_967_295), default: "0", "The MED while all is well. 0: none is sent."),
      .value(
        "medDegraded", .integer(0...4_294_967_295), default: "0",
        "The MED while a check that degrades fails. 0: medUp."),
      .value("medDrained", .integer(0...4_294_967_295), default: "0", "The MED of onFailure: med. 0: medUp."),
      .list("communitiesUp", .text, "Communities such as 65000:100, 65000:1:2 or no-export, while all is well."),
      .list("communitiesDegraded", .text, "The same while a check that degrades fails. Without any, communitiesUp."),
      .list("communitiesDrained", .text, "The same with medDrained. Without any, communitiesUp."),
    ])

  /// What is wrong with ``announcements``.
  func announcementProblems(_ settings: ResolvedSettings) -> [SettingsError.Problem] {
    var problems: [SettingsError.Problem] = []
    var prefixes = Set(announce)
    var names: Set<String> = ["announce"]
    let known = health.checkNames
    for (index, group) in announcements.enumerated() {
      let path = "bgp.announcements[\(index)]"
      if !names.insert(group.name).inserted {
        problems.append(settings.problem("\(path).name", "'\(group.name)' is taken"))
      }
      for prefix in group.prefixes where !prefixes.insert(prefix).inserted {
        problems.append(settings.problem("\(path).prefixes", "\(prefix) is announced already"))
      }
      for check in group.checks where !known.contains(check) {
        problems.append(
          settings.problem(
            "\(path).checks", "there is no check '\(check)' in bgp.health; there are \(known.joined(separator: ", "))"))
      }
      if group.staysAnnounced, group.med[.drained] == nil, group.communities[.drained]?.isEmpty != false {
        problems.append(settings.problem("\(path).onFailure", "med needs medDrained or communitiesDrained"))
      }
      for (level, suffix) in [(Announcement.Level.up, "Up"), (.degraded, "Degraded"), (.drained, "Drained")] {
        for text in group.communities[level] ?? [] {
          do { _ = try AnyCommunity(parsing: text) } catch {
            problems.append(settings.problem("\(path).communities\(suffix)", "\(error)"))
          }
        }
      }
    }
    return problems
  }
}
