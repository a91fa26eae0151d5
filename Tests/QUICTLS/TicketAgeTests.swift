import Foundation
import QUIC
import Testing

@testable import QUICTLS

@Suite struct TicketAgeTests {
  @Test func neverMoreThanHasPassed() throws {
    let client = try Contexts.client()
    // Late in a second of the wall clock, so that the next one begins soon.
    waitUntilSecondIs(0.9..<0.95)
    let start = ContinuousClock.now
    var pair = try HandshakePair(client, Contexts.server())
    try pair.run()
    waitUntilSecondIs(0.01..<0.5)
    let ticket = try #require(client.tickets.take(for: "pop.example"))
    #expect(.seconds(ticket.claimedAge) <= ContinuousClock.now - start)
    Thread.sleep(forTimeInterval: 1.1)
    ticket.correctAge()
    #expect(ticket.claimedAge >= 1)
    #expect(.seconds(ticket.claimedAge) <= ContinuousClock.now - start)
  }

  private func waitUntilSecondIs(_ range: Range<Double>) {
    while !range.contains(Date().timeIntervalSince1970.truncatingRemainder(dividingBy: 1)) { usleep(1_000) }
  }
}
