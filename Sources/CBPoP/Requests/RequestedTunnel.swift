import CBActors
import Glibc
import HTTP3
import MASQUE
import Ring
import Wire

/// A tunnel that a client asked for, bound to its stream and not yet open.
protocol RequestedTunnel: Sendable {
  static var name: String { get }
  /// Opens it to the first of the target's addresses that can be reached, and answers the request.
  func open(to addresses: [SocketAddress], connectTimeout: Interval) async throws(Rejection)
  func refuse(_ response: HeaderList) async
}

extension UDPTunnel: RequestedTunnel {
  static var name: String { "UDP" }

  func open(to addresses: [SocketAddress], connectTimeout: Interval) async throws(Rejection) {
    do {
      try open(to: addresses[0], response: ConnectUDP.success)
    } catch {
      throw Rejection(.destinationIPUnroutable, "\(error)")
    }
  }
}

extension TCPTunnel: RequestedTunnel {
  static var name: String { "TCP" }

  func open(to addresses: [SocketAddress], connectTimeout: Interval) async throws(Rejection) {
    var last = Rejection(.destinationUnavailable, "no address")
    for address in addresses {
      do {
        try await connect(to: address, timeout: connectTimeout)
        return accept(ConnectTCP.success)
      } catch let error as RingError {
        last = Rejection(error)
      } catch {
        throw Rejection(.connectionTerminated, "the client left")
      }
    }
    throw last
  }
}

/// On whose account a tunnel is, once that is known. Touched only on the ring of its tunnel.
///
/// `@unchecked Sendable`: the connection and the tunnel that share one are actors of the same ring.
final class TunnelAccount: @unchecked Sendable {
  private let services: PoPServices
  private var subject: String?
  private var isOver = false

  init(_ services: PoPServices) { self.services = services }

  func open(for subject: String) throws(Rejection) {
    guard !isOver else { throw Rejection(.connectionTerminated, "the client left") }
    do throws(TunnelLimits.Refusal) {
      try services.limits.acquire(subject)
    } catch {
      throw Rejection(status: 429, "\(error)", error: .connectionLimitReached)
    }
    self.subject = subject
  }

  /// The tunnel is over, having carried so many bytes of payload each way.
  func close(bytesToTarget: UInt64, bytesToClient: UInt64) {
    isOver = true
    if let subject { services.limits.release(subject) }
    subject = nil
    services.counters.count {
      $0.bytesToTargets += bytesToTarget
      $0.bytesToClients += bytesToClient
    }
  }
}

extension Rejection {
  /// What a failed connection to the target is called (RFC 9209 §2.3).
  fileprivate init(_ error: RingError) {
    switch (error.code, error.errno) {
    case (.timedOut, _): self.init(.connectionTimeout, "\(error)")
    case (.system, ECONNREFUSED): self.init(.connectionRefused, "\(error)")
    case (.system, ENETUNREACH), (.system, EHOSTUNREACH): self.init(.destinationIPUnroutable, "\(error)")
    case (.closed, _): self.init(.connectionTerminated, "\(error)")
    default: self.init(.destinationUnavailable, "\(error)")
    }
  }
}
