public import Wire

// STREAM, CRYPTO and DATAGRAM carry as much data as a packet has room for. `capacity` says how much
// that is before anything is written; the header is written next, and then exactly that much data.

/// Sizes of STREAM frames (RFC 9000 §19.8).
public enum StreamFrameSize {
  /// Bytes before the data. `length` is nil for a frame that goes to the end of its packet.
  @inline(__always) public static func header(_ id: StreamID, offset: UInt64, length: Int?) -> Int {
    1 + Varint.length(of: id.rawValue) + (offset == 0 ? 0 : Varint.length(of: offset))
      + (length.map { Varint.length(of: UInt64($0)) } ?? 0)
  }

  /// How much data fits when the whole frame may take `space` bytes; nil when not even an empty frame fits.
  @inline(__always)
  public static func capacity(_ id: StreamID, offset: UInt64, space: Int, withLength: Bool) -> Int? {
    let rest = space - header(id, offset: offset, length: nil)
    return withLength ? lengthPrefixedCapacity(rest) : rest >= 0 ? rest : nil
  }
}

/// Sizes of CRYPTO frames (RFC 9000 §19.6).
public enum CryptoFrameSize {
  /// How much data fits when the whole frame may take `space` bytes; nil when not even an empty frame fits.
  public static func capacity(offset: UInt64, space: Int) -> Int? {
    lengthPrefixedCapacity(space - 1 - Varint.length(of: offset))
  }
}

/// Sizes of DATAGRAM frames (RFC 9221 §4).
public enum DatagramFrameSize {
  /// Bytes of a whole frame.
  @inline(__always) public static func total(payload: Int, withLength: Bool) -> Int {
    1 + (withLength ? Varint.length(of: UInt64(payload)) : 0) + payload
  }

  /// How large a payload fits when the whole frame may take `space` bytes; nil when not even an empty frame fits.
  public static func capacity(space: Int, withLength: Bool) -> Int? {
    withLength ? lengthPrefixedCapacity(space - 1) : space >= 1 ? space - 1 : nil
  }
}

/// The most bytes that fit in `space` together with a varint that counts them.
@inline(__always) private func lengthPrefixedCapacity(_ space: Int) -> Int? {
  switch space {
  case ..<1: nil
  case ...64: space - 1
  case 65: 63
  case ...0x4001: space - 2
  case 0x4002...0x4003: 0x3fff
  case ...0x4000_0003: space - 4
  default: 0x3fff_ffff
  }
}

extension ByteWriter {
  /// The header of a STREAM frame, to be followed by its data.
  ///
  /// - Parameter length: nil for a frame that goes to the end of its packet.
  @inline(__always)
  public mutating func writeStreamHeader(_ id: StreamID, offset: UInt64, length: Int?, isFin: Bool) {
    var type = FrameType.stream
    if offset != 0 { type |= FrameType.streamOffset }
    if length != nil { type |= FrameType.streamLength }
    if isFin { type |= FrameType.streamFin }
    writeVarint(type)
    writeVarint(id.rawValue)
    if offset != 0 { writeVarint(offset) }
    if let length { writeVarint(UInt64(length)) }
  }

  /// A whole STREAM frame that says its length.
  public mutating func writeStream(
    _ id: StreamID, offset: UInt64, _ data: UnsafeRawBufferPointer, isFin: Bool = false
  ) {
    writeStreamHeader(id, offset: offset, length: data.count, isFin: isFin)
    write(data)
  }

  /// CRYPTO (RFC 9000 §19.6).
  public mutating func writeCrypto(offset: UInt64, _ data: UnsafeRawBufferPointer) {
    writeVarint(FrameType.crypto)
    writeVarint(offset)
    writeVarint(UInt64(data.count))
    write(data)
  }

  /// The header of a DATAGRAM frame, to be followed by its payload.
  ///
  /// - Parameter length: nil for a frame that goes to the end of its packet.
  public mutating func writeDatagramHeader(length: Int?) {
    writeVarint(FrameType.datagram | (length == nil ? 0 : 1))
    if let length { writeVarint(UInt64(length)) }
  }

  /// A whole DATAGRAM frame that says its length.
  public mutating func writeDatagram(_ payload: UnsafeRawBufferPointer) {
    writeDatagramHeader(length: payload.count)
    write(payload)
  }
}
