public import QUIC
internal import Wire

/// Bounds on what a peer can make us hold. Sizes are in bytes.
public struct Limits: Hashable, Sendable {
  /// A field section, encoded and as RFC 9114 §4.2.2 counts it. A larger one costs its stream.
  public var fieldSection = 65536
  /// Interim responses to one request. More cost the stream.
  public var interimResponses = 16
  /// The payload of SETTINGS. A larger one ends the connection.
  public var settingsPayload = 4096
  public init() {}
}

/// One end of an HTTP/3 connection (RFC 9114), above a QUIC connection that its owner holds.
///
/// It holds no transport, clock or socket: each call that may read or send is given the transport.
/// The owner calls ``start(on:)`` once, ``handle(_:on:)`` with every event of the QUIC connection, and
/// drains ``nextEvent()`` after each. Content never passes through a buffer here.
public struct Connection: ~Copyable {
  public let role: Role
  /// What we announce.
  public let settings: Settings
  public let limits: Limits
  /// What the peer announced; until then what was remembered of it, else the defaults.
  public internal(set) var peerSettings: Settings
  /// The peer's SETTINGS have come.
  public internal(set) var hasPeerSettings = false
  /// Messages given up as malformed, and datagrams that fitted no open request.
  public internal(set) var counters = Counters()

  public struct Counters: Hashable, Sendable {
    public var malformedMessages: UInt64 = 0
    public var droppedDatagrams: UInt64 = 0
    public var rejectedRequests: UInt64 = 0
    public init() {}
  }

  enum State {
    case idle, open, closed
  }
  var state = State.idle
  var remembered: Settings?
  let greaseSeed: UInt64

  var streams: [StreamID: RequestStream] = [:]
  var outbound = OutboundStreams()
  var inbound = InboundStreams()
  var encoder = QPACKEncoder()
  var decoder: QPACKDecoder
  /// What PRIORITY_UPDATE frames said of requests that have not come yet.
  var priorityUpdates: [StreamID: PriorityParameters] = [:]
  /// The lowest client-initiated bidirectional stream not opened yet.
  var nextRequestStream: UInt64 = 0
  /// A request found no stream and its sender waits for `.requestsAvailable`.
  var awaitsStream = false
  /// RFC 9114 §5.2: the identifiers of the last GOAWAY each way.
  var sentGoAway: UInt64?
  var receivedGoAway: UInt64?
  var events = EventQueue()

  /// - Parameters:
  ///   - remembered: The server's SETTINGS of the session that early data is about to be sent in
  ///     (RFC 9114 §7.2.4.2); nil without early data. The caller keeps them with the session ticket.
  ///   - greaseSeed: Chooses the reserved setting sent to exercise the peer (RFC 9114 §7.2.4.1).
  public init(
    role: Role, settings: Settings = .tunnel, limits: Limits = Limits(), remembered: Settings? = nil,
    greaseSeed: UInt64 = 0x2a_0017
  ) {
    self.role = role
    self.settings = settings
    decoder = Self.decoder(settings)
    self.limits = limits
    self.remembered = role == .client ? remembered : nil
    self.greaseSeed = greaseSeed
    peerSettings = self.remembered ?? Settings()
    encoder.apply(peerSettings)
  }

  private static func decoder(_ settings: Settings) -> QPACKDecoder {
    QPACKDecoder(
      maximumCapacity: Int(clamping: settings.qpackMaximumTableCapacity),
      maximumBlockedStreams: Int(clamping: settings.qpackBlockedStreams))
  }

  /// Requests that are not over in both directions.
  public var openRequests: Int { streams.count }
  /// A GOAWAY has gone either way: no new request starts here.
  public var isGoingAway: Bool { sentGoAway != nil || receivedGoAway != nil }
  public var isOpen: Bool { state == .open }

  /// The oldest event not taken yet.
  public mutating func nextEvent() -> Event? { events.next() }

  /// Opens the control and QPACK streams and sends SETTINGS: as soon as the transport can send, which for a
  /// client with early data is before the handshake ends.
  public mutating func start<T: StreamTransport & ~Copyable>(on transport: inout T) {
    guard state == .idle else { return }
    state = .open
    // RFC 9114 §6.2.1: "Each side MUST initiate a single control stream at the beginning of the connection and send
    // its SETTINGS frame as the first frame on this stream."
    outbound.enqueue(settings.encodedFrame(greaseSeed: greaseSeed))
    outbound.open(on: &transport)
  }

  /// Takes in one event of the transport. Events that concern no HTTP/3 stream are passed over.
  public mutating func handle<T: StreamTransport & ~Copyable>(_ event: QUIC.Event, on transport: inout T) {
    if case .closed(let reason) = event {
      state = .closed
      streams.removeAll()
      events.push(.closed(reason))
      return
    }
    guard state == .open else { return }
    switch event {
    case .streamOpened(let id): opened(id, on: &transport)
    case .streamReadable(let id):
      if id.direction == .unidirectional {
        readInbound(id, on: &transport)
      } else {
        requestReadable(id, on: &transport)
      }
    case .streamWritable(let id): writable(id, on: &transport)
    case .streamReset(let id, let code): wasReset(id, ErrorCode(rawValue: code), on: &transport)
    case .streamStopped(let id, let code): wasStopped(id, ErrorCode(rawValue: code), on: &transport)
    case .streamsAvailable(.unidirectional): outbound.open(on: &transport)
    case .streamsAvailable(.bidirectional):
      if awaitsStream, !isGoingAway {
        awaitsStream = false
        events.push(.requestsAvailable)
      }
    case .datagramsReceived: events.push(.datagramsReceived)
    case .datagramsSendable: events.push(.datagramsSendable)
    case .earlyDataRejected: restart(on: &transport)
    default: break
    }
    sendDecoderInstructions(on: &transport)
  }

