import FuzzDriver
import PacketCrypto
import QUIC
import Wire

@main enum FuzzQUIC {
  static func main() { runFuzzer { fuzzOneInput($0, $1) } }
}

/// What libFuzzer calls with each input. The first byte chooses the parser, the rest is what it parses; each must hold
/// to what its documentation promises, and none may trap.
func fuzzOneInput(_ start: UnsafePointer<UInt8>?, _ count: Int) -> Int32 {
  let input = UnsafeRawBufferPointer(start: start, count: count)
  guard let choice = input.first else { return 0 }
  let rest = UnsafeRawBufferPointer(rebasing: input.dropFirst())
  switch chosenCase(choice, of: 4) {
  // Proof for the unwrap: two bits have four values, as many as there are levels.
  case 0: fuzzFrames(rest, level: EncryptionLevel(rawValue: choice >> 2 & 0x03)!)
  case 1: fuzzDatagram(rest)
  case 2: fuzzTransportParameters(rest, from: choice & 0x80 == 0 ? .client : .server)
  default: fuzzInvariants(rest)
  }
  return 0
}

func fuzzFrames(_ bytes: UnsafeRawBufferPointer, level: EncryptionLevel) {
  var reader = FrameReader(bytes, level: level)
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

func fuzzDatagram(_ bytes: UnsafeRawBufferPointer) {
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

func fuzzTransportParameters(_ bytes: UnsafeRawBufferPointer, from sender: Role) {
  guard let parameters = try? TransportParameters(bytes, from: sender) else { return }
  let again = try? TransportParameters(parameters.encoded(), from: sender)
  precondition(again == parameters, "what is accepted has an encoding that means the same")
}

func fuzzInvariants(_ bytes: UnsafeRawBufferPointer) {
  guard let header = InvariantHeader(bytes, shortIDLength: 8) else { return }
  precondition(header.length <= bytes.count)
  withUnsafeTemporaryAllocation(byteCount: 600, alignment: 8) { memory in
    var writer = ByteWriter(memory)
    VersionNegotiation.write(to: &writer, answering: header, entropy: SeededEntropy(seed: 1))
    precondition(!writer.overflowed)
  }
}
