import Glibc
import QUIC
import Testing
import Wire

/// Runs each of which is drawn whole from its seed: path, transfer, configurations, and what befalls it. A thousand, and
/// ten thousand in `scripts/test`.
@Suite struct SeedSweepTests {
  private static let sliceSize: UInt64 = 100

  /// The first seed of each slice. SIMULATION_SEED names the only one to run; SIMULATION_FIRST and SIMULATION_COUNT
  /// name others than the first thousand.
  static let slices: [Range<UInt64>] = {
    if let only = number("SIMULATION_SEED") { return [only..<only + 1] }
    let first = number("SIMULATION_FIRST") ?? 0
    let end = first + (number("SIMULATION_COUNT") ?? 1_000)
    return stride(from: first, to: end, by: Int(sliceSize)).map { $0..<min($0 + sliceSize, end) }
  }()

  private static func number(_ name: String) -> UInt64? { getenv(name).flatMap { UInt64(String(cString: $0)) } }

  @Test(arguments: slices) func everyRuleHolds(slice: Range<UInt64>) {
    for seed in slice {
      guard let verdict = Story(seed: seed).run().verdict else { continue }
      let again = Story(seed: seed).retell()
      Issue.record("seed \(seed): \(verdict)\n\(again)")
    }
  }

  @Test func oneSeedIsOneRunToTheByte() {
    for seed: UInt64 in 0..<UInt64(Story.Turn.allCases.count) {
      let runs = (0..<2).map { _ in Story(seed: seed).run() }
      #expect(runs[0] == runs[1])
    }
  }
}
