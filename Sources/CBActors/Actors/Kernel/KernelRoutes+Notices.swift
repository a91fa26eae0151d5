import Logging
import Netlink
import Ring
import Wire

/// Hears what other programs do to the routes that bear our origin, and which routes of theirs they put in the place of
/// others: on a socket of its own, so that a flood of it takes no room from the kernel's answers.
final class RouteNotices: NetlinkSocketDelegate {
  private weak var routes: KernelRoutes?
  private var socket: NetlinkSocket?
  private var transactions = Transactions()

  /// Of the ring's thread.
  ///
  /// - Parameter port: of the socket that our own changes go by.
  init(of routes: KernelRoutes, origin: RouteOrigin, notCausedBy port: UInt32) throws(RingError) {
    self.routes = routes
    let groups: [NotificationGroup] = [.ipv4Route, .ipv6Route]
    let socket = try NetlinkSocket(on: routes.ring, groups: groups.map(\.rawValue), delegate: self)
    self.socket = socket
    do throws(RingError) {
      try socket.keepRoutes(ofProtocol: origin.rawValue, notCausedBy: port)
    } catch {
      socket.close()
      throw error
    }
  }

  func close() {
    socket?.close()
    socket = nil
  }

  func netlinkSocket(_ socket: NetlinkSocket, received bytes: UnsafeRawBufferPointer) {
    var changes: [(route: Route, notice: Notice)] = []
    transactions.receive(bytes) { event in
      if case .notified(.route(let route), let notice) = event { changes.append((route, notice)) }
    }
    guard !changes.isEmpty else { return }
    routes?.assumeIsolated { $0.disturbed(changes) }
  }

  func netlinkSocketSent(_ socket: NetlinkSocket) {}

  func netlinkSocketOverran(_ socket: NetlinkSocket) { routes?.assumeIsolated { $0.noticesOverran() } }

  func netlinkSocket(_ socket: NetlinkSocket, failed error: RingError) {
    routes?.assumeIsolated { $0.logger.error("netlink", metadata: ["error": "\(error)"]) }
  }
}
