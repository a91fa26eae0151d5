import Testing
import Wire

@testable import QUIC

/// draft-ietf-quic-load-balancers, and the rings of one address.
@Suite struct RoutingTests {
  private static func bytes(_ hex: String) -> [UInt8] {
    let digits = hex.map { UInt8($0.hexDigitValue!) }
    return stride(from: 0, to: digits.count, by: 2).map { digits[$0] << 4 | digits[$0 + 1] }
  }

  private static let key = bytes("8f95f09245765f80256934e50c66207f")

  struct Vector: CustomTestStringConvertible {
    var identifier: UInt8
    var serverID: String
    var nonce: String
    var isEncrypted: Bool
    var connectionID: String
    var testDescription: String { connectionID }
  }

  /// Of the draft's appendix. Its second unencrypted one is left out: it has an odd number of digits.
  private static let vectors = [
    Vector(identifier: 0, serverID: "c4605e", nonce: "4504cc4f", isEncrypted: false, connectionID: "07c4605e4504cc4f"),
    Vector(identifier: 0, serverID: "ed793a", nonce: "ee080dbf", isEncrypted: true, connectionID: "0720b1d07b359d3c"),
    Vector(
      identifier: 1, serverID: "ed793a51d49b8f5fab65", nonce: "ee080dbf48", isEncrypted: true,
      connectionID: "2fcc381bc74cb4fbad2823a3d1f8fed2"),
    Vector(
      identifier: 2, serverID: "ed793a51d49b8f5f", nonce: "ee080dbf48c0d1e5", isEncrypted: true,
      connectionID: "504dd2d05a7b0de9b2b9907afb5ecf8cc3"),
    Vector(
      identifier: 3, serverID: "ed793a51d49b8f5fab", nonce: "ee080dbf48c0d1e55d", isEncrypted: true,
      connectionID: "125779c9cc86beb3a3a4a3ca96fce4bfe0cdbc"),
  ]

