import PacketCrypto
import QUIC
import Testing
import Wire

struct PacketNumberTests {
  @Test("RFC 9000 A.2 and A.3")
  func samples() {
    #expect(PacketNumber.encodedLength(0xac5c02, largestAcknowledged: 0xabe8b3) == 2)
    #expect(PacketNumber.encodedLength(0xace8fe, largestAcknowledged: 0xabe8b3) == 3)
    #expect(PacketNumber.decode(0x9b32, length: 2, largestReceived: 0xa82f_30ea) == 0xa82f_9b32)
  }

  @Test func firstPackets() {
    #expect(PacketNumber.encodedLength(0, largestAcknowledged: nil) == 1)
    #expect(PacketNumber.decode(0, length: 1, largestReceived: nil) == 0)
    #expect(PacketNumber.decode(0xff, length: 1, largestReceived: nil) == 0xff)
  }

  @Test("Whatever is encoded is restored by a peer that has seen what it acknowledged")
  func roundTrip() {
    let entropy = SeededEntropy(seed: 5)
    for _ in 0..<10_000 {
      let acknowledged = entropy.nextUInt64() >> (2 + entropy.nextUInt64() % 60)
      let number = min(acknowledged + 1 + entropy.nextUInt64() % (1 << 30), PacketNumber.max)
      let length = PacketNumber.encodedLength(number, largestAcknowledged: acknowledged)
      let truncated = UInt32(truncatingIfNeeded: number & ((1 << UInt64(8 * length)) - 1))
      for seen in [acknowledged, number - 1, (acknowledged + number) / 2] where seen < PacketNumber.max {
        #expect(PacketNumber.decode(truncated, length: length, largestReceived: seen) == number)
      }
    }
  }

  @Test func extremesStayInRange() {
    for largest in [nil, 0, 1, PacketNumber.max - 1, PacketNumber.max] {
      for length in 1...4 {
        for truncated in [0, 1, UInt32.max >> UInt32(32 - 8 * length)] {
          #expect(PacketNumber.decode(truncated, length: length, largestReceived: largest) <= PacketNumber.max)
        }
      }
    }
  }
}

struct PacketHeaderTests {
  private let secret = [UInt8](repeating: 3, count: 32).withUnsafeBytes { TrafficSecret($0) }
  private let destination = ConnectionID([1, 2, 3, 4, 5, 6, 7, 8])!
  private let source = ConnectionID([9, 9])!

  private func parse(_ bytes: [UInt8], _ idLength: Int = 8) -> Result<PacketType, PacketHeaderError> {
    bytes.withUnsafeBytes { bytes in
      do throws(PacketHeaderError) {
        return .success(try PacketHeader(bytes, shortIDLength: idLength).type)
      } catch {
        return .failure(error)
      }
    }
  }

