import PacketCrypto
import QUIC
import Testing
import Wire

struct PacketVectorTests {
  private func secrets(_ version: Version) -> InitialSecrets {
    SamplePackets.connectionID.withUnsafeBytes { InitialSecrets(version: version, destinationConnectionID: $0) }
  }

  @Test("RFC 9001 A.2, RFC 9369 A: the client's Initial packet, sealed", arguments: Version.supported)
  func sealClientInitial(version: Version) throws {
    let secret = secrets(version).client
    let key = PacketKey(suite: .aes128GCM, secret: secret, version: version)
    let protection = HeaderProtectionKey(suite: .aes128GCM, secret: secret, version: version)
    let id = try #require(ConnectionID(SamplePackets.connectionID))
    let packet = written { writer in
      let start = writer.beginLongPacket(
        .initial, version: version, destinationID: id, sourceID: .empty, packetNumber: 2, packetNumberLength: 4)
      writer.write(SamplePackets.clientFrames)
      writer.writePadding(1162 - SamplePackets.clientFrames.count)
      let size = writer.finishPacket(start, key: key, headerProtection: protection)
      #expect(size == 1200)
    }
    #expect(packet == (version == .v2 ? SamplePacketsV2.clientInitial : SamplePackets.clientInitial))
  }

  @Test("RFC 9001 A.2, RFC 9369 A: the client's Initial packet, opened", arguments: Version.supported)
  func openClientInitial(version: Version) throws {
    let secret = secrets(version).client
    let key = PacketKey(suite: .aes128GCM, secret: secret, version: version)
    let protection = HeaderProtectionKey(suite: .aes128GCM, secret: secret, version: version)
    var datagram = version == .v2 ? SamplePacketsV2.clientInitial : SamplePackets.clientInitial
    try datagram.withUnsafeMutableBytes { bytes in
      let header = try PacketHeader(UnsafeRawBufferPointer(bytes), shortIDLength: 8)
      #expect(header.type == .initial && header.version == version)
      #expect(header.destinationID == ConnectionID(SamplePackets.connectionID))
      #expect(header.sourceID == .empty)
      #expect(header.token.isEmpty)
      #expect(header.packetLength == 1200)
      let unprotected = protection.unprotect(bytes, packetNumberOffset: header.packetNumberOffset)
      let opened = try #require(unprotected)
      #expect(opened.packetNumberLength == 4)
      #expect(!opened.hasReservedBits)
      let number = PacketNumber.decode(opened.truncatedPacketNumber, length: 4, largestReceived: nil)
      #expect(number == 2)
      let plaintext = key.open(bytes, headerLength: opened.headerLength, packetNumber: number)
      let payload = try #require(plaintext)
      #expect(payload.count == 1162)
      #expect(payload.starts(with: SamplePackets.clientFrames))
      var frames = FrameReader(UnsafeRawBufferPointer(payload), level: .initial)
      guard case .crypto(offset: 0, let data) = try frames.next(), case .padding(count: 917) = try frames.next() else {
        Issue.record("not CRYPTO and PADDING")
        return
      }
      #expect(data.count == 241)
      let end = try frames.next()
      #expect(end == nil)
    }
  }

