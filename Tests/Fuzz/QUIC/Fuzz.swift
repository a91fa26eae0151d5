import FuzzDriver
import PacketCrypto
import QUIC
import Wire

/// Each must hold to what the documentation of what it tries promises, and none may trap.
@main enum FuzzQUIC {
  static func main() {
    runFuzzer([
      "frames": fuzzFrames, "packets": fuzzDatagram, "parameters": fuzzTransportParameters,
      "invariants": fuzzInvariants, "address-tokens": fuzzAddressToken, "routable-ids": fuzzRoutableID,
    ])
  }
}

/// The first byte chooses the level.
@Sendable func fuzzFrames(_ input: UnsafeRawBufferPointer) {
  let (choice, bytes) = input.choiceAndRest
  // Proof for the unwrap: two bits have four values, as many as there are levels.
  var reader = FrameReader(bytes, level: EncryptionLevel(rawValue: choice & 3)!)
  while let frame = try? reader.next() {
    switch frame {
    case .ack(let ack):
      var below = UInt64.max
      for range in ack {
        precondition(range.upperBound < below, "ranges descend and do not overlap")
        below = range.lowerBound
      }
      precondition(ack.smallest == below)
    case .stream(let stream):
      precondition(stream.offset + UInt64(stream.data.count) <= Varint.max)
    case .newConnectionID(let new):
      precondition(new.retirePriorTo <= new.sequence && new.connectionID.length > 0)
    case .connectionClose(let close):
      precondition(close.reasonText.utf8.count <= 3 * 256)
    default: break
    }
  }
}

@Sendable func fuzzDatagram(_ bytes: UnsafeRawBufferPointer) {
  // Decryption works in place, so on a copy.
  withUnsafeTemporaryAllocation(byteCount: bytes.count, alignment: 8) { datagram in
    datagram.copyMemory(from: bytes)
    let secret = TrafficSecret(UnsafeRawBufferPointer(start: nil, count: 0))
    let key = PacketKey(suite: .aes128GCM, secret: secret)
    let protection = HeaderProtectionKey(suite: .aes128GCM, secret: secret)
    var rest = UnsafeMutableRawBufferPointer(rebasing: datagram[...])
    while let header = try? PacketHeader(UnsafeRawBufferPointer(rest), shortIDLength: 8) {
      precondition(header.packetLength > 0 && header.packetLength <= rest.count)
      precondition(header.packetNumberOffset <= header.packetLength)
      let packet = UnsafeMutableRawBufferPointer(rebasing: rest[..<header.packetLength])
      rest = UnsafeMutableRawBufferPointer(rebasing: rest[header.packetLength...])
      switch header.type {
      case .retry:
        _ = Retry.isValid(UnsafeRawBufferPointer(packet), header: header, originalDestinationID: .empty)
      case .versionNegotiation:
        _ = VersionNegotiation.versions(UnsafeRawBufferPointer(packet), header: header)
      case .initial, .zeroRTT, .handshake, .oneRTT:
        guard let opened = protection.unprotect(packet, packetNumberOffset: header.packetNumberOffset) else { continue }
        let number = PacketNumber.decode(
          opened.truncatedPacketNumber, length: opened.packetNumberLength, largestReceived: 0)
        _ = key.open(packet, headerLength: opened.headerLength, packetNumber: number)
      }
    }
  }
}

/// The first byte chooses whose they are.
@Sendable func fuzzTransportParameters(_ input: UnsafeRawBufferPointer) {
  let (choice, bytes) = input.choiceAndRest
  let sender = choice & 1 == 0 ? Role.client : .server
  guard let parameters = try? TransportParameters(bytes, from: sender) else { return }
  let again = try? TransportParameters(parameters.encoded(), from: sender)
  precondition(again == parameters, "what is accepted has an encoding that means the same")
}

@Sendable func fuzzInvariants(_ bytes: UnsafeRawBufferPointer) {
  guard let header = InvariantHeader(bytes, shortIDLength: 8) else { return }
  precondition(header.length <= bytes.count)
  withUnsafeTemporaryAllocation(byteCount: 600, alignment: 8) { memory in
    var writer = ByteWriter(memory)
    VersionNegotiation.write(to: &writer, answering: header, entropy: SeededEntropy(seed: 1))
    precondition(!writer.overflowed)
  }
}
