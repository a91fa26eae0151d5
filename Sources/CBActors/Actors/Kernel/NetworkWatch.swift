public import Logging
public import Netlink
public import Ring
import Wire

/// Watches the machine's links and addresses, and tells its observers of each change within the turn of the ring in
/// which the kernel tells of it.
public actor NetworkWatch {
  public nonisolated let ring: RingExecutor
  public nonisolated var unownedExecutor: UnownedSerialExecutor { ring.asUnownedSerialExecutor() }

  public private(set) var networks = ConnectedNetworks()
  private let logger: Logger
  private var socket: NetlinkSocket?
  private var transactions = Transactions()
  private var observers: [@Sendable (ConnectedNetworks.Change) -> Void] = []
  private var starters: [CheckedContinuation<Void, Never>] = []
  private var isRead = false

  public init(ring: RingExecutor, logger: Logger) {
    self.ring = ring
    self.logger = logger
  }

  /// Called on the ring's thread for each change from now on.
  public func observe(_ observer: @escaping @Sendable (ConnectedNetworks.Change) -> Void) { observers.append(observer) }

  /// Opens the socket and returns when all links and addresses are known.
  public func start() async throws {
    let groups: [NotificationGroup] = [.link, .ipv4Address, .ipv6Address]
    socket = try NetlinkSocket(on: ring, groups: groups.map(\.rawValue), delegate: self)
    read()
    if !isRead { await withCheckedContinuation { starters.append($0) } }
  }

  public func stop() {
    socket?.close()
    socket = nil
    observers = []
    ended()
  }

  private func ended() {
    isRead = true
    for starter in starters { starter.resume() }
    starters = []
  }

  private func read() {
    networks.beginResync()
    transactions.enqueue(.links)
    transactions.enqueue(.addresses)
    pump()
  }

  private func pump() { socket?.send { transactions.nextDatagram(into: $0) } }

  private func received(_ bytes: UnsafeRawBufferPointer) {
    var changes: [ConnectedNetworks.Change] = []
    var mustRead = false
    transactions.receive(bytes) { event in
      switch event {
      case .found(let item, _): if let change = networks.apply(item, isRemoval: false) { changes.append(change) }
      case .notified(let item, let notice):
        if let change = networks.apply(item, isRemoval: notice == .removal) { changes.append(change) }
      case .dumpEnded(_, .inconsistent), .overrun: mustRead = true
      case .dumpEnded(.addresses, _):
        changes += networks.endResync()
        ended()
      case .dumpEnded, .completed: break
      }
    }
    tell(changes)
    if mustRead { read() } else { pump() }
  }

  private func tell(_ changes: [ConnectedNetworks.Change]) {
    for change in changes {
      switch change {
      case .link(let link, let isUsable):
        logger.info("link", metadata: ["name": "\(link.name)", "state": isUsable ? "up" : "down"])
      case .addressAdded(let own): logger.debug("address added", metadata: ["address": "\(own.address)"])
      case .addressRemoved(let own): logger.debug("address removed", metadata: ["address": "\(own.address)"])
      }
      for observer in observers { observer(change) }
    }
  }

  private func overran() {
    transactions.overrun { _ in }
    read()
  }
}

extension NetworkWatch: NetlinkSocketDelegate {
  public nonisolated func netlinkSocket(_ socket: NetlinkSocket, received bytes: UnsafeRawBufferPointer) {
    let bytes = RingBound(bytes)
    assumeIsolated { $0.received(bytes.value) }
  }

  public nonisolated func netlinkSocketSent(_ socket: NetlinkSocket) { assumeIsolated { $0.pump() } }

  public nonisolated func netlinkSocketOverran(_ socket: NetlinkSocket) { assumeIsolated { $0.overran() } }

  public nonisolated func netlinkSocket(_ socket: NetlinkSocket, failed error: RingError) {
    assumeIsolated {
      $0.logger.error("netlink", metadata: ["error": "\(error)"])
      $0.ended()
    }
  }
}
