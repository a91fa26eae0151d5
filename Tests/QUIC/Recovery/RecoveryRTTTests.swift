import Testing
import Wire

@testable import QUIC

private func ms(_ value: Int64) -> Interval { .milliseconds(value) }
private func at(_ milliseconds: Int64) -> Instant { .zero + .milliseconds(milliseconds) }

@Suite struct RTTEstimatorTests {
  @Test func startsFromTheInitialRTT() {
    let rtt = RTTEstimator()
    #expect(rtt.smoothed == ms(333))
    #expect(rtt.variance == .microseconds(166_500))
    // RFC 9002 §6.2.2: handshakes start with a PTO of about 1 second.
    #expect(rtt.probeTimeout == ms(999))
    #expect(!rtt.hasSample)
  }

  @Test func firstSampleReplacesEverything() {
    var rtt = RTTEstimator()
    rtt.update(ms(100), ackDelay: ms(50), maxAckDelay: nil, now: at(100))
    #expect(rtt.latest == ms(100))
    #expect(rtt.minimum == ms(100))
    #expect(rtt.smoothed == ms(100))
    #expect(rtt.variance == ms(50))
    #expect(rtt.firstSample == at(100))
  }

  @Test func subtractsThePeersDelayOnlyDownToTheMinimum() {
    var rtt = RTTEstimator()
    rtt.update(ms(100), ackDelay: .zero, maxAckDelay: nil, now: at(100))
    rtt.update(ms(180), ackDelay: ms(60), maxAckDelay: nil, now: at(300))
    // 7/8 * 100 + 1/8 * 120; 3/4 * 50 + 1/4 * 20
    #expect(rtt.smoothed == .microseconds(102_500))
    #expect(rtt.variance == .microseconds(42_500))
    let before = rtt
    rtt.update(ms(120), ackDelay: ms(60), maxAckDelay: nil, now: at(500))
    #expect(rtt.smoothed == Interval(nanoseconds: before.smoothed.nanoseconds / 8 * 7 + 15_000_000))
  }

  @Test func limitsTheDelayOnceTheHandshakeIsConfirmed() {
    var rtt = RTTEstimator()
    rtt.update(ms(100), ackDelay: .zero, maxAckDelay: nil, now: at(100))
    rtt.update(ms(180), ackDelay: ms(60), maxAckDelay: ms(25), now: at(300))
    #expect(rtt.smoothed == Interval(nanoseconds: 100_000_000 / 8 * 7 + 155_000_000 / 8))
  }

  @Test func minimumNeverRisesButAfterPersistentCongestion() {
    var rtt = RTTEstimator()
    rtt.update(ms(50), ackDelay: .zero, maxAckDelay: nil, now: at(1))
    rtt.update(ms(80), ackDelay: .zero, maxAckDelay: nil, now: at(2))
    #expect(rtt.minimum == ms(50))
    rtt.onPersistentCongestion()
    #expect(rtt.minimum == ms(80))
  }

  @Test func survivesExtremeSamples() {
    var rtt = RTTEstimator()
    for sample in [Interval.zero, .infinite, Interval(nanoseconds: .min), ms(1)] {
      rtt.update(sample, ackDelay: .infinite, maxAckDelay: nil, now: at(1))
      rtt.update(sample, ackDelay: Interval(nanoseconds: .min), maxAckDelay: nil, now: at(1))
    }
    #expect(rtt.minimum == .microseconds(1))
    #expect(rtt.lossDelay >= RTTEstimator.granularity)
  }

  @Test func thresholdsAreNeverBelowTheGranularity() {
    var rtt = RTTEstimator()
    for step in 1...100 {
      rtt.update(.microseconds(10), ackDelay: .zero, maxAckDelay: nil, now: at(Int64(step)))
    }
    #expect(rtt.lossDelay == ms(1))
    #expect(rtt.probeTimeout >= ms(1))
  }
}

/// `#expect` takes its expression apart and so cannot call a mutating method; this keeps the call whole.
func whole<T>(_ call: () throws -> T) rethrows -> T { try call() }
