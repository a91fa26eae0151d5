import PacketCrypto
import QUIC
import Wire

/// Makes authentic packets with frames that no honest peer sends. It knows the scripted secrets, so
/// what it makes passes the AEAD and meets the code behind it.
struct Forger {
  let seed: UInt64
  var dice: Dice
  /// The Destination Connection ID of the client's first packet.
  var originalDestination: ConnectionID
  private var nextNumber: UInt64 = 200

  /// - Parameter datagram: the client's first; nil for anything that cannot be one.
  init?(seed: UInt64, first datagram: [UInt8]) {
    let destination = datagram.withUnsafeBytes { bytes -> ConnectionID? in
      guard let header = try? PacketHeader(bytes, shortIDLength: 8), header.type == .initial else { return nil }
      return header.destinationID
    }
    guard let destination else { return nil }
    self.seed = seed
    originalDestination = destination
    dice = Dice(seed: seed ^ 0xf0f0)
  }

  /// A packet of `sender`'s with hostile frames, or nil where it does not fit.
  mutating func packet(_ level: EncryptionLevel, from sender: Role, to destination: ConnectionID, source: ConnectionID)
    -> [UInt8]?
  {
    let secret: TrafficSecret
    if level == .initial {
      let secrets = originalDestination.withUnsafeBytes { InitialSecrets(destinationConnectionID: $0) }
      secret = sender == .client ? secrets.client : secrets.server
    } else {
      secret = ScriptedTLS.secret(level, of: sender, seed: seed)
    }
    let key = PacketKey(suite: .aes128GCM, secret: secret)
    let protection = HeaderProtectionKey(suite: .aes128GCM, secret: secret)
    nextNumber += 1 + dice.below(3)
    let payload = self.payload()
    let number = nextNumber
    let isPadded = level == .initial
    var bytes = [UInt8](repeating: 0, count: 1500)
    let count = bytes.withUnsafeMutableBytes { buffer -> Int? in
      var writer = ByteWriter(buffer)
      let start =
        level == .oneRTT
        ? writer.beginShortPacket(
          destinationID: destination, keyPhase: false, packetNumber: number, packetNumberLength: 4)
        : writer.beginLongPacket(
          level == .initial ? .initial : .handshake, destinationID: destination, sourceID: source,
          packetNumber: number, packetNumberLength: 4)
      payload.withUnsafeBytes { writer.write($0) }
      if isPadded { writer.writePadding(max(0, 1200 - writer.count - PacketKey.tagLength)) }
      return writer.finishPacket(start, key: key, headerProtection: protection)
    }
    return count.map { Array(bytes[..<$0]) }
  }

  /// One to four frames of any type with any values, sometimes damaged.
  private mutating func payload() -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: 1100)
    let count = bytes.withUnsafeMutableBytes { buffer in
      var writer = ByteWriter(buffer)
      for _ in 0...dice.below(4) { writeFrame(&writer) }
      return writer.count
    }
    bytes.removeLast(bytes.count - count)
    if dice.chance(0.2), !bytes.isEmpty { bytes.removeLast(Int(dice.below(UInt64(bytes.count)))) }
    if dice.chance(0.2), !bytes.isEmpty {
      for _ in 0...dice.below(4) {
        bytes[Int(dice.below(UInt64(bytes.count)))] = UInt8(truncatingIfNeeded: dice.next())
      }
    }
    return bytes
  }

  /// Values where mistakes live: small ones, powers of two, and the edges of a varint.
  private mutating func value() -> UInt64 {
    switch dice.below(8) {
    case 0...3: dice.below(20)
    case 4: (1 << dice.below(62)) - dice.below(2)
    case 5: Varint.max - dice.below(3)
    case 6: dice.below(1 << 20)
    default: dice.next() >> 2
    }
  }

  /// How many varints each type of frame begins with, up to its data (RFC 9000 §19, RFC 9221 §4).
  private static let fields: [UInt64: Int] = [
    0x00: 0, 0x01: 0, 0x02: 4, 0x03: 7, 0x04: 3, 0x05: 2, 0x06: 2, 0x07: 1, 0x08: 1, 0x09: 1, 0x0a: 2, 0x0b: 2,
    0x0c: 2, 0x0d: 2, 0x0e: 3, 0x0f: 3, 0x10: 1, 0x11: 2, 0x12: 1, 0x13: 1, 0x14: 1, 0x15: 2, 0x16: 1, 0x17: 1,
    0x18: 2, 0x19: 1, 0x1a: 0, 0x1b: 0, 0x1c: 3, 0x1d: 2, 0x1e: 0, 0x30: 0, 0x31: 1, 0x40: 1,
  ]

  private mutating func writeFrame(_ writer: inout ByteWriter) {
    let types: [UInt64] = Self.fields.keys.sorted()
    // CONNECTION_CLOSE ends the fun and is rare.
    var type = types[Int(dice.below(UInt64(types.count)))]
    if type == 0x1c || type == 0x1d, dice.chance(0.9) { type = 0x08 }
    writer.writeVarint(type)
    let fields = Self.fields[type]!
    for field in 0..<fields {
      let isLength = field == fields - 1 && [0x06, 0x07, 0x0a, 0x0b, 0x0e, 0x0f, 0x1c, 0x1d, 0x31].contains(type)
      // Lengths are mostly such that the data that follows is there.
      writer.writeVarint(isLength && dice.chance(0.8) ? dice.below(30) : value())
    }
    if type == 0x18 { writer.write(UInt8(dice.below(22))) }
    if [0x06, 0x07, 0x08, 0x09, 0x0a, 0x0b, 0x0e, 0x0f, 0x18, 0x1a, 0x1b, 0x30, 0x31].contains(type) {
      for _ in 0..<(type == 0x18 ? 36 : type == 0x1a || type == 0x1b ? 8 : dice.below(30)) {
        writer.write(UInt8(truncatingIfNeeded: dice.next()))
      }
    }
  }
}
