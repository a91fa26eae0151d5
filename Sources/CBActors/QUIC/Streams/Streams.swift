import Wire

/// All streams of a connection: their limits, their flow control, and which has something to send.
///
/// The application's calls, the peer's frames, the writing of frames, and what acknowledgement and
/// loss mean for streams each have a file of their own beside this one.
struct Streams: ~Copyable {
  let role: Role
  let settings: Settings

  /// Our own limits, as they stand in the configuration.
  struct Settings {
    /// Initial windows (RFC 9000 §18.2), from our side: `BidiLocal` are those that we open.
    var windowBidiLocal: UInt64
    var windowBidiRemote: UInt64
    var windowUni: UInt64
    var maximumStreamWindow: UInt64
    var connectionWindow: UInt64
    var maximumConnectionWindow: UInt64
    var maxStreamsBidi: UInt64
    var maxStreamsUni: UInt64
    /// Bytes that one stream's writer may have buffered, unacknowledged ones included.
    var sendBufferLimit: Int
    /// The same over all streams, beyond which each may have as many as a chunk has.
    var connectionSendBufferLimit: Int
  }

  var table = StreamTable()
  let pool: ChunkPool
  var ready = ReadyStreams()
  var awaitingCredit = StreamQueue(.awaitingCredit)
  var control = StreamQueue(.control)

  var sendCredit = SendCredit()
  var receiveWindow: ReceiveWindow
  /// Connection-level frames that are due.
  var due: DueFrames = []

  /// Streams that we open and streams that the peer opens, by direction.
  var local = PerDirection(LocalStreams())
  var remote: PerDirection<RemoteStreams>
  /// The peer's initial windows for what we send: on streams that we open, that it opens, and one-way ones.
  var peerWindowBidiRemote: UInt64 = 0
  var peerWindowBidiLocal: UInt64 = 0
  var peerWindowUni: UInt64 = 0

  /// Streams that have come or of which a part may have ended, for the qlog, which empties it; nil without one.
  var touched: [StreamID]?

  struct DueFrames: OptionSet {
    let rawValue: UInt8
    static let maxData = DueFrames(rawValue: 1)
    static let dataBlocked = DueFrames(rawValue: 2)
    static let maxStreamsBidi = DueFrames(rawValue: 4)
    static let maxStreamsUni = DueFrames(rawValue: 8)
    static let streamsBlockedBidi = DueFrames(rawValue: 16)
    static let streamsBlockedUni = DueFrames(rawValue: 32)
  }

  /// Streams of one direction that we open.
  struct LocalStreams {
    var opened: UInt64 = 0
    /// The peer's limit on how many we may open, in all (RFC 9000 §4.6).
    var limit: UInt64 = 0
    /// `.streamsAvailable` is owed: an opening failed.
    var owesAvailable = false
  }

  /// Streams of one direction that the peer opens.
  struct RemoteStreams {
    var opened: UInt64 = 0
    var closed: UInt64 = 0
    /// The limit that the peer has been told.
    var advertised: UInt64
    /// How many may be open at once.
    let concurrent: UInt64
    init(concurrent: UInt64) {
      self.concurrent = concurrent
      advertised = concurrent
    }
  }

  struct PerDirection<Value> {
    var bidirectional: Value
    var unidirectional: Value
    init(_ both: Value) { (bidirectional, unidirectional) = (both, both) }
    init(bidirectional: Value, unidirectional: Value) {
      self.bidirectional = bidirectional
      self.unidirectional = unidirectional
    }
    subscript(direction: StreamDirection) -> Value {
      get { direction == .bidirectional ? bidirectional : unidirectional }
      set { if direction == .bidirectional { bidirectional = newValue } else { unidirectional = newValue } }
    }
  }

  init(role: Role, settings: Settings, pool: ChunkPool) {
    self.role = role
    self.settings = settings
    self.pool = pool
    receiveWindow = ReceiveWindow(initial: settings.connectionWindow, maximum: settings.maximumConnectionWindow)
    remote = PerDirection(
      bidirectional: RemoteStreams(concurrent: settings.maxStreamsBidi),
      unidirectional: RemoteStreams(concurrent: settings.maxStreamsUni))
  }

  /// The peer's transport parameters have come (RFC 9000 §7.4).
  mutating func setPeerLimits(_ parameters: TransportParameters, events: inout EventQueue) {
    peerWindowBidiLocal = parameters.initialMaxStreamDataBidiLocal
    peerWindowBidiRemote = parameters.initialMaxStreamDataBidiRemote
    peerWindowUni = parameters.initialMaxStreamDataUni
    receiveMaxData(parameters.initialMaxData)
    raiseStreamLimit(.bidirectional, to: parameters.initialMaxStreamsBidi, events: &events)
    raiseStreamLimit(.unidirectional, to: parameters.initialMaxStreamsUni, events: &events)
    raiseEarlyStreams()
  }

