internal import QUIC

/// Our control stream and QPACK streams (RFC 9114 §6.2.1, RFC 9204 §4.2), and what waits to go out on them.
struct OutboundStreams {
  /// The places of the streams below.
  enum Kind: Int { case control, encoder, decoder }

  private struct Stream {
    let type: UInt8
    var id: StreamID?
    /// Stream type and frames, from `offset` on not taken by the transport yet.
    var pending: [UInt8]
    var offset = 0
  }

  // RFC 9114 §6.2: "Endpoints SHOULD create the HTTP control stream as well as the unidirectional streams required by
  // mandatory extensions (such as the QPACK encoder and decoder streams) first"
  private var streams = [0x00, 0x02, 0x03].map { Stream(type: $0, pending: [$0]) }

  /// The most that waits on one stream, in bytes: SETTINGS and a few GOAWAYs, or some hundreds of instructions.
  private static let maximumPending = 4096

  func owns(_ id: StreamID) -> Bool { streams.contains { $0.id == id } }

  /// Queues a frame on the control stream, or instructions on another. False when too much waits there already.
  @discardableResult
  mutating func enqueue(_ bytes: [UInt8], on kind: Kind = .control) -> Bool {
    let index = kind.rawValue
    guard streams[index].pending.count - streams[index].offset + bytes.count <= Self.maximumPending else {
      return false
    }
    streams[index].pending += bytes
    return true
  }

  /// The stream is open and the transport has taken everything so far.
  func isClear(_ kind: Kind) -> Bool { streams[kind.rawValue].id != nil && streams[kind.rawValue].pending.isEmpty }

  /// Opens what is not open yet, as far as the peer allows.
  mutating func open<T: StreamTransport & ~Copyable>(on transport: inout T) {
    for index in streams.indices {
      if streams[index].id == nil {
        guard let id = transport.openStream(.unidirectional) else { return }
        streams[index].id = id
        // What others wait for goes before all that is written to request streams.
        transport.setPriority(id, StreamPriority(urgency: 0, isIncremental: true))
      }
      flush(index, on: &transport)
    }
  }

  mutating func flush<T: StreamTransport & ~Copyable>(_ id: StreamID, on transport: inout T) {
    guard let index = streams.firstIndex(where: { $0.id == id }) else { return }
    flush(index, on: &transport)
  }

  /// Sends what waits on one of the streams.
  mutating func flush<T: StreamTransport & ~Copyable>(_ kind: Kind, on transport: inout T) {
    flush(kind.rawValue, on: &transport)
  }

  private mutating func flush<T: StreamTransport & ~Copyable>(_ index: Int, on transport: inout T) {
    guard let id = streams[index].id, streams[index].offset < streams[index].pending.count else { return }
    let offset = streams[index].offset
    let taken = streams[index].pending.withUnsafeBytes {
      transport.write(id, UnsafeRawBufferPointer(rebasing: $0[offset...]), finish: false)
    }
    streams[index].offset += taken
    if streams[index].offset == streams[index].pending.count {
      streams[index].pending.removeAll()
      streams[index].offset = 0
    }
  }
}
