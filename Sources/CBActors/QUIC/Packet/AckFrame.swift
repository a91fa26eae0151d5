import Wire

/// The counts of ECN markings at the end of an ACK frame (RFC 9000 §19.3.2).
public struct ECNCounts: Hashable, Sendable {
  public var ect0: UInt64
  public var ect1: UInt64
  public var ce: UInt64

  public init(ect0: UInt64 = 0, ect1: UInt64 = 0, ce: UInt64 = 0) {
    self.ect0 = ect0
    self.ect1 = ect1
    self.ce = ce
  }
}

/// ACK (RFC 9000 §19.3), with its ranges left in the packet and checked.
public struct AckFrame {
  /// Largest packet number acknowledged.
  public let largest: UInt64
  /// ACK Delay as it stands: in units of 2^ack_delay_exponent microseconds.
  public let rawDelay: UInt64
  /// Ranges in all, with the first.
  public let rangeCount: UInt64
  public let ecn: ECNCounts?
  /// Smallest packet number of the first range.
  let firstSmallest: UInt64
  /// The Gap and ACK Range Length pairs after the first range; checked when the frame was read.
  let furtherRanges: UnsafeRawBufferPointer
}

extension AckFrame: Sequence {
  /// The ranges acknowledged, the highest packet numbers first; disjoint and not adjacent.
  public struct Iterator: IteratorProtocol {
    private var upcoming: ClosedRange<UInt64>?
    private var reader: ByteReader

    init(_ frame: AckFrame) {
      upcoming = frame.firstSmallest...frame.largest
      reader = ByteReader(frame.furtherRanges)
    }

    public mutating func next() -> ClosedRange<UInt64>? {
      guard let current = upcoming else { return nil }
      if let gap = reader.readVarint(), let length = reader.readVarint() {
        upcoming = AckFrame.range(after: current.lowerBound, gap: gap, length: length)
      } else {
        upcoming = nil
      }
      return current
    }
  }

  public func makeIterator() -> Iterator { Iterator(self) }

  public var underestimatedCount: Int { 1 }

  /// Calls `body` with each range, the highest first.
  public func forEachRange(_ body: (ClosedRange<UInt64>) -> Void) {
    var iterator = makeIterator()
    while let range = iterator.next() { body(range) }
  }

  /// Smallest packet number acknowledged.
  public var smallest: UInt64 {
    var smallest = firstSmallest
    forEachRange { smallest = $0.lowerBound }
    return smallest
  }

  /// RFC 9000 §19.3.1: the range below `smallest`; nil where it would fall below zero.
  @inline(__always)
  fileprivate static func range(after smallest: UInt64, gap: UInt64, length: UInt64) -> ClosedRange<UInt64>? {
    // Both come from varints, so neither sum can overflow.
    guard smallest >= gap + 2 else { return nil }
    let largest = smallest - gap - 2
    guard largest >= length else { return nil }
    return (largest - length)...largest
  }
}

extension AckFrame {
  /// Reads what follows the type. Nil when it is truncated or acknowledges a negative packet number.
  init?(_ reader: inout ByteReader, hasECN: Bool) {
    guard let largest = reader.readVarint(), let delay = reader.readVarint(), let count = reader.readVarint(),
      let first = reader.readVarint(), first <= largest,
      // Two bytes or more a range: a count that cannot fit is refused before the loop, which so stays short.
      count <= UInt64(reader.remaining / 2)
    else { return nil }
    let start = reader.offset
    var smallest = largest - first
    for _ in 0..<count {
      // RFC 9000 §19.3.1: "If any computed packet number is negative, an endpoint MUST generate a
      // connection error of type FRAME_ENCODING_ERROR."
      guard let gap = reader.readVarint(), let length = reader.readVarint(),
        let range = Self.range(after: smallest, gap: gap, length: length)
      else { return nil }
      smallest = range.lowerBound
    }
    furtherRanges = UnsafeRawBufferPointer(rebasing: reader.bytes[start..<reader.offset])
    if hasECN {
      guard let ect0 = reader.readVarint(), let ect1 = reader.readVarint(), let ce = reader.readVarint() else {
        return nil
      }
      ecn = ECNCounts(ect0: ect0, ect1: ect1, ce: ce)
    } else {
      ecn = nil
    }
    self.largest = largest
    rawDelay = delay
    rangeCount = count + 1
    firstSmallest = largest - first
  }
}