  /// RFC 9000 §7.4.1: "the client updates the flow control limits on all sending streams" that it opened in 0-RTT.
  private mutating func raiseEarlyStreams() {
    guard table.count > 0 else { return }
    var early: [StreamPointer] = []
    table.forEach { early.append($0) }
    for stream in early {
      let id = stream.pointee.id
      stream.pointee.send.raiseLimit(to: id.direction == .bidirectional ? peerWindowBidiRemote : peerWindowUni)
      reschedule(stream)
    }
  }

  mutating func raiseStreamLimit(_ direction: StreamDirection, to limit: UInt64, events: inout EventQueue) {
    guard limit > local[direction].limit else { return }
    local[direction].limit = limit
    due.remove(direction == .bidirectional ? .streamsBlockedBidi : .streamsBlockedUni)
    if local[direction].owesAvailable {
      local[direction].owesAvailable = false
      events.append(.streamsAvailable(direction))
    }
  }

  mutating func create(_ id: StreamID) -> StreamPointer {
    let isLocal = id.initiator == role
    let sendLimit: UInt64
    let window: UInt64
    switch (id.direction, isLocal) {
    case (.bidirectional, true): (sendLimit, window) = (peerWindowBidiRemote, settings.windowBidiLocal)
    case (.bidirectional, false): (sendLimit, window) = (peerWindowBidiLocal, settings.windowBidiRemote)
    case (.unidirectional, _): (sendLimit, window) = (peerWindowUni, settings.windowUni)
    }
    let isTwoWay = id.direction == .bidirectional
    touched?.append(id)
    return table.insert(
      Stream(
        id: id,
        send: SendStream(pool: pool, maximumData: sendLimit, exists: isTwoWay || isLocal),
        receive: ReceiveStream(
          pool: pool, initialWindow: window, maximumWindow: settings.maximumStreamWindow,
          exists: isTwoWay || !isLocal)))
  }

  /// Puts a stream where it belongs among the queues after something about its sending part changed.
  mutating func reschedule(_ stream: StreamPointer) {
    if stream.pointee.send.isSendable {
      ready.append(stream)
    } else if stream.pointee.send.isBlockedByStreamLimit {
      markBlocked(stream)
    }
  }

  /// RFC 9000 §4.1: "A sender SHOULD send a STREAM_DATA_BLOCKED or DATA_BLOCKED frame", once per limit.
  mutating func markBlocked(_ stream: StreamPointer) {
    let limit = stream.pointee.send.maximumData
    guard stream.pointee.send.blockedAt != limit else { return }
    stream.pointee.send.blockedAt = limit
    setDue(.streamDataBlocked, stream)
  }

  mutating func setDue(_ frames: Stream.DueFrames, _ stream: StreamPointer) {
    stream.pointee.due.formUnion(frames)
    control.append(stream)
  }

  /// Frees a stream whose parts have both ended, and lets the peer open another in its place.
  mutating func removeIfEnded(_ stream: StreamPointer) {
    if touched != nil, stream.pointee.send.isEnded || stream.pointee.receive.isEnded {
      touched!.append(stream.pointee.id)
    }
    guard stream.pointee.isEnded else { return }
    let id = stream.pointee.id
    ready.remove(stream)
    awaitingCredit.remove(stream)
    control.remove(stream)
    table.remove(stream)
    guard id.initiator != role else { return }
    remote[id.direction].closed += 1
    let state = remote[id.direction]
    // Told in batches of half the number that may be open at once.
    if state.closed + state.concurrent - state.advertised >= max(1, state.concurrent / 2) {
      due.insert(id.direction == .bidirectional ? .maxStreamsBidi : .maxStreamsUni)
    }
  }

  /// Returns connection credit for bytes that were read or dropped.
  mutating func consumeConnectionCredit(_ count: UInt64) {
    guard count > 0 else { return }
    receiveWindow.consume(count)
    if receiveWindow.isUpdateDue { due.insert(.maxData) }
  }

  /// A STREAM frame, or another of the frames kept here, may be written now.
  var hasFrames: Bool { !due.isEmpty || !control.isEmpty || !ready.isEmpty }

  /// The application has given more than has been sent, and nothing but the peer's credit holds it back.
  var isBlockedByPeer: Bool { ready.isEmpty && !awaitingCredit.isEmpty }
}
