import PacketCrypto
import Wire

@testable import QUIC

/// Makes authentic packets of whatever an input says: it knows the secrets of ``ScriptedTLS``, so that hostile frames
/// come past the AEAD.
struct Forger: ~Copyable {
  let sender: Role
  let seed: UInt64
  /// The Destination Connection ID of the client's first packet.
  let originalDestination: ConnectionID
  /// Packets of the honest handshake had lower numbers.
  private var next: UInt64 = 64
  private var oneRTT: TrafficSecret
  private let oneRTTHeader: HeaderProtectionKey
  private var isKeyPhaseOdd = false

  init(_ sender: Role, seed: UInt64, originalDestination: ConnectionID) {
    self.sender = sender
    self.seed = seed
    self.originalDestination = originalDestination
    oneRTT = ScriptedTLS.secret(.oneRTT, of: sender, seed: seed)
    oneRTTHeader = HeaderProtectionKey(suite: .aes128GCM, secret: oneRTT)
  }

  mutating func updateKeys() {
    oneRTT = oneRTT.nextGeneration(suite: .aes128GCM)
    isKeyPhaseOdd.toggle()
  }

  mutating func skip(_ count: UInt64) { next += count }

  /// A 1-RTT packet; nil where the payload does not fit.
  mutating func oneRTTPacket(_ payload: UnsafeRawBufferPointer, to destination: ConnectionID) -> [UInt8]? {
    next += 1
    let number = next
    return Self.packet { writer in
      let start = writer.beginShortPacket(
        destinationID: destination, keyPhase: isKeyPhaseOdd, packetNumber: number, packetNumberLength: 4)
      writer.write(payload)
      let key = PacketKey(suite: .aes128GCM, secret: oneRTT)
      return writer.finishPacket(start, key: key, headerProtection: oneRTTHeader)
    }
  }

  /// An Initial packet, padded to 1200 bytes, or a Handshake packet.
  mutating func longPacket(
    _ level: EncryptionLevel, _ payload: UnsafeRawBufferPointer, to destination: ConnectionID, from source: ConnectionID
  ) -> [UInt8]? {
    let secret: TrafficSecret
    if level == .initial {
      let secrets = originalDestination.withUnsafeBytes { InitialSecrets(destinationConnectionID: $0) }
      secret = sender == .client ? secrets.client : secrets.server
    } else {
      secret = ScriptedTLS.secret(level, of: sender, seed: seed)
    }
    next += 1
    let number = next
    return Self.packet { writer in
      let start = writer.beginLongPacket(
        level == .initial ? .initial : .handshake, destinationID: destination, sourceID: source, packetNumber: number,
        packetNumberLength: 4)
      writer.write(payload)
      if level == .initial { writer.writePadding(max(0, 1_200 - writer.count - PacketKey.tagLength)) }
      return writer.finishPacket(
        start, key: PacketKey(suite: .aes128GCM, secret: secret),
        headerProtection: HeaderProtectionKey(suite: .aes128GCM, secret: secret))
    }
  }

  private static func packet(_ write: (inout ByteWriter) -> Int?) -> [UInt8]? {
    var bytes = [UInt8](repeating: 0, count: 2_048)
    let count = bytes.withUnsafeMutableBytes { buffer -> Int? in
      var writer = ByteWriter(buffer)
      return write(&writer)
    }
    guard let count else { return nil }
    bytes.removeLast(bytes.count - count)
    return bytes
  }
}
