import Health
import Settings
import Wire

extension PoPSettings.BGP {
  static let loadSection = Schema.Key.section(
    "load",
    "Counts as failed while the machine has too much to do: from a high mark on, until it is below the low one. A high mark of 0 "
      + "looks for nothing.",
    [
      .value(
        "onHigh", .choice(["withdraw", "degrade"]), default: "withdraw",
        "Degrade goes on announcing, with medDegraded and communitiesDegraded of bgp.announcements."),
      .value("interval", .duration(.milliseconds(100)...(.seconds(3600))), default: "5s", "How often to look."),
      .value(
        "processorsHigh", .integer(0...100_000), default: "0",
        "The load average of one minute, in percent of the processors: 100 is one runnable task for each."),
      .value("processorsLow", .integer(0...100_000), default: "0", "0: three quarters of processorsHigh."),
      .value("memoryHigh", .integer(0...100), default: "0", "Memory that is not available, in percent of all."),
      .value("memoryLow", .integer(0...100), default: "0", "0: three quarters of memoryHigh."),
      .value("connectionsHigh", .integer(0...100), default: "0", "QUIC connections, in percent of limits.connections."),
      .value("connectionsLow", .integer(0...100), default: "0", "0: three quarters of connectionsHigh."),
    ])

  static let commandsSection = Schema.Key.sections(
    "commands",
    example: [["name": "app", "command": "/usr/local/bin/check-app,--quick", "onFailure": "withdraw"]],
    commentedOut: true,
    "Programs of your own that look: exit status 0 is well. rise and fall hold for them too.",
    [
      .value("name", .identifier, required: true, "What bgp.announcements calls it."),
      commandKey,
      .value(
        "onFailure", .choice(["withdraw", "degrade"]), default: "withdraw", "What comes of it, as with load."),
      .value("interval", .duration(.milliseconds(100)...(.seconds(3600))), default: "5s", "Between two runs."),
      .value(
        "timeout", .duration(.milliseconds(10)...(.seconds(3600))), default: "5s",
        "A run that takes longer is killed and has failed."),
    ])

  static let hooksSection = Schema.Key.sections(
    "hooks", example: [["name": "pager", "command": "/usr/local/bin/page-operator"]], commentedOut: true,
    "Programs to run when the state of a prefix changes, with CBR_PREFIX, CBR_STATE (up, degraded, drained, down) and "
      + "CBR_REASON in their environment, besides PATH. Each runs once at a time, and hears the last state alone.",
    [
      .value("name", .identifier, required: true, "For logs."), commandKey,
      .value(
        "timeout", .duration(.milliseconds(10)...(.seconds(3600))), default: "10s", "A run that takes longer is killed."
      ),
    ])

  private static let commandKey = Schema.Key.list(
    "command", .text, required: true,
    "The program's absolute path, then its arguments, each as it is: there is no shell.")
}

extension PoPSettings.BGP.Health.Load {
  init(_ settings: ResolvedSettings) {
    limits = [:]
    for quantity in LoadCheck.Quantity.allCases {
      let high = settings.integer("bgp.health.load.\(quantity)High")
      let low = settings.integer("bgp.health.load.\(quantity)Low")
      if high > 0 { limits[quantity] = LoadCheck.Limit(high: high, low: low > 0 ? low : high * 3 / 4) }
    }
    interval = settings.interval("bgp.health.load.interval")
    degrades = settings.text("bgp.health.load.onHigh") == "degrade"
  }
}

extension PoPSettings.BGP.Health.Command {
  init(_ settings: ResolvedSettings, _ path: String, isCheck: Bool) {
    name = settings.text("\(path).name") ?? ""
    arguments = settings.list("\(path).command")
    timeout = settings.interval("\(path).timeout")
    interval = isCheck ? settings.interval("\(path).interval") : .zero
    degrades = isCheck && settings.text("\(path).onFailure") == "degrade"
  }
}

extension PoPSettings.BGP.Health {
  /// What announcements may name.
  var checkNames: [String] {
    ["listeners"] + (interfaces.isEmpty ? [] : ["interfaces"]) + (load.limits.isEmpty ? [] : ["load"])
      + (drainFile == nil ? [] : ["drain"]) + commands.map(\.name)
  }

  func problems(_ settings: ResolvedSettings) -> [SettingsError.Problem] {
    var problems: [SettingsError.Problem] = []
    for quantity in LoadCheck.Quantity.allCases {
      let path = "bgp.health.load.\(quantity)Low"
      if settings.integer(path) > settings.integer("bgp.health.load.\(quantity)High") {
        problems.append(settings.problem(path, "must not be more than \(quantity)High"))
      }
    }
    var names: Set<String> = ["listeners", "interfaces", "load", "drain"]
    for (key, all) in [("commands", commands), ("hooks", hooks)] {
      for (index, command) in all.enumerated() {
        let path = "bgp.health.\(key)[\(index)]"
        if key == "commands", !names.insert(command.name).inserted {
          problems.append(settings.problem("\(path).name", "'\(command.name)' is taken"))
        }
        if command.arguments.first?.hasPrefix("/") != true {
          problems.append(settings.problem("\(path).command", "must begin with the absolute path of a program"))
        }
      }
    }
    return problems
  }
}
