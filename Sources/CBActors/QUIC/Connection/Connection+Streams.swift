import PacketCrypto
import Wire

/// What the protocol above does with a connection.
extension Connection: StreamTransport {
  public mutating func openStream(_ direction: StreamDirection) -> StreamID? {
    guard case .open = lifecycle else { return nil }
    return streams.open(direction)
  }

  public mutating func write(_ stream: StreamID, _ bytes: UnsafeRawBufferPointer, finish: Bool) -> Int {
    guard case .open = lifecycle else { return bytes.count }
    let count = streams.write(stream, bytes, finish: finish)
    if qlog != nil { logMoved(stream, count, fromApplication: true, fin: finish && count == bytes.count) }
    return count
  }

  /// Bidirectional streams that the peer opened and that are not over: not read to their end, or not acknowledged to it.
  public var openPeerStreams: UInt64 { streams.remote.bidirectional.opened - streams.remote.bidirectional.closed }

  public func writableBytes(_ stream: StreamID) -> Int { streams.writableBytes(stream) }

  public mutating func read(
    _ stream: StreamID, _ body: (_ bytes: UnsafeRawBufferPointer, _ finished: Bool) -> Int
  ) -> StreamRead {
    guard qlog != nil else { return streams.read(stream, body) }
    var moved = 0
    var fin = false
    let outcome = streams.read(stream) { bytes, finished in
      let taken = body(bytes, finished)
      moved += taken
      fin = fin || (finished && taken == bytes.count)
      return taken
    }
    logMoved(stream, moved, fromApplication: false, fin: fin)
    return outcome
  }

  public mutating func setPriority(_ stream: StreamID, _ priority: StreamPriority) {
    streams.setPriority(stream, priority)
  }

  public mutating func reset(_ stream: StreamID, code: UInt64) { streams.reset(stream, code: code) }

  public mutating func stopReading(_ stream: StreamID, code: UInt64) { streams.stopReading(stream, code: code) }

  /// The largest payload of one DATAGRAM frame that a packet of the present size carries and the peer takes.
  public var maximumDatagramSize: Int? { datagramCapacity }

  /// The packet size, or something else that bounds what fits in a packet, has changed.
  mutating func applyMTU() {
    if recovery.maximumDatagramSize != UInt64(mtu.current) { recovery.setMaximumDatagramSize(mtu.current) }
    guard let peer = peerTransportParameters ?? rememberedParameters, peer.maxDatagramFrameSize > 0 else {
      datagramCapacity = nil
      return
    }
    let header = PacketStart.shortHeaderLength(
      destinationID: peerIDs.id(active.peerIDSequence) ?? .empty, packetNumberLength: 4)
    let inPacket = DatagramFrameSize.capacity(space: mtu.current - header - PacketKey.tagLength, withLength: true)
    let atPeer = DatagramFrameSize.capacity(space: Int(clamping: peer.maxDatagramFrameSize), withLength: true)
    datagramCapacity = min(inPacket ?? 0, atPeer ?? 0)
  }

  public mutating func sendDatagram(_ header: UnsafeRawBufferPointer, _ payload: UnsafeRawBufferPointer) -> Bool {
    guard case .open = lifecycle, let most = datagramCapacity, header.count + payload.count <= most else {
      return false
    }
    if !outgoingDatagrams.hasRoom(for: header.count + payload.count) { owesDatagramsSendable = true }
    if qlog != nil { logMoved(datagram: header.count + payload.count, fromApplication: true) }
    return outgoingDatagrams.append(header, payload)
  }

  public mutating func readDatagram(_ body: (UnsafeRawBufferPointer) -> Void) -> Bool {
    guard incomingDatagrams.withFirst(body) != nil else {
      saidDatagramsReceived = false
      return false
    }
    if qlog != nil { logMoved(datagram: incomingDatagrams.firstCount ?? 0, fromApplication: false) }
    incomingDatagrams.removeFirst()
    return true
  }
}
