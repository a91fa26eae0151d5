import Foundation

/// Runs the scenarios in virtual time and writes tables and charts: `scenarios [FOLDER [NAME ...]]`.
@main enum Scenarios {
  static func main() throws {
    let arguments = CommandLine.arguments.dropFirst()
    let wanted = Set(arguments.dropFirst())
    var report = try Report(folder: URL(fileURLWithPath: arguments.first ?? "docs/performance"))
    func isWanted(_ name: String) -> Bool { wanted.isEmpty || wanted.contains(name) }
    if isWanted("1") { try report.oneFlow() }
    if isWanted("3") { try report.twoFlows() }
    if isWanted("bufferbloat") { try report.bufferbloat() }
    if isWanted("4") { try report.mixture() }
    if isWanted("5") { try report.randomLoss() }
    if isWanted("6") { try report.manyFlows() }
    if isWanted("7") { try report.convergence() }
    if isWanted("8") { try report.roundTripBias() }
    if isWanted("9") { try report.changingPaths() }
    if isWanted("call") { try report.callBesideBulk() }
    // A part alone is for looking at: the page is written by a whole run.
    guard wanted.isEmpty else { return }
    try report.write(
      "scenarios.md",
      head: """
        # The scenarios in the simulator

        Written by `CBR_BENCH=1 swift build -c release --product scenarios && .build/release/scenarios`; do not edit. What
        the figures mean is in [README.md](README.md). Virtual time and seeded luck: one build gives one page.

        """)
  }
}