  @Test("RFC 9001 A.3, RFC 9369 A: the server's Initial packet, sealed and opened", arguments: Version.supported)
  func serverInitial(version: Version) throws {
    let secret = secrets(version).server
    let key = PacketKey(suite: .aes128GCM, secret: secret, version: version)
    let protection = HeaderProtectionKey(suite: .aes128GCM, secret: secret, version: version)
    let id = try #require(ConnectionID(SamplePackets.serverConnectionID))
    var packet = written { writer in
      let start = writer.beginLongPacket(
        .initial, version: version, destinationID: .empty, sourceID: id, packetNumber: 1, packetNumberLength: 2)
      writer.write(SamplePackets.serverFrames)
      _ = writer.finishPacket(start, key: key, headerProtection: protection)
    }
    #expect(packet == (version == .v2 ? SamplePacketsV2.serverInitial : SamplePackets.serverInitial))
    try packet.withUnsafeMutableBytes { bytes in
      let header = try PacketHeader(UnsafeRawBufferPointer(bytes), shortIDLength: 0)
      let unprotected = protection.unprotect(bytes, packetNumberOffset: header.packetNumberOffset)
      let opened = try #require(unprotected)
      let plaintext = key.open(bytes, headerLength: opened.headerLength, packetNumber: 1)
      var frames = FrameReader(UnsafeRawBufferPointer(try #require(plaintext)), level: .initial)
      guard case .ack(let ack) = try frames.next(), case .crypto(offset: 0, let data) = try frames.next() else {
        Issue.record("not ACK and CRYPTO")
        return
      }
      #expect(Array(ack) == [0...0])
      #expect(data.count == 90)
      let end = try frames.next()
      #expect(end == nil)
    }
  }

  @Test("RFC 9001 A.4, RFC 9369 A: Retry", arguments: Version.supported)
  func retry(version: Version) throws {
    let original = try #require(ConnectionID(SamplePackets.connectionID))
    let source = try #require(ConnectionID(SamplePackets.serverConnectionID))
    let packet = written { writer in
      Array("token".utf8).withUnsafeBytes {
        Retry.write(
          to: &writer, version: version, destinationID: .empty, sourceID: source, originalDestinationID: original,
          token: $0,
          entropy: ConstantEntropy(0xff))
      }
    }
    #expect(packet == (version == .v2 ? SamplePacketsV2.retry : SamplePackets.retry))
    try packet.withUnsafeBytes { bytes in
      let header = try PacketHeader(bytes, shortIDLength: 8)
      #expect(header.type == .retry)
      #expect(Array(header.token) == Array("token".utf8))
      #expect(Retry.isValid(bytes, header: header, originalDestinationID: original))
      #expect(!Retry.isValid(bytes, header: header, originalDestinationID: source))
      #expect(!Retry.isValid(bytes, header: header, originalDestinationID: .empty))
    }
    // Without a token it is nothing, however well sealed.
    let empty = written { writer in
      [UInt8]().withUnsafeBytes {
        Retry.write(
          to: &writer, destinationID: .empty, sourceID: source, originalDestinationID: original, token: $0,
          entropy: ConstantEntropy(0xff))
      }
    }
    try empty.withUnsafeBytes { bytes in
      let header = try PacketHeader(bytes, shortIDLength: 8)
      #expect(!Retry.isValid(bytes, header: header, originalDestinationID: original))
    }
  }

  @Test("RFC 9001 A.5, RFC 9369 A: a short header packet with ChaCha20-Poly1305", arguments: Version.supported)
  func chaCha20(version: Version) throws {
    let secret = SamplePackets.chaCha20Secret.withUnsafeBytes { TrafficSecret($0) }
    let key = PacketKey(suite: .chaCha20Poly1305, secret: secret, version: version)
    let protection = HeaderProtectionKey(suite: .chaCha20Poly1305, secret: secret, version: version)
    var packet = written { writer in
      let start = writer.beginShortPacket(
        destinationID: .empty, keyPhase: false, packetNumber: 654_360_564, packetNumberLength: 3)
      writer.writePing()
      _ = writer.finishPacket(start, key: key, headerProtection: protection)
    }
    #expect(packet == (version == .v2 ? SamplePacketsV2.chaCha20Packet : SamplePackets.chaCha20Packet))
    try packet.withUnsafeMutableBytes { bytes in
      let header = try PacketHeader(UnsafeRawBufferPointer(bytes), shortIDLength: 0)
      #expect(header.type == .oneRTT)
      let unprotected = protection.unprotect(bytes, packetNumberOffset: header.packetNumberOffset)
      let opened = try #require(unprotected)
      let number = PacketNumber.decode(
        opened.truncatedPacketNumber, length: opened.packetNumberLength, largestReceived: 654_360_563)
      #expect(number == 654_360_564)
      let payload = key.open(bytes, headerLength: opened.headerLength, packetNumber: number).map { [UInt8]($0) }
      #expect(payload == [0x01])
    }
  }
}
