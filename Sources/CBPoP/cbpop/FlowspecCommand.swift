import ArgumentParser
import CBPoP

extension BGPCommand {
  struct ShowFlowspec: ParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "flowspec",
      abstract: "Flow specifications in the order in which they are applied, and what they have caught.",
      discussion: "Packets and octets are what matched, dropped ones included.")
    @OptionGroup var place: Place

    func run() throws {
      guard let views = try place.ask(.flowspecs, as: FlowspecView.self) else { return }
      for view in views { print(LookingGlassText.lines(view)) }
    }
  }
}

extension LookingGlassText {
  /// The rule, and below it what becomes of it.
  static func lines(_ view: FlowspecView) -> String {
    let origin = view.neighbor.map { "from \($0) (\(view.address ?? "-"))" } ?? "of our own"
    let stale = view.isStale ? ", stale" : ""
    let fate: String
    if let packets = view.packets, let octets = view.octets, let dropped = view.droppedPackets {
      fate =
        "enforced: \(packets) packets, \(octets) octets; \(dropped) packets dropped"
        + (view.obstacle.map { " (\($0))" } ?? "")
    } else {
      fate = "not enforced: \(view.obstacle ?? "-")"
    }
    return "\(view.isBest ? "*" : " ") \(view.rule)\n    then \(view.actions); \(origin)\(stale)\n    \(fate)"
  }
}
