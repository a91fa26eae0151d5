import ArgumentParser
import CBPoP

struct StopCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "stop", abstract: "Stop the PoP that runs here, or have it go away for a restart.",
    discussion: """
      Without a flag it drains, as after SIGTERM: clients and neighbors are sent elsewhere first.

      With --graceful-restart BGP neighbors that have agreed to it (bgp.neighbors.restartTime on this side) keep sending to \
      this PoP until it is back, or their time is over, and the kernel's routes stay. Traffic is lost meanwhile: have the new \
      process start at once. It is refused where the service is not well, or no neighbor would keep our routes. See docs/bgp-restart.md.
      """)
  @Flag(help: "Have neighbors keep our routes until the PoP is started again (RFC 4724).") var gracefulRestart = false
  @OptionGroup var place: Place

  func run() throws {
    for view in try place.ask(.stop(isRestart: gracefulRestart), as: RestartView.self) ?? [] {
      if let seconds = view.keepsFor {
        print("\(view.neighbor) keeps our routes for \(seconds) s")
      } else {
        print("\(view.neighbor) drops our routes: \(view.reason ?? "-")")
      }
    }
  }
}
