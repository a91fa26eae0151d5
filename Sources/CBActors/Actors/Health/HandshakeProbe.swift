public import Health
public import Logging
public import QUIC
public import QUICTLS
public import Ring
public import Wire

/// Asks a QUIC listener for a whole handshake, as a client would: nothing less shows that it serves.
public actor HandshakeProbe {
  public nonisolated let ring: RingExecutor
  public nonisolated var unownedExecutor: UnownedSerialExecutor { ring.asUnownedSerialExecutor() }

  private let tls: ClientTLSContext
  private let configuration: QUIC.Configuration
  private let logger: Logger
  private var endpoints: [Bool: QUICEndpoint] = [:]

  /// - Parameters:
  ///   - timeout: for one handshake.
  ///   - tls: knows the listener by its key, or by a certificate for its address: no name is asked for.
  public init(
    ring: RingExecutor, _ configuration: QUIC.Configuration, timeout: Interval, tls: ClientTLSContext, logger: Logger
  ) {
    self.ring = ring
    self.tls = tls
    self.logger = logger
    var configuration = configuration
    configuration.handshakeTimeout = timeout
    self.configuration = configuration
  }

  /// Good when the handshake has been completed; closes the connection. A listener that refuses us in words, for want of
  /// a certificate of ours or of room for one more, serves those that it has.
  ///
  /// - Parameter share: the one to ask of the rings that share the listener; nil leaves it to chance.
  public func ask(_ address: SocketAddress, on share: RingShare? = nil) async -> Finding {
    do {
      let endpoint = try await endpoint(isIPv4: address.ip.isIPv4)
      let session = try await endpoint.connect(
        to: address, tls: RingBound(tls.makeSession(serverName: "\(address.ip)")), on: share, delegate: nil)
      defer { Task { await session.close() } }
      try await session.ready()
      return Finding(true, "a handshake")
    } catch CloseReason.peerTransport(let error) where Self.refusals.contains(error.code) {
      return Finding(true, "refused in words: \(error)")
    } catch {
      logger.debug("no handshake", metadata: ["address": "\(address)", "error": "\(error)"])
      return Finding(false, "no handshake: \(error)")
    }
  }

  public func stop() async {
    for endpoint in endpoints.values { await endpoint.stop() }
    endpoints = [:]
  }

  /// RFC 9000 §20.1, and the alert certificate_required of RFC 8446 §6.
  private static let refusals: Set<TransportError.Code> = [.connectionRefused, .init(rawValue: 0x100 + 116)]

  private func endpoint(isIPv4: Bool) async throws -> QUICEndpoint {
    if let known = endpoints[isIPv4] { return known }
    let endpoint = QUICEndpoint(ring: ring, configuration: configuration, acceptance: nil, logger: logger)
    endpoints[isIPv4] = endpoint
    do {
      _ = try await endpoint.start(on: SocketAddress(isIPv4 ? .v4(.any) : .v6(.any), port: 0))
    } catch {
      endpoints[isIPv4] = nil
      throw error
    }
    return endpoint
  }
}
