import HTTP3
import QUIC
import QUICTLS
import Ring

/// What the two cores say, told to whom it concerns.
extension HTTP3Session {
  func deliverEvents() {
    while let event = quic.nextEvent() {
      switch event {
      case .connectionIDIssued(let id):
        routedIDs.insert(id)
        endpoint.assumeIsolated { $0.route(id, to: self) }
      case .connectionIDRetired(let id):
        routedIDs.remove(id)
        endpoint.assumeIsolated { $0.unroute(id) }
      case .tokenReceived(let token):
        if let server = ReceivedTokens.Server(tls, at: remote) {
          endpoint.assumeIsolated { $0.keep(token, from: server) }
        }
      case .handshakeCompleted:
        handshakeEnded()
        startHTTP()
      case .earlyDataReady:
        // A client's requests need settings to go by; a server's SETTINGS need not wait for the client's Finished.
        if role == .server || remembered != nil { startHTTP() }
      case .pathChanged(let path):
        choose(path.local)
        if role == .client { endpoint.assumeIsolated { $0.expectResets(from: path.remote, for: self) } }
        pathChanged()
      case .streamFinished(let stream):
        http.handle(event, on: &quic)
        finishedWriting(stream)
      case .closed(let reason):
        http.handle(event, on: &quic)
        connectionClosed(reason)
      default: http.handle(event, on: &quic)
      }
      deliverHTTPEvents()
    }
    deliverHTTPEvents()
  }

  private func startHTTP() {
    http.start(on: &quic)
    announceShutdown()
  }

  private func deliverHTTPEvents() {
    while let event = http.nextEvent() {
      switch event {
      case .settingsReceived(let settings):
        isReady = true
        (tls as? TLSClientSession)?.rememberApplicationState(settings.encoded)
        for waiter in readyWaiters { waiter.resume() }
        readyWaiters = []
        delegate?.sessionBecameReady(self)
      case .requestReceived(let stream, let fields, let finished):
        guard let delegate else { break }
        if let handler = delegate.session(self, request: fields, on: stream, finished: finished) {
          bind(stream, to: handler)
          if finished { finishedReading(stream) }
        }
      case .responseReceived(let stream, let fields, let finished):
        handlers[stream]?.handler.receive(fields: fields, finished: finished)
        if finished { finishedReading(stream) }
      case .interimResponseReceived(let stream, let fields), .trailersReceived(let stream, let fields):
        handlers[stream]?.handler.receive(fields: fields, finished: false)
      case .dataReadable(let stream): read(stream)
      case .dataWritable(let stream): handlers[stream]?.handler.writable()
      case .streamReset(let stream, let code):
        guard handlers[stream] != nil else { break }
        end(stream, .reset(code: code.rawValue))
        // RFC 9114 §4.4: "If the stream is reset or reading is aborted by the client, a proxy SHOULD perform the same
        // operation on the other direction in order to ensure that both directions of the stream are cancelled." Nobody is
        // left who would send on it.
        http.cancel(stream, code: .requestCancelled, on: &quic)
      case .streamStopped(let stream, let code):
        handlers[stream]?.handler.peerStoppedReading(code: code.rawValue)
        finishedWriting(stream)
      case .streamFailed(let stream, let error): end(stream, .reset(code: error.code.rawValue))
      case .datagramsReceived:
        http.readDatagrams(on: &quic) { stream, payload in
          if let bound = handlers[stream] {
            bound.handler.receive(datagram: payload)
          } else if role == .server, early.count < Self.earlyLimit {
            early.append((stream, Array(payload)))
          }
        }
      case .goAway: wakeGoingAwayWaiters()
      case .requestsAvailable, .datagramsSendable, .connectionError, .closed: break
      }
    }
  }

  func read(_ stream: StreamID) {
    guard let bound = handlers[stream] else {
      // A request answered without reading its content: the rest is unwanted.
      http.stopReading(stream, code: .noError, on: &quic)
      return
    }
    var ended = false
    reading: while true {
      let outcome = http.readData(stream, on: &quic) { bytes, _ in
        bytes.isEmpty ? 0 : bound.handler.receive(data: bytes)
      }
      switch outcome {
      case .progressed: continue
      case .blocked: break reading
      case .ended:
        ended = true
        break reading
      }
    }
    if ended { finishedReading(stream) }
  }

  private func finishedReading(_ stream: StreamID) {
    guard let bound = handlers[stream], !bound.readingEnded else { return }
    handlers[stream]?.readingEnded = true
    bound.handler.receiveEnd()
    releaseIfOver(stream)
  }

  private func finishedWriting(_ stream: StreamID) {
    handlers[stream]?.writingEnded = true
    releaseIfOver(stream)
  }

  private func releaseIfOver(_ stream: StreamID) {
    if let bound = handlers[stream], bound.readingEnded, bound.writingEnded { handlers[stream] = nil }
  }

  private func end(_ stream: StreamID, _ reason: RequestStreamEnd) {
    guard let bound = handlers.removeValue(forKey: stream) else { return }
    bound.handler.ended(reason)
  }

  private func handshakeEnded() {
    guard isHandshaking else { return }
    isHandshaking = false
    guard role == .server else { return }
    let (isResumed, earlyData) = (quic.isResumed, quic.earlyData)
    endpoint.assumeIsolated { $0.handshakeEnded(isResumed: isResumed, earlyData: earlyData) }
  }

  private func connectionClosed(_ reason: CloseReason) {
    guard closeReason == nil else { return }
    closeReason = reason
    handshakeEnded()
    (tls as? TLSClientSession)?.giveBackTicket()
    let bound = handlers
    handlers = [:]
    for stream in bound.values { stream.handler.ended(.connectionClosed(reason)) }
    for waiter in readyWaiters { waiter.resume(throwing: reason) }
    readyWaiters = []
    for waiter in closedWaiters { waiter.resume() }
    closedWaiters = []
    wakeGoingAwayWaiters()
    wakeMovedWaiters()
    shutdownTimer?.cancel()
    shutdownTimer = nil
    delegate?.session(self, closed: reason)
    delegate = nil
  }
}
