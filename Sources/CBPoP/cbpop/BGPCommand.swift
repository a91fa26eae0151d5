import ArgumentParser
import CBPoP
import Foundation
import Settings
import Wire

struct BGPCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "bgp", abstract: "Look at the routing of the PoP that runs here, and change it.",
    subcommands: [
      Show.self, Announce.self, Withdraw.self, Blackhole.self, Flowspec.self, Refresh.self, Reload.self,
      DumpCommand.self,
    ])

  struct Show: ParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Show neighbors, routes, why a route is the best, and what else there is.",
      subcommands: [
        Neighbors.self, Routes.self, Why.self, Health.self, Requests.self, ShowFlowspec.self, RPKI.self,
        MonitoringCommand.self,
      ])
  }

  struct Neighbors: ParsableCommand {
    static let configuration = CommandConfiguration(abstract: "The sessions, or all of one.")
    @Argument(help: "A neighbor by its name in the settings.") var name: String?
    @OptionGroup var place: Place

    func validate() throws { try place.check(name: name) }

    func run() throws {
      let views = try place.ask(.neighbors(named: name), as: NeighborView.self)
      guard let views else { return }
      print(name == nil ? LookingGlassText.table(views) : views.map(LookingGlassText.details).joined(separator: "\n"))
    }
  }

  struct Routes: ParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "The routes, or those within a prefix.",
      discussion: "A star marks the best route to a prefix, an equals sign one that is as good.")
    @Argument(help: "Only routes to this prefix and within it.") var prefix: String?
    @Option(help: "Only routes of the neighbor of this name.") var neighbor: String?
    @OptionGroup var place: Place

    func validate() throws {
      try place.check(name: neighbor)
      if let prefix, IPPrefix(prefix) == nil { throw ValidationError("'\(prefix)' is no prefix, such as 192.0.2.0/24") }
    }

    func run() throws {
      let request = ControlRequest.routes(within: prefix.flatMap { IPPrefix($0) }, of: neighbor)
      // A full table is printed as it comes.
      try place.ask(request, as: DestinationView.self) { print(LookingGlassText.lines($0)) }
    }
  }

  struct Why: ParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "All routes to a prefix, and why the best is the best.",
      discussion: "An address stands for the longest prefix that it is in.")
    @Argument(help: "A prefix or an address.") var prefix: String
    @OptionGroup var place: Place

    func validate() throws { _ = try request }

    private var request: ControlRequest {
      get throws {
        if let address = IPAddress(prefix) { return .whyAddress(address) }
        guard let prefix = IPPrefix(prefix) else {
          throw ValidationError("'\(prefix)' is neither a prefix, such as 192.0.2.0/24, nor an address")
        }
        return .whyPrefix(prefix)
      }
    }

    func run() throws {
      guard let views = try place.ask(try request, as: DestinationView.self) else { return }
      for view in views { print(LookingGlassText.explanation(view)) }
    }
  }
}

/// Which PoP is asked, and in which form it answers.
struct Place: ParsableArguments {
  @Flag(help: "Print JSON.") var json = false
  @Option(help: ArgumentHelp("The PoP's YAML settings file, for its control.socket.", valueName: "file"))
  var config: String?
  @Option(help: ArgumentHelp("The PoP's control socket.", valueName: "path")) var socket: String?

  func check(name: String?) throws {
    if let name, name.isEmpty || name == "-" || name.contains(where: \.isWhitespace) {
      throw ValidationError("'\(name)' is no neighbor's name")
    }
  }

  /// The answer; nil where it has been printed as JSON.
  func ask<View: Decodable>(_ request: ControlRequest, as type: View.Type) throws -> [View]? {
    var views: [View] = []
    try ask(request, as: type) { views.append($0) }
    return json ? nil : views
  }

  func ask<View: Decodable>(_ request: ControlRequest, as type: View.Type, _ body: (View) throws -> Void) throws {
    do {
      let decoder = JSONDecoder()
      var count = 0
      try ControlClient(path: try path).ask(request) { line in
        if json {
          print(count == 0 ? "[" : ",", terminator: "\n")
          print(String(decoding: line, as: UTF8.self), terminator: "")
        } else {
          try body(try decoder.decode(type, from: line))
        }
        count += 1
      }
      if json { print(count == 0 ? "[]" : "\n]") }
    } catch let error where error is ControlSocketError || error is ControlRefusal || error is SettingsError {
      FileHandle.standardError.write(Data("cbpop: \(error)\n".utf8))
      throw ExitCode.failure
    }
  }

  private var path: String {
    get throws {
      if let socket { return socket }
      return try PoPSettings.controlSocket(path: config, environment: ProcessInfo.processInfo.environment)
    }
  }
}
