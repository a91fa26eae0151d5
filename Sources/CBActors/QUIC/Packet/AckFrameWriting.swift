public import Wire

extension ByteWriter {
  /// An ACK frame writes no more ranges than this; the oldest are left out (RFC 9000 §13.2.3).
  public static var maximumAckRanges: Int { 64 }

  /// ACK (RFC 9000 §19.3) of as many of `ranges` as fit in the room left, the highest packet numbers first.
  ///
  /// - Parameters:
  ///   - ranges: descending, disjoint and not adjacent.
  ///   - rawDelay: in units of 2^ack_delay_exponent microseconds.
  /// - Returns: false, with nothing written, when not even the first range fits or there is none.
  @discardableResult
  public mutating func writeAck<Ranges: Sequence>(
    _ ranges: Ranges, rawDelay: UInt64, ecn: ECNCounts? = nil
  ) -> Bool where Ranges.Element == ClosedRange<UInt64> {
    var iterator = ranges.makeIterator()
    guard !overflowed, let first = iterator.next() else { return false }
    let firstLength = first.upperBound - first.lowerBound
    let ecnLength =
      ecn.map { Varint.length(of: $0.ect0) + Varint.length(of: $0.ect1) + Varint.length(of: $0.ce) } ?? 0
    let fixed =
      1 + Varint.length(of: first.upperBound) + Varint.length(of: rawDelay) + 1 + Varint.length(of: firstLength)
    guard fixed + ecnLength <= remaining else { return false }

    writeVarint(ecn == nil ? FrameType.ack : FrameType.ackECN)
    writeVarint(first.upperBound)
    writeVarint(rawDelay)
    // The count takes one byte, since it stays below 64, and is filled in at the end.
    let countOffset = count
    write(UInt8(0))
    writeVarint(firstLength)

    var further: UInt8 = 0
    var smallest = first.lowerBound
    while Int(further) + 1 < Self.maximumAckRanges, let range = iterator.next() {
      // A caller's ranges that touch or ascend would be our bug; they end the frame and harm nothing.
      guard smallest >= 2, range.upperBound <= smallest - 2 else { break }
      let gap = smallest - range.upperBound - 2
      let length = range.upperBound - range.lowerBound
      guard Varint.length(of: gap) + Varint.length(of: length) + ecnLength <= remaining else { break }
      writeVarint(gap)
      writeVarint(length)
      smallest = range.lowerBound
      further += 1
    }
    buffer[countOffset] = further
    if let ecn {
      writeVarint(ecn.ect0)
      writeVarint(ecn.ect1)
      writeVarint(ecn.ce)
    }
    return true
  }
}
