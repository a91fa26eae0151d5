import CBActors
import HTTP3
import MASQUE
import QUIC
import Ring
import Wire

/// Opens tunnels over a ``PoPLink`` for whoever serves applications, and says in their words why one failed.
struct Flows: Sendable {
  let link: PoPLink
  let report: @Sendable (ClientEvent) -> Void

  /// Opens a TCP tunnel; it is open when this returns.
  func openTCP(to destination: ProxyDestination) async throws(ClientError) -> TCPTunnel {
    let target = try Self.target(destination)
    do {
      return try await link.onSession { connected in
        let tunnel = TCPTunnel(session: connected.session, stream: nil, idleTimeout: .infinite)
        do {
          let response = try await tunnel.request(ConnectTCP.request(target))
          try ConnectTCP.accept(response)
          return tunnel
        } catch {
          await tunnel.abandon()
          throw error
        }
      }
    } catch {
      throw explain(error, destination)
    }
  }

  /// Opens a UDP tunnel; payloads may be sent at once. `onEnd` hears of a refusal.
  func openUDP(
    to destination: ProxyDestination, receive: @escaping @Sendable (UnsafeRawBufferPointer) -> Void,
    onEnd: @escaping @Sendable (ClientError?) -> Void
  ) async throws(ClientError) -> UDPFlow {
    let target = try Self.target(destination)
    let flow = UDPFlow(
      ring: link.ring, receive: receive,
      onRejected: { flow in
        Task {
          do {
            try await open(flow, to: target)
          } catch {
            await flow.fail(error)
          }
        }
      },
      onEnd: { result in
        switch result {
        case .success: onEnd(nil)
        case .failure(let error): onEnd(explain(error, destination))
        }
      })
    do {
      try await open(flow, to: target)
      return flow
    } catch {
      throw explain(error, destination)
    }
  }

  private func open(_ flow: UDPFlow, to target: Target) async throws {
    try await link.onSession { connected in
      try await flow.open(ConnectUDP.request(connected.template, target), on: connected.session)
    }
  }

  private static func target(_ destination: ProxyDestination) throws(ClientError) -> Target {
    switch destination.host {
    case .address(let ip): return Target(host: .address(ip), port: destination.port)
    case .name(let name):
      guard let host = Target.Host(name) else { throw ClientError(.usage, "'\(name)' is no host name") }
      return Target(host: host, port: destination.port)
    }
  }

  private func explain(_ error: any Error, _ destination: ProxyDestination) -> ClientError {
    let explained = Self.clientError(error, destination)
    if explained.kind == .refused { report(.flowRefused(target: "\(destination)", reason: explained.message)) }
    return explained
  }

  private static func clientError(_ error: any Error, _ destination: ProxyDestination) -> ClientError {
    switch error {
    case let error as ClientError: error
    case TunnelRefused.status(401, _):
      ClientError(.notSignedIn, "the PoP no longer accepts the sign-in", hint: "run 'login', then 'connect'")
    case TunnelRefused.status(let status, let account):
      refusal(status, account, destination)
    case TunnelRefused.malformed(let reason): ClientError(.failure, "the PoP's answer is malformed: \(reason)")
    case TunnelError.noStream: ClientError(.refused, "the PoP allows no more tunnels at once")
    case RequestStreamEnd.reset(let code):
      ClientError(.connectionLost, "the PoP gave the tunnel to \(destination) up (0x\(String(code, radix: 16)))")
    case SendError.goingAway, SendError.closed: ClientError(.connectionLost, "the PoP is going away")
    case RequestStreamEnd.connectionClosed(let reason): ClientError(.connectionLost, reason.explanation)
    case is CancellationError: ClientError(.cancelled, "cancelled")
    default: ClientError(.failure, "\(error)")
    }
  }

  private static func refusal(_ status: Int, _ account: ProxyStatus?, _ destination: ProxyDestination) -> ClientError {
    let detail = account?.details ?? account?.error.rawValue ?? "status \(status)"
    return switch account?.error {
    case .destinationIPProhibited, .httpRequestDenied, .connectionLimitReached:
      ClientError(.refused, "the PoP refuses \(destination): \(detail)")
    case .connectionTimeout, .dnsTimeout: ClientError(.connectionLost, "\(destination): \(detail)")
    case nil: ClientError(status == 429 || status == 403 ? .refused : .failure, "\(destination): \(detail)")
    default: ClientError(.failure, "\(destination): \(detail)")
    }
  }
}
