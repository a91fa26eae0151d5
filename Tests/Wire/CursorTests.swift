import Testing
import Wire

@Suite("Cursors over bytes")
struct CursorTests {
  // RFC 9000 §A.1: the sample variable-length integers.
  @Test(
    arguments: [
      ([0xc2, 0x19, 0x7c, 0x5e, 0xff, 0x14, 0xe8, 0x8c], 151_288_809_941_952_652),
      ([0x9d, 0x7f, 0x3e, 0x7d], 494_878_333), ([0x7b, 0xbd], 15_293), ([0x25], 37), ([0x40, 0x25], 37),
    ] as [([UInt8], UInt64)])
  func varintSamples(bytes: [UInt8], value: UInt64) {
    bytes.withUnsafeBytes { raw in
      var reader = ByteReader(raw)
      #expect(reader.readVarint() == value)
      #expect(reader.isAtEnd)
    }
  }

  @Test(arguments: [0, 63, 64, 16_383, 16_384, 1 << 30 - 1, 1 << 30, Varint.max] as [UInt64])
  func varintRoundTrip(value: UInt64) {
    withWriter(8) { writer in
      writer.writeVarint(value)
      #expect(writer.count == Varint.length(of: value))
      var reader = ByteReader(writer.written)
      #expect(reader.readVarint() == value)
    }
  }

  @Test func varintTooLargeOverflows() {
    withWriter(16) { writer in
      writer.writeVarint(Varint.max + 1)
      #expect(writer.overflowed)
      #expect(writer.count == 0)
    }
  }

  @Test func shortInputIsNilAndReadsNothing() {
    let bytes: [UInt8] = [0xc2, 0x19, 0x7c]
    bytes.withUnsafeBytes { raw in
      var reader = ByteReader(raw)
      #expect(reader.readVarint() == nil)
      #expect(reader.readUInt32() == nil)
      #expect(reader.readBytes(4) == nil)
      #expect(reader.readBytes(-1) == nil)
      #expect(reader.remaining == 3)
      #expect(reader.readUInt16() == 0xc219)
    }
  }

  @Test func prefixedBytesThatClaimTooMuchReadNothing() {
    let bytes: [UInt8] = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]
    bytes.withUnsafeBytes { raw in
      var reader = ByteReader(raw)
      #expect(reader.readVarintPrefixedBytes() == nil)
      #expect(reader.offset == 0)
    }
  }

  @Test func anOverflowingWriteWritesNothingAndStays() {
    withWriter(3) { writer in
      writer.write(UInt16(1))
      writer.write(UInt32(2))
      #expect(writer.overflowed)
      #expect(writer.count == 2)
      writer.write(UInt8(3))
      #expect(writer.count == 2)
      writer.rewind(to: 0)
      #expect(!writer.overflowed)
    }
  }

  @Test func lengthsArePatchedAfterwards() {
    withWriter(8) { writer in
      writer.writeTwoByteVarint(0)
      writer.write([1, 2, 3])
      writer.patchTwoByteVarint(writer.count - 2, at: 0)
      #expect(Array(writer.written) == [0x40, 3, 1, 2, 3])
    }
  }

  private func withWriter(_ size: Int, _ body: (inout ByteWriter) -> Void) {
    withUnsafeTemporaryAllocation(byteCount: size, alignment: 8) { buffer in
      var writer = ByteWriter(buffer)
      body(&writer)
    }
  }
}

@Suite("Instants and intervals")
struct TimeTests {
  @Test func arithmeticSaturates() {
    #expect(Instant.distantFuture + .seconds(1) == .distantFuture)
    #expect(Instant(nanoseconds: 5) - Instant(nanoseconds: 7) == .nanoseconds(-2))
    #expect(Interval.seconds(.max) == .infinite)
    #expect(Interval.milliseconds(3) * 2 == .milliseconds(6))
  }

  @Test func intervalsPrintAsMilliseconds() {
    #expect(Interval.microseconds(12_345).description == "12.345 ms")
    #expect(Interval.microseconds(-7).description == "-0.007 ms")
  }
}
