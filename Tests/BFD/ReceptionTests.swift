import Testing
import Wire

@testable import BFD

func octets(_ packet: ControlPacket, _ change: (inout [UInt8]) -> Void = { _ in }) -> [UInt8] {
  var bytes = [UInt8](repeating: 0, count: ControlPacket.length)
  bytes.withUnsafeMutableBytes {
    var writer = ByteWriter($0)
    packet.write(to: &writer)
  }
  change(&bytes)
  return bytes
}

/// The rules of RFC 5880 §6.8.6, one after the other.
@Suite("Reception of BFD Control packets") struct ReceptionTests {
  static let peer = SessionTable.Peer(local: IPAddress("10.0.0.1")!, remote: IPAddress("10.0.0.2")!)
  static let stranger = SessionTable.Peer(local: IPAddress("10.0.0.1")!, remote: IPAddress("10.0.0.3")!)

  struct Case: CustomTestStringConvertible, Sendable {
    let testDescription: String
    var state = SessionState.down
    var yourDiscriminator: UInt32 = 0
    var hopLimit: UInt8? = 255
    var change: @Sendable (inout [UInt8]) -> Void = { _ in }
    var isFromStranger = false
    let discard: SessionTable.Discard?
  }

  static let cases: [Case] = [
    Case(testDescription: "a good packet", discard: nil),
    Case(testDescription: "version 0", change: { $0[0] = 0x00 }, discard: .malformed(.version)),
    Case(testDescription: "version 2", change: { $0[0] = 0x40 }, discard: .malformed(.version)),
    Case(testDescription: "a length of 23", change: { $0[3] = 23 }, discard: .malformed(.length)),
    Case(
      testDescription: "a length of 25 with authentication",
      change: {
        $0[1] |= 4; $0 += [1, 2]; $0[3] = 25
      }, discard: .malformed(.length)),
    Case(testDescription: "a length beyond the datagram", change: { $0[3] = 25 }, discard: .malformed(.length)),
    Case(testDescription: "octets behind the length", change: { $0 += [1, 2, 3] }, discard: nil),
    Case(testDescription: "cut short", change: { $0.removeLast() }, discard: .malformed(.length)),
    Case(testDescription: "three octets", change: { $0.removeLast(21) }, discard: .malformed(.length)),
    Case(testDescription: "a Detect Mult of 0", change: { $0[2] = 0 }, discard: .malformed(.detectMultiplier)),
    Case(testDescription: "the Multipoint bit", change: { $0[1] |= 1 }, discard: .malformed(.multipoint)),
    Case(
      testDescription: "no My Discriminator", change: { $0[4...7] = [0, 0, 0, 0] },
      discard: .malformed(.myDiscriminator)),
    Case(testDescription: "an unknown Your Discriminator", yourDiscriminator: 99, discard: .unknownSession),
    Case(
      testDescription: "Init without Your Discriminator", state: .initializing, discard: .malformed(.yourDiscriminator)),
    Case(testDescription: "Up without Your Discriminator", state: .up, discard: .malformed(.yourDiscriminator)),
    Case(testDescription: "AdminDown without Your Discriminator", state: .adminDown, discard: nil),
    Case(testDescription: "Down from a stranger", isFromStranger: true, discard: .unknownSession),
    Case(
      testDescription: "authentication",
      change: {
        $0[1] |= 4; $0 += [1, 2]; $0[3] = 26
      }, discard: .authentication),
    Case(testDescription: "a TTL of 254", hopLimit: 254, discard: .hopLimit),
    Case(testDescription: "an unknown TTL", hopLimit: nil, discard: .hopLimit),
  ]

  @Test(arguments: cases) func aPacketIsTakenOrDiscarded(_ test: Case) {
    var table = SessionTable(entropy: SeededEntropy(seed: 3))
    let discriminator = table.add(Self.peer, .init(), now: .zero)
    let packet = ControlPacket(
      state: test.state, myDiscriminator: 7, yourDiscriminator: test.yourDiscriminator,
      desiredMinTxInterval: 1_000_000, requiredMinRxInterval: 50_000)
    let bytes = octets(packet, test.change)
    let taken = bytes.withUnsafeBytes {
      table.receive($0, test.isFromStranger ? Self.stranger : Self.peer, hopLimit: test.hopLimit, now: .zero)
    }
    #expect(taken == (test.discard == nil ? discriminator : nil))
    #expect(table.discards == (test.discard.map { [$0: 1] } ?? [:]))
    if test.discard != nil { #expect(table[discriminator]?.remoteDiscriminator == 0) }
  }

  /// The table of RFC 5880 §6.2: what a packet of each state makes of each state.
  @Test(arguments: [
    (SessionState.down, SessionState.adminDown, SessionState.down), (.down, .down, .initializing),
    (.down, .initializing, .up), (.down, .up, .down), (.initializing, .adminDown, .down),
    (.initializing, .down, .initializing), (.initializing, .initializing, .up), (.initializing, .up, .up),
    (.up, .adminDown, .down), (.up, .down, .down), (.up, .initializing, .up), (.up, .up, .up),
    (.adminDown, .down, .adminDown), (.adminDown, .initializing, .adminDown), (.adminDown, .up, .adminDown),
  ]) func aStateFollowsAnother(_ before: SessionState, _ received: SessionState, _ after: SessionState) {
    var session = session(in: before)
    session.receive(packet(received), now: .zero)
    #expect(session.state == after)
    if before == .up, after == .down { #expect(session.localDiagnostic == .neighborSignaledDown) }
  }

  private func packet(_ state: SessionState) -> ControlPacket {
    ControlPacket(
      state: state, myDiscriminator: 7, yourDiscriminator: 5, desiredMinTxInterval: 50_000,
      requiredMinRxInterval: 50_000)
  }

  private func session(in state: SessionState) -> Session {
    var session = Session(.init(), localDiscriminator: 5, entropy: SeededEntropy(seed: 1), now: .zero)
    switch state {
    case .adminDown: session.disable(now: .zero)
    case .down: break
    case .initializing: session.receive(packet(.down), now: .zero)
    case .up: session.receive(packet(.initializing), now: .zero)
    }
    #expect(session.state == state)
    return session
  }

  @Test func aPacketIsReadAsItWasWritten() throws {
    var packet = ControlPacket(
      state: .up, detectMultiplier: 5, myDiscriminator: 0x0102_0304, yourDiscriminator: 0x0506_0708,
      desiredMinTxInterval: 50_000, requiredMinRxInterval: 60_000)
    packet.diagnostic = .pathDown
    packet.isPoll = true
    packet.isControlPlaneIndependent = true
    packet.isDemand = true
    let bytes = octets(packet)
    #expect(bytes.prefix(12) == [0x25, 0xea, 5, 24, 1, 2, 3, 4, 5, 6, 7, 8])
    let read = try bytes.withUnsafeBytes { bytes throws in try ControlPacket(bytes) }
    #expect(read == packet)
  }

  @Test func noOctetsTrap() {
    let entropy = SeededEntropy(seed: 5)
    for length in 0..<40 {
      for _ in 0..<500 {
        var bytes = entropy.bytes(length)
        if length > 3 {
          bytes[0] = 0x20 | bytes[0] & 0x1f
          bytes[3] = UInt8(length)
        }
        _ = bytes.withUnsafeBytes { bytes in try? ControlPacket(bytes) }
      }
    }
  }
}
