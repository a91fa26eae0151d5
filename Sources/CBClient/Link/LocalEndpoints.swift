import CBActors
import Ring
import Wire

/// The client's UDP sockets, one a family, made when first needed. They follow the machine from network to network.
actor LocalEndpoints {
  nonisolated let ring: RingExecutor
  nonisolated var unownedExecutor: UnownedSerialExecutor { ring.asUnownedSerialExecutor() }
  /// Says that packets to a PoP leave from another address than before, or can leave again. Ends with ``stop()``.
  nonisolated let networkChanges: AsyncStream<Void>
  private let changed: AsyncStream<Void>.Continuation
  private let make: @Sendable (RingExecutor) -> QUICEndpoint
  private var four: QUICEndpoint?
  private var six: QUICEndpoint?
  private var watch: RouteWatch?
  /// What packets to the PoPs that were asked for leave from.
  private var sources: [SocketAddress: IPAddress?] = [:]
  private static let mostSources = 64

  init(ring: RingExecutor, make: @escaping @Sendable (RingExecutor) -> QUICEndpoint) {
    self.ring = ring
    self.make = make
    (networkChanges, changed) = AsyncStream.makeStream(bufferingPolicy: .bufferingNewest(1))
  }

  func endpoint(for remote: SocketAddress) throws -> QUICEndpoint {
    // Without word of changes a connection lives as long as the path that it began on.
    if watch == nil {
      watch = try? RouteWatch(on: ring) { [weak self] isSettled in
        self?.assumeIsolated { $0.networkChanged(isSettled) }
      }
    }
    if sources.count < Self.mostSources { sources[remote] = .some(RouteWatch.source(towards: remote)) }
    if let endpoint = remote.ip.isIPv4 ? four : six { return endpoint }
    let endpoint = make(ring)
    let any: IPAddress = remote.ip.isIPv4 ? .v4(.any) : .v6(.any)
    _ = try endpoint.assumeIsolated { try $0.start(on: SocketAddress(any, port: 0)) }
    if remote.ip.isIPv4 { four = endpoint } else { six = endpoint }
    return endpoint
  }

  /// RFC 9000 §9: connections go on where the machine is now, with all that they carry.
  private func networkChanged(_ isSettled: Bool) {
    for endpoint in [four, six] {
      // Without a new socket a connection stays on the old one, and the kernel sends from the new address by itself.
      _ = try? endpoint?.assumeIsolated { try $0.followNetwork(isSettled: isSettled) }
    }
    guard isSettled else { return }
    var isNew = false
    for (remote, before) in sources {
      let present = RouteWatch.source(towards: remote)
      if present != before {
        sources[remote] = .some(present)
        if present != nil { isNew = true }
      }
    }
    if isNew { changed.yield() }
  }

  /// Closes every connection and socket.
  func stop() async {
    await four?.stop()
    await six?.stop()
    four = nil
    six = nil
    watch?.close()
    watch = nil
    changed.finish()
  }
}
