import ArgumentParser
import CBPoP

extension BGPCommand {
  struct RPKI: ParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "rpki", abstract: "The validating caches, and how old what they say is.",
      discussion: "A star marks the one whose data count.")
    @OptionGroup var place: Place

    func run() throws {
      if let views = try place.ask(.rpki, as: RPKICacheView.self) { print(LookingGlassText.table(views)) }
    }
  }

  struct Refresh: ParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Ask a neighbor for its routes again (RFC 2918).",
      discussion: "What it does not name again goes, where it says where its answer ends (RFC 7313).")
    @Argument(help: "A neighbor by its name in the settings.") var name: String
    @OptionGroup var place: Place

    func validate() throws { try place.check(name: name) }

    func run() throws {
      for view in try place.ask(.refresh(name), as: RefreshView.self) ?? [] {
        print("\(view.neighbor) has been asked for its routes: \(view.families.joined(separator: ", "))")
      }
    }
  }

  struct Reload: ParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Read the policy file again, and have neighbors' routes go by it.",
      discussion: "A file that is wrong changes nothing. SIGHUP does the same, and says it in the log.")
    @OptionGroup var place: Place

    func run() throws {
      for view in try place.ask(.reload, as: ReloadView.self) ?? [] {
        print("\(view.neighbor): \(view.change.rawValue)\(view.reason.map { ": \($0)" } ?? "")")
      }
    }
  }
}