  /// Packets of each type that has frames, one after the other in a datagram.
  private func coalesced() -> [UInt8] {
    let key = PacketKey(suite: .aes128GCM, secret: secret)
    let protection = HeaderProtectionKey(suite: .aes128GCM, secret: secret)
    return written { writer in
      for (type, length) in [(PacketType.initial, 1), (.zeroRTT, 2), (.handshake, 3)] {
        let start = [UInt8]("token".utf8).withUnsafeBytes {
          writer.beginLongPacket(
            type, destinationID: destination, sourceID: source, token: $0, packetNumber: 7, packetNumberLength: length)
        }
        #expect(
          start.headerLength
            == PacketStart.longHeaderLength(
              type, destinationID: destination, sourceID: source, tokenLength: 5, packetNumberLength: length))
        writer.writePing()
        _ = writer.finishPacket(start, key: key, headerProtection: protection)
      }
      let start = writer.beginShortPacket(
        destinationID: destination, spin: true, keyPhase: true, packetNumber: 7, packetNumberLength: 1)
      #expect(
        start.headerLength == PacketStart.shortHeaderLength(destinationID: destination, packetNumberLength: 1))
      writer.writePing()
      _ = writer.finishPacket(start, key: key, headerProtection: protection)
    }
  }

  /// RFC 9001 §9.5: what is written of a packet number does not tell how long it is encoded: four bytes every time.
  @Test(arguments: [1, 2, 3, 4]) func packetNumbersOfEveryLengthAreWrittenAlike(length: Int) {
    let number: UInt64 = 0x1234_5678_9abc_def0
    let header = PacketStart.shortHeaderLength(destinationID: destination, packetNumberLength: 0)
    var memory = [UInt8](repeating: 0xee, count: header + 5)
    memory.withUnsafeMutableBytes { bytes in
      var writer = ByteWriter(bytes)
      let start = writer.beginShortPacket(
        destinationID: destination, keyPhase: false, packetNumber: number, packetNumberLength: length)
      #expect(writer.count == header + length && start.payloadOffset == header + length)
    }
    let encoded: [UInt8] = [0x9a, 0xbc, 0xde, 0xf0]
    let expected = Array(encoded.suffix(length)) + [UInt8](repeating: 0, count: 4 - length) + [0xee]
    #expect(Array(memory[header...]) == expected)
    // Where there is no room for four there is none for one.
    memory.withUnsafeMutableBytes { bytes in
      var writer = ByteWriter(UnsafeMutableRawBufferPointer(rebasing: bytes[..<(header + 3)]))
      _ = writer.beginShortPacket(
        destinationID: destination, keyPhase: false, packetNumber: number, packetNumberLength: length)
      #expect(writer.overflowed)
    }
  }

  @Test func coalescedPackets() throws {
    let key = PacketKey(suite: .aes128GCM, secret: secret)
    let protection = HeaderProtectionKey(suite: .aes128GCM, secret: secret)
    var datagram = coalesced()
    var types: [PacketType] = []
    try datagram.withUnsafeMutableBytes { all in
      var rest = all
      while !rest.isEmpty {
        let header = try PacketHeader(UnsafeRawBufferPointer(rest), shortIDLength: 8)
        types.append(header.type)
        #expect(header.destinationID == destination)
        #expect(header.sourceID == (header.type == .oneRTT ? .empty : source))
        #expect(header.token.elementsEqual(header.type == .initial ? [UInt8]("token".utf8) : []))
        let packet = UnsafeMutableRawBufferPointer(rebasing: rest[..<header.packetLength])
        rest = UnsafeMutableRawBufferPointer(rebasing: rest[header.packetLength...])
        let unprotected = protection.unprotect(packet, packetNumberOffset: header.packetNumberOffset)
        let opened = try #require(unprotected)
        #expect(!opened.hasReservedBits)
        if header.type == .oneRTT { #expect(opened.keyPhase && opened.spin) }
        #expect(opened.truncatedPacketNumber == 7)
        let payload = key.open(packet, headerLength: opened.headerLength, packetNumber: 7).map { [UInt8]($0) }
        // Payload and packet number make four bytes at least, so that there is a sample.
        #expect(payload == [1] + [UInt8](repeating: 0, count: 3 - opened.packetNumberLength))
      }
    }
    #expect(types == [.initial, .zeroRTT, .handshake, .oneRTT])
  }

  @Test func whatIsDropped() {
    let long = "c000000001" + "00" + "00" + "00" + "14" + String(repeating: "00", count: 20)
    #expect(parse(hex(long)) == .success(.initial))
    #expect(parse([]) == .failure(.truncated))
    #expect(parse(hex("80" + long.dropFirst(2))) == .failure(.fixedBitUnset))
    #expect(parse(hex("00" + String(repeating: "00", count: 40))) == .failure(.fixedBitUnset))
    #expect(parse(hex("40" + String(repeating: "00", count: 27))) == .failure(.tooShort))
    #expect(parse(hex("40" + String(repeating: "00", count: 28))) == .success(.oneRTT))
    #expect(parse(hex("c0ffffffff0000")) == .failure(.unsupportedVersion))
    #expect(parse(hex("c00000000115" + String(repeating: "00", count: 60))) == .failure(.connectionIDTooLong))
    // Length beyond the datagram, or too small for a sample.
    #expect(parse(hex("c00000000100000015" + String(repeating: "00", count: 20))) == .failure(.truncated))
    #expect(parse(hex("c00000000100000013" + String(repeating: "00", count: 20))) == .failure(.tooShort))
    for length in 1..<hex(long).count { #expect((try? parse(Array(hex(long)[..<length])).get()) == nil) }
    #expect(parse(hex("f0000000010000" + String(repeating: "00", count: 15))) == .failure(.truncated))
    #expect(parse(hex("f0000000010000" + String(repeating: "00", count: 16))) == .success(.retry))
  }

  @Test("Reserved bits that were set show once protection is off", arguments: [UInt8(0x08), 0x10, 0x18])
  func reservedBits(bits: UInt8) throws {
    let key = PacketKey(suite: .aes128GCM, secret: secret)
    let protection = HeaderProtectionKey(suite: .aes128GCM, secret: secret)
    var packet = [0x40 | bits | 1, 0, 7] + [UInt8](repeating: 0, count: 30)
    packet.withUnsafeMutableBytes { bytes in
      let sealed = key.seal(bytes, headerLength: 3, packetNumber: 7)
      let protected = protection.protect(bytes, packetNumberOffset: 1)
      #expect(sealed && protected)
      let unprotected = protection.unprotect(bytes, packetNumberOffset: 1)
      #expect(unprotected?.hasReservedBits == true)
    }
  }

  @Test("RFC 8999: connection IDs of up to 255 bytes, of any version")
  func invariants() throws {
    let bytes = hex("80" + "0a0a0a0a" + "ff") + [UInt8](repeating: 7, count: 255) + [1, 8, 5, 5]
    try bytes.withUnsafeBytes { bytes in
      let header = try #require(InvariantHeader(bytes, shortIDLength: 8))
      #expect(header.version?.isReserved == true)
      #expect(header.destinationID.count == 255)
      #expect(Array(header.sourceID) == [8])
      #expect(header.length == bytes.count - 2)
      for length in 0..<header.length {
        #expect(InvariantHeader(UnsafeRawBufferPointer(rebasing: bytes[..<length]), shortIDLength: 8) == nil)
      }
      // The answer carries both IDs back, exchanged, and a reserved version that is not the client's own.
      let answer = written { VersionNegotiation.write(to: &$0, answering: header, entropy: ConstantEntropy(0)) }
      #expect(
        answer == hex("c0000000000108ff") + [UInt8](repeating: 7, count: 255)
          + hex("fafafafa" + "00000001" + "6b3343cf"))
    }
    let short = hex("4001020304")
    short.withUnsafeBytes { bytes in
      #expect(InvariantHeader(bytes, shortIDLength: 4)?.destinationID.count == 4)
      #expect(InvariantHeader(bytes, shortIDLength: 5) == nil)
    }
  }

  @Test func versionNegotiation() throws {
    func versions(_ list: String) throws -> [Version]? {
      let packet = hex("8a00000000" + "0101" + "0102" + list)
      return try packet.withUnsafeBytes {
        let header = try PacketHeader($0, shortIDLength: 8)
        #expect(header.type == .versionNegotiation)
        #expect(header.destinationID == ConnectionID([1]) && header.sourceID == ConnectionID([2]))
        return VersionNegotiation.versions($0, header: header)
      }
    }
    #expect(try versions("000000010a0a0a0a") == [.v1, Version(rawValue: 0x0a0a_0a0a)])
    #expect(try versions("") == nil)
    #expect(try versions("0000000100") == nil)
  }

  @Test func statelessReset() throws {
    let key = StatelessResetKey([UInt8](repeating: 1, count: 32))
    let token = key.token(for: destination)
    #expect(token == key.token(for: destination))
    #expect(token != key.token(for: source))
    #expect(StatelessReset.length(answering: 21) == nil)
    #expect(StatelessReset.length(answering: 22) == 21)
    #expect(StatelessReset.length(answering: 1200) == 42)
    let reset = written { StatelessReset.write(to: &$0, token: token, length: 30, entropy: ConstantEntropy(0xff)) }
    #expect(reset.count == 30)
    #expect(reset[0] & 0xc0 == 0x40)
    reset.withUnsafeBytes { #expect(StatelessResetToken(endOf: $0) == token) }
    [UInt8](repeating: 0, count: 20).withUnsafeBytes { #expect(StatelessResetToken(endOf: $0) == nil) }
    #expect(
      written(29) { StatelessReset.write(to: &$0, token: token, length: 30, entropy: ConstantEntropy(1)) }.isEmpty)
  }

  @Test func aPacketThatDoesNotFitIsTakenBack() {
    let key = PacketKey(suite: .aes128GCM, secret: secret)
    let protection = HeaderProtectionKey(suite: .aes128GCM, secret: secret)
    withUnsafeTemporaryAllocation(byteCount: 40, alignment: 8) { memory in
      var writer = ByteWriter(memory)
      writer.write(UInt8(1))
      let start = writer.beginShortPacket(
        destinationID: destination, keyPhase: false, packetNumber: 1, packetNumberLength: 2)
      writer.writePadding(20)
      let size = writer.finishPacket(start, key: key, headerProtection: protection)
      #expect(size == nil)
      #expect(writer.count == 1 && !writer.overflowed)
    }
  }

  @Test("Mutated datagrams never crash, and never open", arguments: 0..<4)
  func mutations(seed: Int) {
    let entropy = SeededEntropy(seed: UInt64(seed) + 100)
    let key = PacketKey(suite: .aes128GCM, secret: secret)
    let protection = HeaderProtectionKey(suite: .aes128GCM, secret: secret)
    let whole = coalesced()
    for _ in 0..<2000 {
      var bytes = whole
      let flips = 1 + entropy.nextUInt64() % 4
      for _ in 0..<flips {
        bytes[Int(entropy.nextUInt64() % UInt64(bytes.count))] ^= UInt8(truncatingIfNeeded: entropy.nextUInt64())
      }
      bytes.removeLast(Int(entropy.nextUInt64() % 40))
      bytes.withUnsafeMutableBytes { all in
        var rest = all
        while !rest.isEmpty, let header = try? PacketHeader(UnsafeRawBufferPointer(rest), shortIDLength: 8) {
          #expect(header.packetLength <= rest.count && header.packetLength > 0)
          let packet = UnsafeMutableRawBufferPointer(rebasing: rest[..<header.packetLength])
          rest = UnsafeMutableRawBufferPointer(rebasing: rest[header.packetLength...])
          if header.type.level != nil,
            let opened = protection.unprotect(packet, packetNumberOffset: header.packetNumberOffset)
          {
            _ = key.open(packet, headerLength: opened.headerLength, packetNumber: 7)
          } else if header.type == .retry {
            #expect(!Retry.isValid(UnsafeRawBufferPointer(packet), header: header, originalDestinationID: source))
          } else {
            _ = VersionNegotiation.versions(UnsafeRawBufferPointer(packet), header: header)
          }
        }
      }
    }
  }
}
