import ArgumentParser
import CBPoP

struct MonitoringCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "monitoring", abstract: "The dumps that are kept (MRT), and the stations that are told (BMP).")
  @OptionGroup var place: Place

  func run() throws {
    guard let views = try place.ask(.monitoring, as: MonitoringView.self) else { return }
    for view in views { print(Self.text(view)) }
  }

  private static func text(_ view: MonitoringView) -> String {
    var text = "no dumps: bgp.mrt.directory is not set"
    if let dumps = view.dumps {
      func every(_ seconds: Int?) -> String { seconds.map { "every \($0) s" } ?? "none" }
      var rows = [
        ["dumps in", dumps.directory],
        ["tables", every(dumps.tables) + (dumps.isDumping ? ", one is being written" : "")],
        ["updates", every(dumps.updates)],
        ["written", "\(dumps.files) files, \(dumps.bytes) bytes, \(dumps.lost) pieces lost"],
        ["last file", dumps.lastFile ?? "-"],
      ]
      rows += dumps.troubles.map { ["trouble", $0] }
      text = LookingGlassText.columns(rows)
    }
    guard !view.stations.isEmpty else { return text + "\n\nno stations: bgp.bmp.collectors is empty" }
    let head = ["STATION", "ADDRESS", "STATE", "SINCE", "PEERS", "MESSAGES", "QUEUED", "CUTS", "LAST TROUBLE"]
    let rows = view.stations.map { station in
      [
        station.name, station.address, station.state, LookingGlassText.time(station.seconds), "\(station.peers)",
        "\(station.messages)", "\(station.queued)", "\(station.cuts)", station.lastTrouble ?? "-",
      ]
    }
    return text + "\n\n" + LookingGlassText.columns([head] + rows)
  }
}