  /// Ends the connection over what the peer did (RFC 9114 §8).
  mutating func fail<T: StreamTransport & ~Copyable>(_ error: ConnectionError, on transport: inout T) {
    guard state == .open else { return }
    state = .closed
    streams.removeAll()
    events.push(.connectionError(error))
    transport.close(code: error.code.rawValue, reason: error.reason)
  }

  /// Ends the connection with H3_NO_ERROR. Requests that are still open are lost.
  // RFC 9114 §5.2: "An endpoint that completes a graceful shutdown SHOULD use the H3_NO_ERROR error code when closing
  // the connection."
  public mutating func shutdown<T: StreamTransport & ~Copyable>(reason: String = "", on transport: inout T) {
    guard state != .closed else { return }
    state = .closed
    streams.removeAll()
    transport.close(code: ErrorCode.noError.rawValue, reason: reason)
  }

  /// Early data was refused: every stream so far is void, on both sides (RFC 9001 §4.6.2).
  private mutating func restart<T: StreamTransport & ~Copyable>(on transport: inout T) {
    for id in streams.keys.sorted() { events.push(.streamReset(id, .requestRejected)) }
    streams.removeAll()
    nextRequestStream = 0
    priorityUpdates = [:]
    inbound = InboundStreams()
    outbound = OutboundStreams()
    encoder = QPACKEncoder()
    decoder = Self.decoder(settings)
    remembered = nil
    if !hasPeerSettings { peerSettings = Settings() }
    outbound.enqueue(settings.encodedFrame(greaseSeed: greaseSeed))
    outbound.open(on: &transport)
  }

  // MARK: Streams that come and go

  private mutating func opened<T: StreamTransport & ~Copyable>(_ id: StreamID, on transport: inout T) {
    guard id.initiator != role else { return }
    if id.direction == .unidirectional {
      inbound.opened(id)
      return
    }
    guard role == .server else {
      // RFC 9114 §6.1: "Clients MUST treat receipt of a server-initiated bidirectional stream as a connection error
      // of type H3_STREAM_CREATION_ERROR"
      return fail(ConnectionError(.streamCreationError, "bidirectional stream opened by the server"), on: &transport)
    }
    if id.rawValue >= nextRequestStream { nextRequestStream = id.rawValue + 4 }
    if let sentGoAway, id.rawValue >= sentGoAway {
      // RFC 9114 §5.2: "Requests or pushes with the indicated identifier or greater are rejected"
      counters.rejectedRequests += 1
      transport.reset(id, code: ErrorCode.requestRejected.rawValue)
      transport.stopReading(id, code: ErrorCode.requestRejected.rawValue)
      decoder.abandoned(id)
      return
    }
    if streams[id] == nil { streams[id] = RequestStream() }
  }

  private mutating func writable<T: StreamTransport & ~Copyable>(_ id: StreamID, on transport: inout T) {
    if outbound.owns(id) { return outbound.flush(id, on: &transport) }
    guard let index = streams.index(forKey: id) else { return }
    if flush(index, id, on: &transport), streams.values[index].awaitsRoom {
      streams.values[index].awaitsRoom = false
      events.push(.dataWritable(id))
    }
    removeIfOver(id)
  }

  private mutating func wasReset<T: StreamTransport & ~Copyable>(
    _ id: StreamID, _ code: ErrorCode, on transport: inout T
  ) {
    if id.direction == .unidirectional {
      if let error = inbound.ended(id) { fail(error, on: &transport) }
      return
    }
    guard let index = streams.index(forKey: id), !streams.values[index].isReceivingOver else { return }
    decoder.abandoned(id)
    let neverSeen = role == .server && streams.values[index].phase == .headers
    streams.values[index].phase = .ended
    streams.values[index].fieldSection = []
    if neverSeen {
      // The owner has not heard of this request and never will.
      transport.reset(id, code: ErrorCode.requestRejected.rawValue)
      streams.removeValue(forKey: id)
      return
    }
    events.push(.streamReset(id, code))
    removeIfOver(id)
  }

  private mutating func wasStopped<T: StreamTransport & ~Copyable>(
    _ id: StreamID, _ code: ErrorCode, on transport: inout T
  ) {
    if outbound.owns(id) {
      // RFC 9114 §6.2.1: "If either control stream is closed at any point, this MUST be treated as a connection error
      // of type H3_CLOSED_CRITICAL_STREAM."
      return fail(ConnectionError(.closedCriticalStream, "the peer stopped a critical stream"), on: &transport)
    }
    guard let index = streams.index(forKey: id), !streams.values[index].isSendingOver else { return }
    streams.values[index].endSending()
    if role == .client || streams.values[index].phase != .headers { events.push(.streamStopped(id, code)) }
    removeIfOver(id)
  }

  mutating func removeIfOver(_ id: StreamID) {
    if let index = streams.index(forKey: id), streams.values[index].isOver { streams.remove(at: index) }
  }
}

/// Events in the order in which they happened. What one call can add is bounded by what the transport holds.
struct EventQueue {
  private var items: [Event] = []
  private var head = 0

  mutating func push(_ event: Event) { items.append(event) }

  mutating func next() -> Event? {
    guard head < items.count else {
      items.removeAll(keepingCapacity: true)
      head = 0
      return nil
    }
    defer { head += 1 }
    return items[head]
  }
}
