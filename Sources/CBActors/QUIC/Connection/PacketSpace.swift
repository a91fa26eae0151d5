import Wire

/// One packet-number space: its keys below 1-RTT, its CRYPTO stream, what was received, the next number
/// (RFC 9000 §12.3).
struct PacketSpace: ~Copyable {
  /// RFC 9000 §7.5 demands room for at least 4096 bytes of CRYPTO data out of order.
  static let cryptoBufferLimit: UInt64 = 65_536

  let space: PacketNumberSpace
  /// Of Initial and Handshake packets; 1-RTT keys are in ``OneRTTKeys``.
  var readKeys: ProtectionKeys?
  var writeKeys: ProtectionKeys?
  /// The keys were there and are gone (RFC 9001 §4.9).
  var isDiscarded = false

  var cryptoSend: SendBuffer
  var cryptoReceive: ReceiveBuffer
  var received: ReceivedPackets
  var nextPacketNumber: UInt64 = 0
  /// The largest of our numbers that the peer has acknowledged: the base for truncating the next.
  var largestAcknowledged: UInt64?
  /// A number that is left out, so that acknowledging it betrays a peer that guesses (RFC 9000 §21.4).
  var skippedNumber = UInt64.max
  /// Probe packets that a time-out has asked for and that have not left yet (RFC 9002 §6.2.4).
  var probes = 0

  init(_ space: PacketNumberSpace, pool: ChunkPool, received: ReceivedPackets) {
    self.space = space
    cryptoSend = SendBuffer(pool: pool)
    cryptoReceive = ReceiveBuffer(pool: pool)
    self.received = received
  }

  var hasCryptoToSend: Bool { cryptoSend.hasLost || cryptoSend.hasUnsent }

  /// Takes in a CRYPTO frame (RFC 9000 §19.6).
  ///
  /// - Parameter isOver: TLS reads at a higher level by now.
  mutating func receiveCrypto(
    offset: UInt64, data: UnsafeRawBufferPointer, isOver: Bool
  ) throws(TransportError) {
    let (end, overflow) = offset.addingReportingOverflow(UInt64(data.count))
    // RFC 9001 §4.1.3: "If the packet is from a previously installed encryption level, it MUST NOT contain data that extends
    // past the end of previously received data in that flow."
    guard !isOver || (!overflow && end <= cryptoReceive.contiguousEnd) else {
      throw TransportError(
        .protocolViolation, "more handshake data at a level that is over", frameType: FrameType.crypto)
    }
    // RFC 9000 §7.5: "If an endpoint does not expand its buffer, it MUST close the connection with a
    // CRYPTO_BUFFER_EXCEEDED error code."
    guard !overflow, end <= cryptoReceive.readOffset + Self.cryptoBufferLimit,
      cryptoReceive.insert(data, at: offset)
    else {
      throw TransportError(.cryptoBufferExceeded, "too much CRYPTO data ahead", frameType: FrameType.crypto)
    }
  }

  /// Writes one CRYPTO frame if there is something to send and room for it.
  mutating func writeCrypto(to writer: inout ByteWriter) -> SentFrame? {
    let range = cryptoSend.nextRange(limit: .max)
    guard !range.isEmpty,
      let room = CryptoFrameSize.capacity(offset: range.lowerBound, space: min(writer.remaining, 16_000)), room > 0
    else { return nil }
    let length = min(room, range.count)
    let end = range.lowerBound + UInt64(length)
    writer.writeVarint(FrameType.crypto)
    writer.writeVarint(range.lowerBound)
    writer.writeVarint(UInt64(length))
    cryptoSend.copy(range.lowerBound..<end, to: writer.free.baseAddress!)
    writer.advance(length)
    cryptoSend.sent(range.lowerBound..<end)
    return .crypto(offset: range.lowerBound, length: UInt16(length))
  }

  /// The keys are no longer needed: nothing in this space is sent or processed again.
  mutating func discard() {
    readKeys = nil
    writeKeys = nil
    isDiscarded = true
    cryptoSend.discard()
    cryptoReceive.discard()
    probes = 0
    received = ReceivedPackets(space)
  }
}
