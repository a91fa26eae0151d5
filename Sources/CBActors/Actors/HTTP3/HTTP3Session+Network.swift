import QUIC
import Ring
public import Wire

/// A client whose machine changes networks (RFC 9000 §9).
extension HTTP3Session {
  /// Where a client's packets leave from.
  struct Whereabouts {
    /// The machine's address on the active path; nil while there was no route at all.
    var source: IPAddress?
    /// What keeps the packets of the active path on their interface when the machine's routes have left it.
    var hold: Hold?
    /// The path that is tried meanwhile, and the address that it leaves from.
    var tried: (path: Path, source: IPAddress)?
  }

  struct Hold {
    var local: SocketAddress
    var source: IPAddress
    var interface: UInt32
  }

  enum NetworkChange {
    case none
    /// The machine would rather send from another address; the present one is there still.
    case better
    /// The machine has the address no more, or its link is down.
    case gone
  }

  /// The machine's routes may have changed: what does it mean for this connection?
  func networkChange(_ isSettled: Bool) -> NetworkChange {
    guard role == .client, closeReason == nil, let present = RouteWatch.source(towards: quic.path.remote) else {
      return .none
    }
    guard let source = whereabouts.source, source != present else {
      guard isSettled else { return .none }
      // Perhaps of another network that gave the same address, or of one that was away for a while.
      whereabouts = Whereabouts(source: present)
      quic.networkReturned(now: ring.refreshNow())
      markDirty()
      return .none
    }
    guard let interface = RouteWatch.interface(of: source) else { return .gone }
    whereabouts.hold = Hold(local: quic.path.local, source: source, interface: interface)
    guard isSettled else { return .none }
    if let tried = whereabouts.tried, tried.source == present, quic.isProbing(tried.path) { return .none }
    return .better
  }

  /// Goes on from another socket: at once, or as soon as it is seen to work there. True if it will.
  func follow(_ change: NetworkChange, to socket: RingBound<UDPSocket>) -> Bool {
    guard let present = RouteWatch.source(towards: quic.path.remote) else { return false }
    switch change {
    case .none: return false
    case .gone:
      // Where it may not migrate, the socket stays, and its packets leave from the new address by themselves.
      whereabouts = Whereabouts(source: present)
      if move(to: socket) { return true }
      quic.networkReturned(now: ring.refreshNow())
      markDirty()
      return false
    case .better:
      let path = Path(local: socket.value.localAddress, remote: quic.path.remote)
      guard quic.probe(path, now: ring.refreshNow()) else { return false }
      whereabouts.tried = (path, present)
      sockets.append(socket.value)
      markDirty()
      return true
    }
  }

  /// Another path has become the active one.
  func pathChanged() {
    guard role == .client else { return }
    whereabouts = Whereabouts(source: RouteWatch.source(towards: quic.path.remote) ?? whereabouts.source)
    wakeMovedWaiters()
  }

  /// Where a client's packets come from, as far as this machine knows; nil at a server, and without a route.
  public var localAddress: SocketAddress? {
    whereabouts.source.map { SocketAddress($0, port: quic.path.local.port) }
  }

  /// The machine has a route to the peer.
  public var hasNetwork: Bool { RouteWatch.source(towards: quic.path.remote) != nil }

  /// Returns how often the path has changed since the connection began, when that is more than `seen`; nil when the
  /// connection has ended.
  public func waitUntilMoved(since seen: UInt64) async -> UInt64? {
    while true {
      if closeReason != nil { return nil }
      if quic.statistics.migrations > seen { return quic.statistics.migrations }
      await withCheckedContinuation { movedWaiters.append($0) }
    }
  }

  func wakeMovedWaiters() {
    for waiter in movedWaiters { waiter.resume() }
    movedWaiters = []
  }

  func send(of transmission: Transmission) -> UDPSend {
    var send = UDPSend(transmission)
    if let hold = whereabouts.hold, hold.local == transmission.path.local {
      send.source = hold.source
      send.sourceScopeID = hold.interface
    }
    return send
  }
}
