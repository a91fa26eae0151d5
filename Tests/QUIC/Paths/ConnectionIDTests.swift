import Testing
import Wire

@testable import QUIC

/// What our connection IDs say of each other (RFC 9000 §5.1).
@Suite struct ConnectionIDTests {
  /// Entropy that yields eight-byte answers from a list, over and over.
  private final class LoopingEntropy: EntropySource {
    private let answers: [UInt8]
    private var position = 0
    init(_ answers: [UInt8]) { self.answers = answers }

    func fill(_ buffer: UnsafeMutableRawBufferPointer) {
      for index in buffer.indices { buffer[index] = answers[position] }
      position = (position + 1) % answers.count
    }
  }

  private static func id(_ byte: UInt8) -> ConnectionID { ConnectionID([UInt8](repeating: byte, count: 8))! }

  private func issuer(_ answers: [UInt8], taken: ConnectionID? = nil) -> LocalConnectionIDs {
    var configuration = Configuration()
    configuration.statelessResetKey = [UInt8](repeating: 0, count: 32)
    return LocalConnectionIDs(configuration: configuration, taken: taken, entropy: LoopingEntropy(answers))
  }

  @Test func noneIsIssuedTwice() throws {
    var ids = issuer([1])
    #expect(ids.first == Self.id(1))
    // What comes again is drawn again, even when it has been retired since.
    let entropy = LoopingEntropy([1, 2, 1, 2, 3, 1, 2, 3, 4, 3, 5])
    #expect(ids.replenish(peerLimit: 3, entropy: entropy) == [Self.id(2), Self.id(3)])
    #expect(try ids.receiveRetirement(1, packetDestination: Self.id(1)) == Self.id(2))
    #expect(ids.replenish(peerLimit: 3, entropy: entropy) == [Self.id(4)])
    #expect(try ids.receiveRetirement(0, packetDestination: Self.id(3)) == Self.id(1))
    #expect(ids.replenish(peerLimit: 3, entropy: entropy) == [Self.id(5)])
    // And what always comes again is not waited for.
    #expect(try ids.receiveRetirement(2, packetDestination: Self.id(4)) == Self.id(3))
    #expect(ids.replenish(peerLimit: 3, entropy: LoopingEntropy([1, 2, 3])) == [])
    #expect(ids.active.map(\.sequence) == [3, 4])
  }

  /// The ID that the client or a Retry chose leads here too, until the handshake is confirmed.
  @Test func noneIsTheOneThatTheConnectionBeganWith() {
    let entropy: [UInt8] = [7, 7, 8]
    #expect(issuer(entropy, taken: Self.id(7)).first == Self.id(8))
    #expect(issuer(entropy).first == Self.id(7))
  }

  @Test func theNumberIssuedIsBounded() throws {
    var ids = LocalConnectionIDs(configuration: Configuration(), taken: nil, entropy: SeededEntropy(seed: 3))
    let entropy = SeededEntropy(seed: 4)
    var seen: Set<ConnectionID> = [ids.first]
    for sequence: UInt64 in 0..<20_000 {
      for id in ids.replenish(peerLimit: 2, entropy: entropy) { #expect(seen.insert(id).inserted) }
      guard ids.active.count == 2 else { break }
      _ = try ids.receiveRetirement(sequence, packetDestination: ids.active[1].id)
    }
    #expect(seen.count == LocalConnectionIDs.mostIssued)
    // The last one stays.
    #expect(ids.active.count == 1)
  }

  /// No bit of an ID tells anything of the same or another bit of the next, but for those that say what the format is
  /// there to say: which configuration, in the clear, and which server where no key hides it.
  @Test(arguments: [8, 4, 20]) func idsOfOneConnectionHaveNothingInCommon(length: Int) {
    var configuration = Configuration()
    configuration.connectionIDs = ConnectionIDFormat(length: length)
    expectUnlinkable(configuration, known: { _ in false })
  }

  @Test func routableIDsOfOneConnectionHaveNothingInCommon() throws {
    let routing = try RoutingConfiguration(
      identifier: 2, serverIDLength: 3, nonceLength: 8, key: [UInt8](repeating: 9, count: 16))
    let server = try RoutableServer(routing, serverID: [1, 2, 3], entropy: SeededEntropy(seed: 1))
    var configuration = Configuration()
    configuration.connectionIDs = ConnectionIDFormat(server)
    // The three bits of configuration are those of every ID of every server.
    expectUnlinkable(configuration, known: { $0 < 3 })
  }

  /// All IDs of a connection mean the same ring, and none shows it.
  @Test(arguments: [2, 4, 5]) func idsOfOneRingHaveNothingInCommon(rings: Int) throws {
    let share = RingShare(index: 1, count: rings, key: 0x1122_3344_5566_7788)
    var configuration = Configuration()
    configuration.connectionIDs = ConnectionIDFormat(ring: share)
    expectUnlinkable(configuration, known: { _ in false })
    let entropy = SeededEntropy(seed: 3)
    for _ in 0..<200 {
      let owner = configuration.connectionIDs.next(entropy).withUnsafeBytes { share.owner(of: $0) }
      #expect(owner == 1)
    }
  }

  /// Issues many IDs on one connection, and counts how often each bit differs from each bit of the next ID.
  private func expectUnlinkable(_ configuration: Configuration, known: (_ bit: Int) -> Bool) {
    let entropy = SeededEntropy(seed: 77)
    var ids = LocalConnectionIDs(configuration: configuration, taken: nil, entropy: entropy)
    var issued = [ids.first]
    while issued.count < 4_000 {
      let fresh = ids.replenish(peerLimit: 2, entropy: entropy)
      issued += fresh
      guard !fresh.isEmpty, (try? ids.receiveRetirement(UInt64(issued.count) - 2, packetDestination: .empty)) != nil
      else { return #expect(issued.count >= 4_000) }
    }
    let earlier = Self.columns(issued.dropLast())
    let later = Self.columns(issued.dropFirst())
    let half = (issued.count - 1) / 2
    for bit in earlier.indices where !known(bit) {
      // Each bit is as often set as not, and follows none of the ID before: within five standard deviations.
      let set = earlier[bit].reduce(0) { $0 + $1.nonzeroBitCount }
      #expect(abs(set - half) < 160, "bit \(bit): \(set)")
      for other in later.indices where !known(other) {
        let unlike = zip(earlier[bit], later[other]).reduce(0) { $0 + ($1.0 ^ $1.1).nonzeroBitCount }
        #expect(abs(unlike - half) < 160, "bits \(bit) and \(other): \(unlike)")
      }
    }
  }

  /// For each bit of an ID, that bit of all the IDs.
  private static func columns(_ ids: some Sequence<ConnectionID>) -> [[UInt64]] {
    var columns: [[UInt64]] = []
    for (row, id) in ids.enumerated() {
      id.withUnsafeBytes { bytes in
        for bit in 0..<bytes.count * 8 {
          if row == 0 { columns.append([]) }
          if row % 64 == 0 { columns[bit].append(0) }
          if bytes[bit / 8] << UInt8(bit % 8) & 0x80 != 0 { columns[bit][row / 64] |= 1 << UInt64(row % 64) }
        }
      }
    }
    return columns
  }
}
