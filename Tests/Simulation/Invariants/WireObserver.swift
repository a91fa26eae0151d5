import PacketCrypto
import QUIC
import Wire

/// Opens the packets of both ends as they leave: the secrets of ``ScriptedTLS`` are no secret.
///
/// It keeps no rules; ``WireInvariants`` holds what it reads against them.
final class WireObserver {
  /// One packet of a datagram, in the clear.
  struct Packet {
    var level: EncryptionLevel
    var destinationID: ConnectionID
    var number: UInt64
    /// Bytes that the packet number took on the wire.
    var numberLength: Int
    /// Where in the datagram it lies.
    var range: Range<Int>
    var keyPhase = false
    /// Key updates of its sender's before it.
    var generation = 0
    var frames: [ObservedFrame] = []

    var isAckEliciting: Bool {
      frames.contains {
        switch $0 {
        case .ack, .padding, .close: false
        default: true
        }
      }
    }
    var probesPath: Bool {
      frames.contains {
        switch $0 {
        case .pathChallenge, .pathResponse: true
        default: false
        }
      }
    }
  }

  /// What one end protects its packets of a level with now.
  private final class Sealing {
    let version: Version
    var secret: TrafficSecret
    let header: HeaderProtectionKey
    var key: PacketKey
    var generation = 0

    init(_ secret: TrafficSecret, _ version: Version) {
      self.version = version
      self.secret = secret
      header = HeaderProtectionKey(suite: .aes128GCM, secret: secret, version: version)
      key = PacketKey(suite: .aes128GCM, secret: secret, version: version)
    }

    func advance() {
      secret = secret.nextGeneration(suite: .aes128GCM, version: version)
      key = PacketKey(suite: .aes128GCM, secret: secret, version: version)
      generation += 1
    }
  }

  /// Whose packets of which level a key is for.
  private struct Use: Hashable {
    var level: EncryptionLevel
    var role: Role
    var version: Version
    /// Only 1-RTT keys change, at each end by itself.
    var end: ObjectIdentifier?
  }

  private struct InitialUse: Hashable {
    var destination: ConnectionID
    var role: Role
    var version: Version
  }

  private let seed: UInt64
  private let idLength: Int
  /// What Initial keys come from: the client's first ID, and the one that a Retry gave it.
  private var initialIDs: [ConnectionID] = []
  private var initialKeys: [InitialUse: Sealing] = [:]
  private var keys: [Use: Sealing] = [:]

  init(seed: UInt64, idLength: Int) {
    self.seed = seed
    self.idLength = idLength
  }

  /// The packets of a datagram that `end` sends.
  /// - Parameters:
  ///   - end: of several servers with the same secrets each has key phases of its own.
  ///   - version: what 1-RTT packets, which do not say it, are sent in.
  ///   - last: the highest packet number that `end` has used in a space.
  /// - Throws: a sentence when the datagram cannot be read.
  func open(
    _ datagram: [UInt8], from role: Role, _ end: ObjectIdentifier, version: Version,
    last: (PacketNumberSpace) -> UInt64?
  ) throws(Unreadable) -> [Packet] {
    var copy = datagram
    var packets: [Packet] = []
    var problem: Unreadable?
    copy.withUnsafeMutableBytes { bytes in
      var offset = 0
      while offset < bytes.count, problem == nil {
        let rest = UnsafeMutableRawBufferPointer(rebasing: bytes[offset...])
        do throws(Unreadable) {
          let (packet, length) = try openFirst(rest, at: offset, role, end, version, last)
          packets.append(packet)
          offset += length
        } catch {
          problem = error
        }
      }
    }
    if let problem { throw problem }
    return packets
  }

  struct Unreadable: Error { var text: String }

  private func openFirst(
    _ bytes: UnsafeMutableRawBufferPointer, at offset: Int, _ role: Role, _ end: ObjectIdentifier, _ version: Version,
    _ last: (PacketNumberSpace) -> UInt64?
  ) throws(Unreadable) -> (Packet, Int) {
    let header: PacketHeader
    do throws(PacketHeaderError) {
      header = try PacketHeader(UnsafeRawBufferPointer(bytes), shortIDLength: idLength, takesAnyFixedBit: true)
    } catch {
      throw Unreadable(text: "no packet header: \(error)")
    }
    guard let level = header.type.level else { throw Unreadable(text: "a packet of type \(header.type)") }
    let packet = UnsafeMutableRawBufferPointer(rebasing: bytes[..<header.packetLength])
    let range = offset..<offset + header.packetLength
    if level != .initial {
      let use = Use(
        level: level, role: role, version: level == .oneRTT ? version : header.version,
        end: level == .oneRTT ? end : nil)
      let keys = sealing(use) { ScriptedTLS.secret(level, of: role, seed: seed) }
      return (try open(packet, header, level, range, keys, last), header.packetLength)
    }
    if role == .client, !initialIDs.contains(header.destinationID), initialIDs.count < 2 {
      initialIDs.append(header.destinationID)
    }
    // The keys follow from the client's first ID, or from a Retry's: one of them opens it.
    let original = [UInt8](packet)
    for id in initialIDs.reversed() {
      packet.copyBytes(from: original)
      let keys = initialSealing(InitialUse(destination: id, role: role, version: header.version))
      if let opened = try? open(packet, header, level, range, keys, last) { return (opened, header.packetLength) }
    }
    throw Unreadable(text: "an Initial packet with keys that nobody has")
  }

  private func initialSealing(_ use: InitialUse) -> Sealing {
    if let known = initialKeys[use] { return known }
    let secrets = use.destination.withUnsafeBytes {
      InitialSecrets(version: use.version, destinationConnectionID: $0)
    }
    let new = Sealing(use.role == .client ? secrets.client : secrets.server, use.version)
    initialKeys[use] = new
    return new
  }

  private func sealing(_ use: Use, _ secret: () -> TrafficSecret) -> Sealing {
    if let known = keys[use] { return known }
    let new = Sealing(secret(), use.version)
    keys[use] = new
    return new
  }

  private func open(
    _ packet: UnsafeMutableRawBufferPointer, _ header: PacketHeader, _ level: EncryptionLevel, _ range: Range<Int>,
    _ keys: Sealing, _ last: (PacketNumberSpace) -> UInt64?
  ) throws(Unreadable) -> Packet {
    guard let unprotected = keys.header.unprotect(packet, packetNumberOffset: header.packetNumberOffset) else {
      throw Unreadable(text: "a packet too short to sample")
    }
    let number = PacketNumber.decode(
      unprotected.truncatedPacketNumber, length: unprotected.packetNumberLength,
      largestReceived: last(level.packetNumberSpace))
    if level == .oneRTT, unprotected.keyPhase != (keys.generation & 1 == 1) { keys.advance() }
    guard let payload = keys.key.open(packet, headerLength: unprotected.headerLength, packetNumber: number) else {
      throw Unreadable(text: "packet \(number) of \(level) with keys that nobody has")
    }
    var observed = Packet(
      level: level, destinationID: header.destinationID, number: number,
      numberLength: unprotected.packetNumberLength, range: range, keyPhase: unprotected.keyPhase,
      generation: keys.generation)
    var reader = FrameReader(UnsafeRawBufferPointer(payload), level: level)
    do throws(TransportError) {
      while let frame = try reader.next() { observed.frames.append(ObservedFrame(frame)) }
    } catch {
      throw Unreadable(text: "packet \(number) of \(level): \(error)")
    }
    return observed
  }
}
