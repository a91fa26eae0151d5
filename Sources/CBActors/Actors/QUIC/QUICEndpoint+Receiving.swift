import Logging
import QUIC
public import Ring
public import Wire

/// What the sockets bring.
extension QUICEndpoint {
  /// Hands runs of datagrams for one connection on together.
  private func receive(_ train: UnsafeMutableRawBufferPointer, segmentSize: Int, path: Path, ecn: ECN) {
    let now = ring.now
    var run: (session: HTTP3Session, start: Int)?
    var offset = 0
    counts.bytesReceived += UInt64(train.count)
    func finishRun(_ end: Int) {
      guard let current = run else { return }
      let part = RingBound(UnsafeMutableRawBufferPointer(rebasing: train[current.start..<end]))
      current.session.assumeIsolated {
        $0.receive(part.value, segmentSize: segmentSize, path: path, ecn: ecn, now: now)
      }
      run = nil
    }
    while offset < train.count {
      let end = min(offset + segmentSize, train.count)
      counts.datagramsReceived += 1
      let datagram = UnsafeMutableRawBufferPointer(rebasing: train[offset..<end])
      switch core.route(UnsafeRawBufferPointer(datagram), from: path, now: now, reply: reply.bytes) {
      case .connection(let session):
        if run?.session !== session {
          finishRun(offset)
          run = (session, offset)
        }
      case .accept(let request):
        finishRun(offset)
        accept(request, datagram, path: path, ecn: ecn, now: now)
      case .reply(let count):
        finishRun(offset)
        counts.repliesSent += 1
        _ = socket(for: path.local)?.send(
          UnsafeRawBufferPointer(rebasing: UnsafeRawBufferPointer(reply.bytes)[..<count]),
          UDPSend(byteCount: count, segmentSize: count, destination: path.remote, source: path.local.ip))
      case .ring(let index):
        finishRun(offset)
        toss(UnsafeRawBufferPointer(datagram), to: index, path: path, ecn: ecn)
      case .drop:
        finishRun(offset)
      }
      offset = end
    }
    finishRun(offset)
  }

  /// Hands a datagram to the ring that its connection ID names. Rare, since the kernel steers by the same bits: it joins
  /// datagrams of one sender to trains, whatever their connections.
  private func toss(_ datagram: UnsafeRawBufferPointer, to index: Int, path: Path, ecn: ECN) {
    guard index < siblings.count, tossing < Self.mostTossing else {
      counts.tossesDropped += 1
      return
    }
    counts.tossed += 1
    tossing += 1
    let (sibling, bytes) = (siblings[index], [UInt8](datagram))
    Task.detached {
      await sibling.receive(tossed: bytes, path: path, ecn: ecn)
      await self.tossed()
    }
  }

  private func tossed() { tossing -= 1 }

  private func receive(tossed datagram: [UInt8], path: Path, ecn: ECN) {
    guard !sockets.isEmpty else { return }
    var datagram = datagram
    datagram.withUnsafeMutableBytes { receive($0, segmentSize: $0.count, path: path, ecn: ecn) }
  }

  private func accept(
    _ request: InitialRequest, _ datagram: UnsafeMutableRawBufferPointer, path: Path, ecn: ECN, now: Instant
  ) {
    guard let acceptance, !sockets.isEmpty, acceptance.connections.acquire() else {
      counts.connectionsRefused += 1
      return
    }
    let session = HTTP3Session(
      .server(request), configuration, tls: RingBound(acceptance.makeTLS()), path: path, now: now,
      settings: acceptance.settings, endpoint: self, sockets: RingBound(sockets))
    do {
      let delegate = try acceptance.makeDelegate(ring, path.remote)
      session.assumeIsolated { $0.setDelegate(delegate) }
    } catch {
      acceptance.connections.release()
      counts.connectionsRefused += 1
      logger.error("a connection could not be served: \(error)")
      return
    }
    counts.connectionsAccepted += 1
    if request.isAddressValidated, request.retrySourceID == nil { counts.tokensAccepted += 1 }
    core.halfOpen += 1
    sessions[ObjectIdentifier(session)] = session
    let bytes = RingBound(datagram)
    session.assumeIsolated {
      $0.receive(bytes.value, segmentSize: bytes.value.count, path: path, ecn: ecn, now: now)
      // Its IDs are routed before the next datagram of the batch, which may be its own.
      $0.deliverEvents()
    }
  }
}

extension QUICEndpoint: UDPSocketDelegate {
  public nonisolated func udpSocket(
    _ socket: UDPSocket, received bytes: UnsafeMutableRawBufferPointer, segmentSize: Int,
    from remote: SocketAddress, to local: SocketAddress, ecn: UInt8
  ) {
    // Proof for the unwrap: two bits have four values, and ECN has them all.
    let mark = ECN(rawValue: ecn & 3)!
    let bytes = RingBound(bytes)
    assumeIsolated {
      $0.receive(bytes.value, segmentSize: segmentSize, path: Path(local: local, remote: remote), ecn: mark)
    }
  }

  public nonisolated func udpSocketWritable(_ socket: UDPSocket) {
    assumeIsolated { endpoint in
      let waiting = endpoint.blocked
      endpoint.blocked.removeAll(keepingCapacity: true)
      for session in waiting { session.assumeIsolated { $0.markDirty() } }
    }
  }

  public nonisolated func udpSocket(_ socket: UDPSocket, failed error: RingError) {
    assumeIsolated { endpoint in
      endpoint.counts.socketErrors += 1
      endpoint.logger.debug("UDP socket: \(error)")
    }
  }
}
