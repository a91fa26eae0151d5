public import Logging
public import Netlink
public import Ring
public import Wire

/// Keeps routes in the kernel as they are wanted: drives ``Netlink/RouteSynchronizer`` over a netlink socket.
///
/// What the kernel has is read at the start, when links or addresses change (the kernel drops routes with their link,
/// and says nothing of IPv4's), when answers were lost, and every ``Configuration/resyncInterval``. What another program
/// does to a route of ours is put right within a moment, and ever later where it does so again and again.
public actor KernelRoutes {
  public struct Configuration: Sendable {
    public var routes = RouteSynchronizer.Configuration()
    /// Looks for what nobody has told of; infinite for never.
    public var resyncInterval = Interval.seconds(60)
    public var contention = RouteContention.Configuration()

    public init() {}
  }

  public struct Status: Sendable {
    public var counts: RouteSynchronizer.Counts
    public var nextHopObjects: Int
    /// Changes that the kernel refused, retried ones each time.
    public var refusals: Int
    public var resyncs: Int
    /// Times that others have changed a route of ours.
    public var disturbances: UInt64
    /// The kernel's last words of refusal.
    public var lastRefusal: KernelError?
  }

  public nonisolated let ring: RingExecutor
  public nonisolated var unownedExecutor: UnownedSerialExecutor { ring.asUnownedSerialExecutor() }

  private let configuration: Configuration
  private let watch: NetworkWatch?
  let logger: Logger
  private var routes: RouteSynchronizer
  private var transactions = Transactions()
  private var socket: NetlinkSocket?
  private var timer: RingTimer?
  private var notices: RouteNotices?
  private var contention: RouteContention
  private var mending: RingTimer?
  /// Added again after another took them away: where one is there after all, what was told came late.
  private var doubtful: Set<Route.Key> = []
  private var isReading = false
  /// Asked for; begun when nothing is under way that it would see half done.
  private var mustRead = false
  private var rules: Set<Rule> = []
  private var foundRules: Set<Rule> = []
  private var hasSwept = false
  private var retries = false
  private var resyncs = 0
  private var lastRefusal: KernelError?
  private var settlers: [CheckedContinuation<Void, Never>] = []

  /// Links that come and go in a row are answered by one reading.
  private static let settleTime = Interval.milliseconds(50)
  private static let changesAhead = 512

  /// - Parameter watch: says where gateways are, and when links change; on the same ring.
  public init(
    ring: RingExecutor, _ configuration: Configuration = .init(), watch: NetworkWatch? = nil, logger: Logger
  ) {
    self.ring = ring
    self.configuration = configuration
    self.watch = watch
    self.logger = logger
    routes = RouteSynchronizer(configuration.routes)
    contention = RouteContention(configuration.contention)
  }

  // MARK: Life

  /// Opens the socket and reads what the kernel has; returns when that is done. Routes of an earlier run stay until
  /// ``sweep()``.
  public func start() async throws {
    let socket = try NetlinkSocket(on: ring, delegate: self)
    self.socket = socket
    notices = try RouteNotices(of: self, origin: configuration.routes.origin, notCausedBy: socket.port)
    mending = RingTimer(on: ring) { [weak self] in self?.assumeIsolated { $0.mend() } }
    timer = RingTimer(on: ring) { [weak self] in self?.assumeIsolated { $0.readSoon() } }
    await watch?.observe { [weak self] change in self?.assumeIsolated { $0.networkChanged(change) } }
    readSoon()
    await settle()
  }

  /// Leaves the routes as they are: the next run takes them over.
  public func stop() {
    timer?.cancel()
    timer = nil
    mending?.cancel()
    mending = nil
    notices?.close()
    notices = nil
    socket?.close()
    socket = nil
    release()
  }

  /// Returns when the kernel has, or has refused, all that is wanted now.
  public func settle() async {
    guard !isSettled else { return }
    await withCheckedContinuation { settlers.append($0) }
  }

  private var isSettled: Bool {
    guard let socket, socket.isOpen else { return true }
    return !isReading && !mustRead && transactions.isIdle && routes.isSettled && socket.isWritable
  }

  private func release() {
    guard !settlers.isEmpty, isSettled else { return }
    for settler in settlers { settler.resume() }
    settlers = []
  }

  // MARK: What is wanted

  /// Wants a route by these gateways, equal in cost. An interface of 0 is found by the watch, or by the kernel.
  public func set(_ key: Route.Key, by hops: [NextHop], preferredSource: IPAddress? = nil) {
    routes.set(key, path: .hops(hops.map(located)), preferredSource: preferredSource)
    changed()
  }

  /// Wants packets to a destination dropped, or answered with an error.
  public func set(_ key: Route.Key, kind: Route.Kind) {
    routes.set(key, kind: kind, path: .none)
    changed()
  }

  public func remove(_ key: Route.Key) {
    routes.remove(key)
    changed()
  }

  /// Wants a rule of policy routing, or no longer.
  public func set(_ rule: Rule, isWanted: Bool = true) {
    var rule = rule
    rule.origin = configuration.routes.origin
    if isWanted { rules.insert(rule) } else { rules.remove(rule) }
    transactions.enqueue(isWanted ? .addRule(rule) : .removeRule(rule))
    changed()
  }

  /// Removes what an earlier run has left and this one does not want.
  public func sweep() {
    routes.sweep()
    hasSwept = true
    for rule in foundRules.subtracting(rules) { transactions.enqueue(.removeRule(rule)) }
    changed()
  }

  /// Takes a gateway out of all groups by one change each, or back: BFD has found it dead.
  public func setUsable(_ isUsable: Bool, gateway: IPAddress) {
    routes.setUsable(isUsable, gateway: gateway)
    // Not at the batch's end: it is what others wait for.
    pump()
  }

  /// Reads what the kernel has, and mends what others have done to it; ``settle()`` says when.
  public func resync() { readSoon() }

  public func status() -> Status {
    Status(
      counts: routes.counts, nextHopObjects: routes.nextHops.count, refusals: transactions.refusals, resyncs: resyncs,
      disturbances: contention.count, lastRefusal: lastRefusal)
  }

  /// The interface whose subnet an address is in, as far as there is a watch.
  func interface(toward address: IPAddress) -> UInt32? {
    watch?.assumeIsolated { $0.networks.interface(toward: address) }
  }

  private func located(_ hop: NextHop) -> NextHop {
    guard hop.interface == 0, let gateway = hop.gateway, let interface = interface(toward: gateway) else { return hop }
    var hop = hop
    hop.interface = interface
    return hop
  }

  private var isAsked = false

  /// One batch for all that is said in a turn.
  private func changed() {
    guard !isAsked else { return }
    isAsked = true
    ring.atBatchEnd(self)
  }

  // MARK: Sending

  private func pump() {
    guard let socket, socket.isWritable else { return }
    if mustRead, !isReading, transactions.isIdle { read() }
    while !mustRead, transactions.queuedCount < Self.changesAhead, let change = routes.nextChange() {
      transactions.enqueue(change)
    }
    socket.send { buffer in
      while true {
        let count = transactions.nextDatagram(into: buffer)
        guard count == 0, let change = transactions.dropOversized() else { return count }
        routes.completed(change, KernelError(number: KernelError.invalid, text: "too many next hops"))
      }
    }
    release()
  }

  // MARK: What others do

  func disturbed(_ changes: [(route: Route, notice: Notice)]) {
    var wrong: [Route.Key] = []
    for (route, notice) in changes {
      // A list that is being read may be older or newer than this.
      if isReading, route.origin == configuration.routes.origin {
        mustRead = true
        continue
      }
      guard routes.observe(route, notice) else { continue }
      if isReading { mustRead = true }
      contention.disturbed(route.key, now: ring.now)
      wrong.append(route.key)
    }
    guard let first = wrong.first else { return }
    logger.warning(
      "another program changed our routes", metadata: ["routes": "\(wrong.count)", "first": "\(first.destination)"])
    mending?.schedule(at: contention.deadline)
  }

  /// Notices of what others did were lost for want of room.
  func noticesOverran() { timer?.schedule(at: ring.now + Self.settleTime) }

  private func mend() {
    if let due = contention.due(now: ring.now) {
      for key in due { routes.mend(key) }
      doubtful.formUnion(due)
    } else {
      mustRead = true
    }
    mending?.schedule(at: contention.deadline)
    pump()
  }

  /// How a route that others had removed was taken: where it, or another's, is there, the list is read once.
  private func settled(_ change: Change, _ error: KernelError?) {
    guard !doubtful.isEmpty, case .addRoute(let route) = change, doubtful.remove(route.key) != nil,
      error?.number == KernelError.exists
    else { return }
    timer?.schedule(at: ring.now + Self.settleTime)
  }

  // MARK: Reading

  private func networkChanged(_ change: ConnectedNetworks.Change) {
    retries = true
    timer?.schedule(at: ring.now + Self.settleTime)
  }

  private func readSoon() {
    mustRead = true
    pump()
  }

  private func read() {
    mustRead = false
    isReading = true
    resyncs += 1
    routes.beginResync()
    foundRules = []
    doubtful = []
    transactions.enqueue(.rules(isIPv4: true))
    transactions.enqueue(.rules(isIPv4: false))
    transactions.enqueue(.nextHops)
    transactions.enqueue(.routes(isIPv4: true, origin: configuration.routes.origin))
    transactions.enqueue(.routes(isIPv4: false, origin: configuration.routes.origin))
    if configuration.resyncInterval != .infinite { timer?.schedule(at: ring.now + configuration.resyncInterval) }
  }

  private func received(_ bytes: UnsafeRawBufferPointer) {
    transactions.receive(bytes) { event in
      switch event {
      case .completed(let change, let error):
        if let error { note(error, of: change) }
        routes.completed(change, error)
        settled(change, error)
      case .found(.rule(let rule), _): if rule.origin == configuration.routes.origin { foundRules.insert(rule) }
      case .found(let item, _): routes.found(item)
      case .dumpEnded(let dump, let end): readingEnded(dump, end)
      case .overrun: mustRead = true
      case .notified: break
      }
    }
    pump()
  }

  private func readingEnded(_ dump: Dump, _ end: Transactions.DumpEnd) {
    switch (dump, end) {
    case (_, .inconsistent): mustRead = true
    case (.nextHops, .refused): routes.abandonNextHopObjects()
    // A kernel without a family has no routes of it.
    default: break
    }
    guard case .routes(isIPv4: false, _) = dump else { return }
    isReading = false
    guard !mustRead else { return }
    routes.endResync()
    for rule in rules.subtracting(foundRules) { transactions.enqueue(.addRule(rule)) }
    if hasSwept { for rule in foundRules.subtracting(rules) { transactions.enqueue(.removeRule(rule)) } }
    if retries {
      retries = false
      routes.retryRefused()
    }
  }

  private func note(_ error: KernelError, of change: Change) {
    lastRefusal = error
    switch change {
    case .addRoute(let route), .replaceRoute(let route):
      logger.warning("route refused", metadata: ["prefix": "\(route.key.destination)", "error": "\(error)"])
    case .removeRoute, .removeNextHop: break
    case .addNextHop, .replaceNextHop, .addRule, .removeRule:
      logger.info("next hop refused", metadata: ["error": "\(error)"])
    }
  }

  private func overran() {
    transactions.overrun { _ in }
    readSoon()
  }

  private func sendFailed(_ error: RingError) {
    logger.error("netlink", metadata: ["error": "\(error)"])
    // Nothing of the datagram has been done.
    overran()
  }
}

extension KernelRoutes: BatchEndObserver {
  public nonisolated func batchEnded() {
    assumeIsolated {
      $0.isAsked = false
      $0.pump()
    }
  }
}

extension KernelRoutes: NetlinkSocketDelegate {
  public nonisolated func netlinkSocket(_ socket: NetlinkSocket, received bytes: UnsafeRawBufferPointer) {
    let bytes = RingBound(bytes)
    assumeIsolated { $0.received(bytes.value) }
  }

  public nonisolated func netlinkSocketSent(_ socket: NetlinkSocket) { assumeIsolated { $0.pump() } }

  public nonisolated func netlinkSocketOverran(_ socket: NetlinkSocket) { assumeIsolated { $0.overran() } }

  public nonisolated func netlinkSocket(_ socket: NetlinkSocket, failed error: RingError) {
    assumeIsolated { $0.sendFailed(error) }
  }
}
