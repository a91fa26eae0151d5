/// One stream: both parts, and its places in the queues of streams with something to send.
///
/// Lives at a fixed address for as long as its ``StreamTable`` knows it.
struct Stream: ~Copyable {
  let id: StreamID
  var send: SendStream
  var receive: ReceiveStream
  var priority = StreamPriority.shared
  /// Its place among the streams with data (or those that wait for connection credit).
  var dataLink = StreamLink()
  /// Its place among the streams with frames other than STREAM.
  var controlLink = StreamLink()
  /// Which frames other than STREAM are due.
  var due: DueFrames = []

  struct DueFrames: OptionSet {
    let rawValue: UInt8
    static let resetStream = DueFrames(rawValue: 1)
    static let stopSending = DueFrames(rawValue: 2)
    static let maxStreamData = DueFrames(rawValue: 4)
    static let streamDataBlocked = DueFrames(rawValue: 8)
  }

  /// RFC 9000 §3.4: both parts are in a terminal state.
  var isEnded: Bool { send.isEnded && receive.isEnded }
}

typealias StreamPointer = UnsafeMutablePointer<Stream>

/// One stream's membership of one queue.
struct StreamLink {
  var next: StreamPointer?
  var previous: StreamPointer?
  var queue: StreamQueue.Kind?
}

/// A first-in, first-out queue of streams, linked through the streams themselves: no allocation, and
/// removal from the middle in constant time.
struct StreamQueue {
  enum Kind { case ready, awaitingCredit, control }

  private let kind: Kind
  private(set) var first: StreamPointer?
  private var last: StreamPointer?

  init(_ kind: Kind) { self.kind = kind }

  var isEmpty: Bool { first == nil }

  private func link(_ stream: StreamPointer) -> StreamLink {
    kind == .control ? stream.pointee.controlLink : stream.pointee.dataLink
  }

  private func setLink(_ stream: StreamPointer, _ link: StreamLink) {
    if kind == .control { stream.pointee.controlLink = link } else { stream.pointee.dataLink = link }
  }

  func contains(_ stream: StreamPointer) -> Bool { link(stream).queue == kind }

  /// Does nothing when the stream is already in this queue or in the other that shares its link.
  mutating func append(_ stream: StreamPointer) {
    guard link(stream).queue == nil else { return }
    setLink(stream, StreamLink(next: nil, previous: last, queue: kind))
    if let last {
      var before = link(last)
      before.next = stream
      setLink(last, before)
    } else {
      first = stream
    }
    last = stream
  }

  /// Puts a stream where its ID belongs, in a queue that is in the order of IDs; from the end that is nearer.
  mutating func insertByID(_ stream: StreamPointer) {
    let id = stream.pointee.id
    var before = last
    var after = first
    while let lower = before, let higher = after, lower.pointee.id > id, higher.pointee.id < id {
      before = link(lower).previous
      after = link(higher).next
    }
    guard let lower = before, let higher = after else { return append(stream) }
    insert(stream, after: lower.pointee.id < id ? lower : link(higher).previous)
  }

  /// Behind `before`, or at the front when there is none.
  private mutating func insert(_ stream: StreamPointer, after before: StreamPointer?) {
    guard let after = before.map({ link($0).next }) ?? first else { return append(stream) }
    setLink(stream, StreamLink(next: after, previous: before, queue: kind))
    var following = link(after)
    following.previous = stream
    setLink(after, following)
    if let before {
      var preceding = link(before)
      preceding.next = stream
      setLink(before, preceding)
    } else {
      first = stream
    }
  }

  mutating func remove(_ stream: StreamPointer) {
    let own = link(stream)
    guard own.queue == kind else { return }
    if let previous = own.previous {
      var before = link(previous)
      before.next = own.next
      setLink(previous, before)
    } else {
      first = own.next
    }
    if let next = own.next {
      var after = link(next)
      after.previous = own.previous
      setLink(next, after)
    } else {
      last = own.previous
    }
    setLink(stream, StreamLink())
  }

  /// The first stream goes to the end: the others get their turn.
  mutating func rotate() {
    guard let first, link(first).next != nil else { return }
    remove(first)
    append(first)
  }
}
