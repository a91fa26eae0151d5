import Glibc
import Wire

/// A binary file with 40 bytes for each packet that reached the link, little-endian, in the order of arrival:
///
/// | offset | |
/// |---|---|
/// | 0 | arrival, ns of CLOCK_MONOTONIC (8 bytes) |
/// | 8 | departure from the bottleneck, ns (8 bytes); the arrival for a packet that was dropped |
/// | 16 | bytes of the packet (4) |
/// | 20 | bytes that waited when it came (4) |
/// | 24, 26 | source and destination port (2 + 2); 0 where there is none |
/// | 28 | IP protocol (1) |
/// | 29 | 0 passed, 1 lost by chance, 2 dropped at the full queue (1) |
/// | 30 | 0 left to right, 1 right to left (1) |
/// | 31 | zero (1) |
/// | 32 | the first eight bytes of a UDP payload, as they are (8) |
struct PacketLog: ~Copyable {
  static let recordSize = 40
  private let descriptor: Int32
  private let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: recordSize * 4096, alignment: 8)
  private var used = 0

  init(_ path: String) throws(LinkFailure) {
    descriptor = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o644)
    if descriptor < 0 { throw LinkFailure(path, errno: errno) }
  }

  deinit {
    close(descriptor)
    buffer.deallocate()
  }

  mutating func append(
    _ packet: UnsafeRawBufferPointer, _ verdict: Bottleneck.Verdict, arrival: Instant, toLeft: Bool
  ) {
    let record = UnsafeMutableRawBufferPointer(rebasing: buffer[used..<used + Self.recordSize])
    record.initializeMemory(as: UInt8.self, repeating: 0)
    record.storeBytes(of: arrival.nanoseconds.littleEndian, toByteOffset: 0, as: Int64.self)
    record.storeBytes(of: verdict.departure.nanoseconds.littleEndian, toByteOffset: 8, as: Int64.self)
    record.storeBytes(of: UInt32(packet.count).littleEndian, toByteOffset: 16, as: UInt32.self)
    record.storeBytes(of: UInt32(verdict.backlog).littleEndian, toByteOffset: 20, as: UInt32.self)
    let header = TransportHeader(packet)
    record.storeBytes(of: header.source.littleEndian, toByteOffset: 24, as: UInt16.self)
    record.storeBytes(of: header.destination.littleEndian, toByteOffset: 26, as: UInt16.self)
    record[28] = header.ipProtocol
    record[29] =
      switch verdict.fate {
      case .queued: 0
      case .lostByChance: 1
      case .queueFull: 2
      }
    record[30] = toLeft ? 1 : 0
    if header.ipProtocol == 17, packet.count >= header.offset + 16 {
      UnsafeMutableRawBufferPointer(rebasing: record[32..<40])
        .copyMemory(from: UnsafeRawBufferPointer(rebasing: packet[(header.offset + 8)..<(header.offset + 16)]))
    }
    used += Self.recordSize
    if used == buffer.count { flush() }
  }

  mutating func flush() {
    var rest = UnsafeRawBufferPointer(rebasing: buffer[..<used])
    while !rest.isEmpty {
      let count = write(descriptor, rest.baseAddress, rest.count)
      guard count > 0 else { break }
      rest = UnsafeRawBufferPointer(rebasing: rest[count...])
    }
    used = 0
  }
}

/// What tells flows apart. Zero where the packet is too short or has no ports.
private struct TransportHeader {
  var ipProtocol: UInt8 = 0
  var source: UInt16 = 0
  var destination: UInt16 = 0
  /// Where it begins in the packet.
  var offset = 0

  init(_ packet: UnsafeRawBufferPointer) {
    guard let first = packet.first else { return }
    switch first >> 4 {
    case 4 where packet.count >= 20:
      ipProtocol = packet[9]
      offset = Int(first & 15) * 4
    case 6 where packet.count >= 40:
      ipProtocol = packet[6]
      offset = 40
    default: return
    }
    guard ipProtocol == 6 || ipProtocol == 17, packet.count >= offset + 4 else { return }
    source = UInt16(packet[offset]) << 8 | UInt16(packet[offset + 1])
    destination = UInt16(packet[offset + 2]) << 8 | UInt16(packet[offset + 3])
  }
}
