import QUIC
import Testing
import Wire

struct PacketTransportParameterTests {
  static let client: TransportParameters = {
    var parameters = TransportParameters()
    parameters.maxIdleTimeout = 30_000
    parameters.maxUDPPayloadSize = 1472
    parameters.initialMaxData = 1 << 24
    parameters.initialMaxStreamDataBidiLocal = 1 << 20
    parameters.initialMaxStreamDataBidiRemote = 1 << 21
    parameters.initialMaxStreamDataUni = 1 << 22
    parameters.initialMaxStreamsBidi = 100
    parameters.initialMaxStreamsUni = 3
    parameters.ackDelayExponent = 10
    parameters.maxAckDelay = 26
    parameters.disableActiveMigration = true
    parameters.activeConnectionIDLimit = 8
    parameters.initialSourceConnectionID = ConnectionID([1, 2, 3])
    parameters.maxDatagramFrameSize = 65535
    return parameters
  }()

  static let server: TransportParameters = {
    var parameters = client
    parameters.originalDestinationConnectionID = ConnectionID([UInt8](repeating: 4, count: 20))
    parameters.statelessResetToken = StatelessResetToken([UInt8](repeating: 5, count: 16))
    parameters.retrySourceConnectionID = ConnectionID([6])
    parameters.preferredAddress = PreferredAddress(
      ipv4: SocketAddress("192.0.2.1:443"), ipv6: nil, connectionID: ConnectionID([7, 7])!,
      resetToken: StatelessResetToken([UInt8](repeating: 8, count: 16))!)
    return parameters
  }()

  private func code(_ bytes: String, _ sender: Role = .server) -> TransportError.Code? {
    do {
      _ = try TransportParameters(hex(bytes), from: sender)
      return nil
    } catch {
      return error.code
    }
  }

  @Test func roundTrip() throws {
    #expect(try TransportParameters(Self.client.encoded(), from: .client) == Self.client)
    #expect(try TransportParameters(Self.server.encoded(), from: .server) == Self.server)
    #expect(TransportParameters().encoded().isEmpty)
    #expect(try TransportParameters([], from: .client) == TransportParameters())
    var six = Self.server
    six.preferredAddress?.ipv4 = nil
    six.preferredAddress?.ipv6 = SocketAddress("[2001:db8::1]:443")
    #expect(try TransportParameters(six.encoded(), from: .server) == six)
    var empty = TransportParameters()
    empty.initialSourceConnectionID = .empty
    #expect(empty.encoded() == hex("0f00"))
    #expect(try TransportParameters(empty.encoded(), from: .client) == empty)
  }

  @Test("The longest values there are fit")
  func largest() throws {
    var parameters = Self.server
    parameters.maxIdleTimeout = Varint.max
    parameters.initialMaxData = .max
    parameters.preferredAddress?.connectionID = ConnectionID([UInt8](repeating: 1, count: 20))!
    let read = try TransportParameters(parameters.encoded(), from: .server)
    #expect(read.maxIdleTimeout == Varint.max)
    #expect(read.initialMaxData == Varint.max)
  }

  @Test func unknownAndReservedParametersAreIgnored() throws {
    // 27 is 31 * 0 + 27; 0x3fff... is far beyond the known; the same unknown one twice is nobody's business.
    let noise = "1b0401020304" + "1b00" + "ffffffffffffffff0101"
    #expect(try TransportParameters(hex(noise + "010105"), from: .client).maxIdleTimeout == 5)
  }

  static let refused: [String] = [
    "01",  // no length
    "0102",  // shorter than its length
    "01ffffffffffffffff",  // longer than anything
    "0100",  // no integer
    "01020505",  // more than one integer
    "0101050101" + "05",  // twice
    "030244af",  // max_udp_payload_size 1199
    "04",
    "0808d000000000000001",  // 2^60 + 1 streams
    "0908d000000000000001",
    "0a0115",  // ack_delay_exponent 21
    "0b0480004000",  // max_ack_delay 2^14
    "0c0100",  // disable_active_migration with a value
    "0e0101",  // active_connection_id_limit 1
    "0f15" + String(repeating: "00", count: 21),  // a connection ID of 21 bytes
    "020f" + String(repeating: "00", count: 15),  // a token of 15 bytes
    "0d29" + String(repeating: "00", count: 41),  // preferred address without a connection ID
    "0d2b" + String(repeating: "01", count: 43),  // one byte too many
    // a preferred address beside a zero-length connection ID
    "0f00" + "0d2a" + String(repeating: "00", count: 24) + "01" + String(repeating: "00", count: 17),
  ]

  @Test func refusedParameters() {
    for bytes in Self.refused { #expect(code(bytes) == .transportParameterError, "\(bytes)") }
    #expect(code("030244b0") == nil)
    #expect(code("0808d000000000000000") == nil)
    #expect(code("0a0114") == nil)
    #expect(code("0b027fff") == nil)
    #expect(code("0e0102") == nil)
  }

  @Test func serverOnlyParametersFromAClient() {
    let values = [
      "0000", "0210" + String(repeating: "00", count: 16), "1000",
      "0d2a" + String(repeating: "00", count: 24) + "01" + String(repeating: "00", count: 17),
    ]
    for value in values {
      #expect(code(value, .server) == nil)
      #expect(code(value, .client) == .transportParameterError)
    }
  }

  @Test("Mutated parameters never crash", arguments: 0..<4)
  func mutations(seed: Int) {
    let entropy = SeededEntropy(seed: UInt64(seed) + 7)
    let whole = Self.server.encoded()
    for _ in 0..<2000 {
      var bytes = whole
      for _ in 0...(entropy.nextUInt64() % 4) {
        bytes[Int(entropy.nextUInt64() % UInt64(bytes.count))] = UInt8(truncatingIfNeeded: entropy.nextUInt64())
      }
      bytes.removeLast(Int(entropy.nextUInt64() % 20))
      for role in [Role.client, .server] {
        // What is accepted has an encoding that means the same.
        if let read = try? TransportParameters(bytes, from: role) {
          #expect((try? TransportParameters(read.encoded(), from: role)) == read)
        }
      }
    }
  }
}
