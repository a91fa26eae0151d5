import Glibc
import QUIC
import Wire

/// What a packet sent, and an ACK of two packets, costs with each controller: loss recovery, pacer and controller together,
/// with a thousand packets in flight.
enum Controllers {
  private static let batch = 500
  private static let pair = Interval.microseconds(24)

  /// - Parameters:
  ///   - rounds: batches of 500 packets; the best of five runs counts.
  ///   - only: one controller, once and without loss, for a profiler that counts instructions.
  static func measure(_ rounds: Int, only: String?) throws {
    let rounds = max(rounds, 3)
    if let only {
      guard let algorithm = CongestionAlgorithm(rawValue: only) else { return print("no such controller: \(only)") }
      _ = try flow(algorithm, rounds: rounds, losesEvery: nil)
      return
    }
    print("| controller | packet sent, ns | ACK of two packets, ns | ACK with 1 % lost, ns |\n|---|---|---|---|")
    for algorithm in CongestionAlgorithm.allCases {
      var clean = (sent: Double.infinity, acked: Double.infinity)
      var lossy = Double.infinity
      for _ in 0..<5 {
        let run = try flow(algorithm, rounds: rounds, losesEvery: nil)
        clean = (min(clean.sent, run.sent), min(clean.acked, run.acked))
        lossy = min(lossy, try flow(algorithm, rounds: rounds, losesEvery: 50).acked)
      }
      print("| \(algorithm.rawValue) | \(Int(clean.sent)) | \(Int(clean.acked)) | \(Int(lossy)) |")
    }
  }

  /// - Parameter losesEvery: of so many pairs of packets the first is never acknowledged.
  private static func flow(
    _ algorithm: CongestionAlgorithm, rounds: Int, losesEvery: UInt64?
  ) throws -> (sent: Double, acked: Double) {
    var recovery = LossRecovery(role: .client, algorithm: algorithm, maximumDatagramSize: 1_452)
    recovery.isHandshakeConfirmed = true
    var now = Instant.zero
    var next: UInt64 = 0
    var acked: UInt64 = 0
    var spent = (sent: 0.0, acked: 0.0)
    var ranges: [ClosedRange<UInt64>] = [0...0]
    for _ in 0..<rounds {
      var start = Processor.seconds()
      for _ in 0..<batch {
        _ = recovery.sendBudget(now)
        recovery.record(.stream(StreamID(rawValue: 0), offset: next, length: 1_400, fin: false), in: .applicationData)
        recovery.onPacketSent(
          .applicationData, number: next, size: 1_452, isAckEliciting: true, isInFlight: true, now: now)
        next += 1
        now += pair / 2
      }
      spent.sent += Processor.seconds() - start
      guard next > 2 * batch else { continue }
      start = Processor.seconds()
      for _ in 0..<batch / 2 {
        let loses = losesEvery.map { acked / 2 % $0 == 0 } ?? false
        ranges[0] = (loses ? acked + 1 : acked)...acked + 1
        acked += 2
        _ = try recovery.onAckReceived(
          .applicationData, largest: ranges[0].upperBound, delay: .zero, ranges: ranges, now: now)
        now += pair
      }
      spent.acked += Processor.seconds() - start
    }
    return (spent.sent / Double(rounds * batch) * 1e9, spent.acked / Double((rounds - 2) * batch / 2) * 1e9)
  }
}
