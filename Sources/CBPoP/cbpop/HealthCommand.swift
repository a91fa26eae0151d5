import ArgumentParser
import CBPoP

extension BGPCommand {
  struct Health: ParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Which prefixes are announced, and what keeps the others away.",
      discussion: "A star marks a check that is healthy, an x one that is not.")
    @OptionGroup var place: Place

    func run() throws {
      guard let views = try place.ask(.health, as: HealthView.self) else { return }
      print(
        views.isEmpty ? "there is nothing to announce" : views.map(LookingGlassText.lines).joined(separator: "\n\n"))
    }
  }
}

extension LookingGlassText {
  /// What there is to know at once, then the checks.
  static func lines(_ view: HealthView) -> String {
    let held = view.seconds.map { " for \(time($0))" } ?? ""
    var lines = ["\(view.name) is \(view.state)\(held): \(view.reason)"]
    let med = view.med.map { " with MED \($0)" } ?? ""
    lines.append(
      "    \(view.isAnnounced ? "announced\(med)" : "NOT announced"): \(view.prefixes.joined(separator: " "))")
    if let left = view.suppressedFor {
      lines.append("    it has come and gone too often, and stays away for \(left) s")
    }
    if let left = view.recoversIn { lines.append("    announced in \(left) s if all stays well") }
    if view.falls > 0 {
      lines.append("    falls: \(view.falls) in \(view.fallWindow) s; \(view.maximumFalls) keep it away for a while")
    }
    guard !view.checks.isEmpty else { return lines.joined(separator: "\n") }
    // What fails comes first.
    let checks = view.checks.filter { !$0.isHealthy } + view.checks.filter(\.isHealthy)
    let rows = checks.map { check in
      [
        "  \(check.isHealthy ? "*" : "x") \(check.name)", check.effect, state(of: check), last(of: check),
      ]
    }
    return (lines + [columns(rows)]).joined(separator: "\n")
  }

  private static func state(of check: HealthView.Check) -> String {
    guard let seconds = check.seconds else { return "not yet healthy" }
    return "\(check.isHealthy ? "healthy" : "UNHEALTHY") for \(time(seconds))"
  }

  private static func last(of check: HealthView.Check) -> String {
    guard let last = check.last, let age = check.lastAge else { return "not probed yet" }
    let doubt = check.contrary > 0 ? " (\(check.contrary) of \(check.needed) that change it)" : ""
    return "\(last), \(age) s ago\(doubt)"
  }
}
