import Netlink
import Settings
public import Wire

extension PoPSettings.BGP.Kernel {
  /// Which packets look into which of the kernel's tables (policy routing).
  public struct Rule: Hashable, Sendable {
    public var priority: UInt32
    public var table: UInt32
    public var source: IPPrefix?
    public var destination: IPPrefix?
    public var mark: UInt32?
    public var inputInterface: String?

    init(_ settings: ResolvedSettings, _ path: String) {
      priority = UInt32(settings.integer("\(path).priority"))
      table = UInt32(settings.integer("\(path).table"))
      source = settings.text("\(path).from").flatMap { IPPrefix(settingsText: $0) }
      destination = settings.text("\(path).to").flatMap { IPPrefix(settingsText: $0) }
      let mark = UInt32(settings.integer("\(path).mark"))
      self.mark = mark == 0 ? nil : mark
      inputInterface = settings.text("\(path).interface")
    }

    /// Of both families where no prefix says which.
    var rules: [Netlink.Rule] {
      let families = (source ?? destination).map { [$0.address.isIPv4] } ?? [true, false]
      return families.map { isIPv4 in
        var rule = Netlink.Rule(isIPv4: isIPv4, priority: priority, .lookUp(table: table))
        rule.source = source
        rule.destination = destination
        rule.mark = mark.map { Netlink.Rule.Mark($0) }
        rule.inputInterface = inputInterface
        return rule
      }
    }
  }

  var everyRule: [Netlink.Rule] { rules.flatMap(\.rules) }

  static let ruleKeys: [Schema.Key] = [
    .value("priority", .integer(1...32_765), required: true, "Rules of a smaller one are asked first; main has 32766."),
    .value("table", .integer(1...4_294_967_295), required: true, "Where the packets' routes are looked for."),
    .value("from", .prefix, example: "10.64.0.0/10", "Packets from these addresses."),
    .value("to", .prefix, example: "203.0.113.0/24", "Packets to these addresses."),
    .value("mark", .integer(0...4_294_967_295), default: "0", "Packets with this firewall mark. 0: any."),
    .value("interface", .identifier, example: "eth1", "Packets that came in by this interface."),
  ]

  /// What only several values together show.
  func ruleProblems(_ settings: ResolvedSettings) -> [SettingsError.Problem] {
    rules.enumerated().compactMap { index, rule in
      let path = "bgp.kernel.rules[\(index)]"
      if let source = rule.source, let destination = rule.destination,
        source.address.isIPv4 != destination.address.isIPv4
      {
        return settings.problem("\(path).to", "is of another family than from")
      }
      let saysWhich = (rule.source ?? rule.destination) != nil || rule.mark != nil || rule.inputInterface != nil
      guard !saysWhich else { return nil }
      return settings.problem(path, "says of no packet that it is meant: give from, to, mark or interface")
    }
  }
}
