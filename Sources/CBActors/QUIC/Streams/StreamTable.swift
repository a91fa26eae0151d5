/// All live streams by ID, each at a fixed address.
///
/// Most packets are for the stream that the packet before was for, so the last one found is kept.
struct StreamTable: ~Copyable {
  private var streams: [UInt64: StreamPointer] = [:]
  private var lastID = UInt64.max
  private var lastStream: StreamPointer?

  init() {}

  deinit {
    for (_, stream) in streams {
      stream.deinitialize(count: 1)
      stream.deallocate()
    }
  }

  var count: Int { streams.count }

  mutating func find(_ id: StreamID) -> StreamPointer? {
    if id.rawValue == lastID { return lastStream }
    guard let stream = streams[id.rawValue] else { return nil }
    lastID = id.rawValue
    lastStream = stream
    return stream
  }

  func peek(_ id: StreamID) -> StreamPointer? { id.rawValue == lastID ? lastStream : streams[id.rawValue] }

  mutating func insert(_ stream: consuming Stream) -> StreamPointer {
    let id = stream.id.rawValue
    let pointer = StreamPointer.allocate(capacity: 1)
    pointer.initialize(to: stream)
    streams[id] = pointer
    return pointer
  }

  mutating func remove(_ stream: StreamPointer) {
    let id = stream.pointee.id.rawValue
    if id == lastID {
      lastID = .max
      lastStream = nil
    }
    streams[id] = nil
    stream.deinitialize(count: 1)
    stream.deallocate()
  }

  /// Calls `body` with each stream, in no order.
  func forEach(_ body: (StreamPointer) -> Void) { for (_, stream) in streams { body(stream) } }
}