  @Test(arguments: vectors) func draftVectors(_ vector: Vector) throws {
    let (serverID, nonce) = (Self.bytes(vector.serverID), Self.bytes(vector.nonce))
    let configuration = try RoutingConfiguration(
      identifier: vector.identifier, serverIDLength: serverID.count, nonceLength: nonce.count,
      key: vector.isEncrypted ? Self.key : nil)
    let expected = Self.bytes(vector.connectionID)
    let id = configuration.connectionID(serverID: serverID, nonce: nonce, ownBits: expected[0])
    // The last vector's first byte names configuration 0, though its title says 3: all else must agree.
    #expect(id.description.dropFirst(2) == vector.connectionID.dropFirst(2))
    #expect(id.withUnsafeBytes { configuration.serverID(of: $0) } == serverID)
    // A balancer does not see where the ID of a short header ends.
    #expect(
      (id.withUnsafeBytes { [UInt8]($0) } + [1, 2, 3]).withUnsafeBytes { configuration.serverID(of: $0) } == serverID)
  }

  @Test func everyLengthComesBack() throws {
    let entropy = SeededEntropy(seed: 9)
    for serverLength in 1...15 {
      for nonceLength in 4...(19 - serverLength) {
        let configuration = try RoutingConfiguration(
          identifier: 5, serverIDLength: serverLength, nonceLength: nonceLength, key: Self.key)
        let serverID = entropy.bytes(serverLength)
        let id = configuration.connectionID(serverID: serverID, nonce: entropy.bytes(nonceLength), ownBits: 0xff)
        #expect(id.length == 1 + serverLength + nonceLength)
        #expect(id.withUnsafeBytes { configuration.serverID(of: $0) } == serverID)
        #expect(
          id.withUnsafeBytes { configuration.serverID(of: UnsafeRawBufferPointer(rebasing: $0.dropLast())) } == nil)
      }
    }
  }

  @Test func refusesWhatNoConfigurationMayBe() {
    func mistake(_ identifier: UInt8, _ server: Int, _ nonce: Int, _ key: [UInt8]?) -> RoutingConfiguration.Mistake? {
      do {
        _ = try RoutingConfiguration(identifier: identifier, serverIDLength: server, nonceLength: nonce, key: key)
        return nil
      } catch { return error }
    }
    #expect(mistake(7, 3, 8, nil) == .identifier)
    #expect(mistake(0, 0, 8, nil) == .serverID)
    #expect(mistake(0, 3, 3, nil) == .nonce)
    #expect(mistake(0, 12, 8, nil) == .length)
    #expect(mistake(0, 3, 8, [1, 2, 3]) == .key)
    #expect(mistake(6, 11, 8, Self.key) == nil)
  }

  /// Two rings of one server never issue an ID twice, and all of theirs name the server and their ring.
  @Test(arguments: [true, false]) func serversIssueRoutableIDs(isEncrypted: Bool) throws {
    let configuration = try RoutingConfiguration(
      identifier: 2, serverIDLength: 3, nonceLength: 9, key: isEncrypted ? Self.key : nil)
    let entropy = SeededEntropy(seed: 11)
    let server = try RoutableServer(configuration, serverID: [1, 2, 3], entropy: entropy)
    let rings = (0..<3).map { ConnectionIDFormat(server, ring: RingShare(index: $0, count: 3, key: 5)) }
    var nonces: Set<[UInt8]> = []
    var firstBytes: Set<UInt8> = []
    for number in 0..<3_000 {
      let id = rings[number % 3].next(entropy)
      id.withUnsafeBytes { bytes in
        #expect(configuration.serverID(of: bytes) == [1, 2, 3])
        #expect(bytes[0] >> 5 == 2)
        #expect(RingShare(index: 0, count: 3, key: 5).owner(of: bytes) == number % 3)
        firstBytes.insert(bytes[0])
        nonces.insert([UInt8](bytes.dropFirst()))
      }
    }
    #expect(nonces.count == 3_000)
    #expect(firstBytes.count == 32)
  }

  @Test func aServerNeedsItsLengths() throws {
    let configuration = try RoutingConfiguration(identifier: 0, serverIDLength: 2, nonceLength: 7, key: nil)
    #expect(throws: RoutingConfiguration.Mistake.nonce) {
      try RoutableServer(configuration, serverID: [1, 2], entropy: SeededEntropy(seed: 1))
    }
    #expect(throws: RoutingConfiguration.Mistake.serverID) {
      try RoutableServer(configuration, serverID: [1], entropy: SeededEntropy(seed: 1))
    }
  }

  @Test func endpointsKnowWhatIsAnotherRings() {
    var configuration = Endpoint<Int>.Configuration(acceptsConnections: true)
    let share = RingShare(index: 1, count: 4, key: 9)
    configuration.connectionIDs = ConnectionIDFormat(ring: share)
    configuration.statelessResetKey = [UInt8](repeating: 1, count: 32)
    var endpoint = Endpoint<Int>(configuration, entropy: SeededEntropy(seed: 2))
    var reply = [UInt8](repeating: 0, count: 1_500)
    func route(_ datagram: [UInt8]) -> Endpoint<Int>.Route {
      datagram.withUnsafeBytes { bytes in
        reply.withUnsafeMutableBytes {
          endpoint.route(
            bytes, from: ConnectionPair.clientPath, now: Instant(nanoseconds: 1), reply: $0)
        }
      }
    }
    func ring(_ datagram: [UInt8]) -> Int? {
      if case .ring(let index) = route(datagram) { index } else { nil }
    }
    // An ID of each ring, found by trying: short headers, and long ones.
    let rest = [UInt8](repeating: 3, count: 60)
    for first: UInt8 in 0..<32 {
      let owner = ([first] + rest).withUnsafeBytes { share.owner(of: UnsafeRawBufferPointer(rebasing: $0[..<8])) }
      #expect(ring([0x40, first] + rest) == (owner == 1 ? nil : owner))
      #expect(ring([0xc0, 0, 0, 0, 1, 8, first | 0x40] + rest) == (owner == 1 ? nil : owner))
    }
    // What was given to this ring once stays here, whatever it looks like.
    let id = ConnectionID([UInt8](repeating: 2, count: 8))!
    endpoint.add(id, 7)
    if case .connection(7) = route([0x40] + [UInt8](repeating: 2, count: 8) + rest) {
    } else {
      Issue.record("not routed")
    }
  }
}
