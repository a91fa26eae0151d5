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
    var number: UInt64
    /// Bytes that the packet number took on the wire.
    var numberLength: Int
    /// Where in the datagram it lies.
    var range: Range<Int>
    var keyPhase = false
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

  /// What one end protects its 1-RTT packets with now.
  private final class Sealing {
    var secret: TrafficSecret
    let header: HeaderProtectionKey
    var key: PacketKey
    var isOdd = false

    init(_ secret: TrafficSecret) {
      self.secret = secret
      header = HeaderProtectionKey(suite: .aes128GCM, secret: secret)
      key = PacketKey(suite: .aes128GCM, secret: secret)
    }

    func advance() {
      secret = secret.nextGeneration(suite: .aes128GCM)
      key = PacketKey(suite: .aes128GCM, secret: secret)
      isOdd.toggle()
    }
  }

  private final class InitialKeys {
    let client: Sealing
    let server: Sealing
    init(_ destination: ConnectionID) {
      let secrets = destination.withUnsafeBytes { InitialSecrets(destinationConnectionID: $0) }
      client = Sealing(secrets.client)
      server = Sealing(secrets.server)
    }
  }

  private let seed: UInt64
  private let idLength: Int
  /// By the Destination Connection ID that they come from: the client's first, and the one that a Retry gave it.
  private var initial: [(ConnectionID, InitialKeys)] = []
  private var handshake: [Role: Sealing] = [:]
  private var oneRTT: [ObjectIdentifier: Sealing] = [:]

  init(seed: UInt64, idLength: Int) {
    self.seed = seed
    self.idLength = idLength
  }

  /// The packets of a datagram that `end` sends.
  /// - Parameters:
  ///   - end: of several servers with the same secrets each has key phases of its own.
  ///   - last: the highest packet number that `end` has used in a space.
  /// - Throws: a sentence when the datagram cannot be read.
  func open(
    _ datagram: [UInt8], from role: Role, _ end: ObjectIdentifier, last: (PacketNumberSpace) -> UInt64?
  ) throws(Unreadable) -> [Packet] {
    var copy = datagram
    var packets: [Packet] = []
    var problem: Unreadable?
    copy.withUnsafeMutableBytes { bytes in
      var offset = 0
      while offset < bytes.count, problem == nil {
        let rest = UnsafeMutableRawBufferPointer(rebasing: bytes[offset...])
        do throws(Unreadable) {
          let (packet, length) = try openFirst(rest, at: offset, role, end, last)
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
    _ bytes: UnsafeMutableRawBufferPointer, at offset: Int, _ role: Role, _ end: ObjectIdentifier,
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
      let keys = sealing(level, role, end)
      return (try open(packet, header, level, range, keys, last), header.packetLength)
    }
    if role == .client, !initial.contains(where: { $0.0 == header.destinationID }), initial.count < 2 {
      initial.append((header.destinationID, InitialKeys(header.destinationID)))
    }
    // The keys follow from the client's first ID, or from a Retry's: one of them opens it.
    let original = [UInt8](packet)
    for (_, keys) in initial.reversed() {
      packet.copyBytes(from: original)
      if let opened = try? open(packet, header, level, range, role == .client ? keys.client : keys.server, last) {
        return (opened, header.packetLength)
      }
    }
    throw Unreadable(text: "an Initial packet with keys that nobody has")
  }

  private func sealing(_ level: EncryptionLevel, _ role: Role, _ end: ObjectIdentifier) -> Sealing {
    if level == .oneRTT {
      if let known = oneRTT[end] { return known }
      let keys = Sealing(ScriptedTLS.secret(.oneRTT, of: role, seed: seed))
      oneRTT[end] = keys
      return keys
    }
    if let known = handshake[role] { return known }
    let keys = Sealing(ScriptedTLS.secret(level, of: role, seed: seed))
    handshake[role] = keys
    return keys
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
    if level == .oneRTT, unprotected.keyPhase != keys.isOdd { keys.advance() }
    guard let payload = keys.key.open(packet, headerLength: unprotected.headerLength, packetNumber: number) else {
      throw Unreadable(text: "packet \(number) of \(level) with keys that nobody has")
    }
    var observed = Packet(
      level: level, number: number, numberLength: unprotected.packetNumberLength, range: range,
      keyPhase: unprotected.keyPhase)
    var reader = FrameReader(UnsafeRawBufferPointer(payload), level: level)
    do throws(TransportError) {
      while let frame = try reader.next() { observed.frames.append(ObservedFrame(frame)) }
    } catch {
      throw Unreadable(text: "packet \(number) of \(level): \(error)")
    }
    return observed
  }
}
