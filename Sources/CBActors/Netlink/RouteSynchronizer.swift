public import Wire

/// The routes that we want in the kernel against those that it has under our origin: the smallest set of changes that
/// makes one of the other. What is of another origin or in another table is neither read nor changed, unless it was put in
/// the place of a route of ours.
///
/// ``nextChange()`` gives one change at a time and takes it for done until ``completed(_:_:)`` says otherwise.
public struct RouteSynchronizer {
  public struct Configuration: Sendable {
    public var origin = RouteOrigin.cloudBridge
    /// The tables that are ours to write.
    public var tables: Set<UInt32> = [RoutingTable.main]
    /// Several next hops become a group that is an object of its own; without, each route lists them (RTA_MULTIPATH).
    public var usesNextHopObjects = true
    /// Routes of an earlier run stay until ``sweep()``: forwarding goes on while the speaker finds its peers again.
    public var keepsStaleRoutes = true

    public init() {}
  }

  /// What routes have in common; each kept once.
  private struct Body: Hashable {
    var kind: Route.Kind
    var path: Route.Path
    var preferredSource: IPAddress?
    /// As the kernel has it, where nothing that is wanted is quite like it.
    var isKernels = false

    /// What is in the kernel after a change that it refused, or did in part.
    static let unknown = Body(kind: .unicast, path: .none, isKernels: true)
  }

  private struct Interned {
    var body: Body
    var references: Int
    /// Of ours, and held by this.
    var object: UInt32?
  }

  private struct Entry {
    /// Places in `bodies`, or -1.
    var wanted: Int32 = -1
    var installed: Int32 = -1
    var isQueued = false
    var isRefused = false
    /// Of an earlier run, and not wanted in this.
    var isStale = false
    /// Another's route stands where ours has stood.
    var isReplaced = false
    var wasSeen = false
  }

  public private(set) var configuration: Configuration
  public private(set) var nextHops: NextHopObjects
  private var entries = RouteEntries<Entry>()
  private var bodies: [Interned] = []
  private var freeBodies: [Int32] = []
  private var bodyPlaces: [Body: Int32] = [:]
  private var queue: ContiguousArray<Route.Key> = []
  private var queueHead = 0
  private var inFlight = 0
  private var hasSwept = false
  private var isResyncing = false
  public private(set) var counts = Counts()

  public struct Counts: Hashable, Sendable {
    /// Wanted by the owner.
    public var wanted = 0
    /// Of an earlier run, kept until the sweep.
    public var stale = 0
    /// Wanted, and refused by the kernel.
    public var refused = 0
    /// Times that another's route was in the way and left alone.
    public var conflicts = 0

    public init() {}
  }

  public init(_ configuration: Configuration = .init()) {
    self.configuration = configuration
    nextHops = NextHopObjects(origin: configuration.origin)
  }

  /// No change is due or under way.
  public var isSettled: Bool { inFlight == 0 && queueHead == queue.count }

  // MARK: What the owner wants

  /// A path of ``Route/Path/none`` goes with the kinds that lead nowhere. A route in a table not ours is not taken.
  @discardableResult
  public mutating func set(
    _ key: Route.Key, kind: Route.Kind = .unicast, path: Route.Path, preferredSource: IPAddress? = nil
  ) -> Bool {
    guard configuration.tables.contains(key.table) else { return false }
    let place = intern(Body(kind: kind, path: path, preferredSource: preferredSource))
    var entry = entries[key] ?? Entry()
    if entry.wanted < 0 { counts.wanted += 1 }
    if entry.isStale { counts.stale -= 1 }
    entry.isStale = false
    clearRefusal(&entry)
    letGo(entry.wanted)
    entry.wanted = place
    if entry.installed != place { queue(key, &entry) }
    entries[key] = entry
    return true
  }

  public mutating func remove(_ key: Route.Key) {
    guard var entry = entries[key], entry.wanted >= 0 else { return }
    counts.wanted -= 1
    clearRefusal(&entry)
    letGo(entry.wanted)
    entry.wanted = -1
    if entry.installed >= 0 || entry.isQueued { queue(key, &entry) }
    entries[key] = entry.installed < 0 && !entry.isQueued ? nil : entry
  }

  /// Removes what is left of an earlier run: the owner now wants all that it will.
  public mutating func sweep() {
    hasSwept = true
    updateAll { synchronizer, key, entry in
      guard entry.isStale else { return true }
      entry.isStale = false
      synchronizer.queue(key, &entry)
      return true
    }
    counts.stale = 0
  }

  /// Tries again what the kernel refused: an interface or address has come.
  public mutating func retryRefused() {
    updateAll { synchronizer, key, entry in
      guard entry.isRefused else { return true }
      synchronizer.clearRefusal(&entry)
      synchronizer.queue(key, &entry)
      return true
    }
  }

  /// This kernel has none (they came with Linux 5.3): routes list their next hops themselves.
  public mutating func abandonNextHopObjects() { configuration.usesNextHopObjects = false }

  /// Says that a gateway no longer, or again, passes packets on; its groups change at once.
  public mutating func setUsable(_ isUsable: Bool, gateway: IPAddress) {
    nextHops.setUsable(isUsable, gateway: gateway)
  }

  private mutating func clearRefusal(_ entry: inout Entry) {
    if entry.isRefused { counts.refused -= 1 }
    entry.isRefused = false
  }

  private mutating func queue(_ key: Route.Key, _ entry: inout Entry) {
    guard !entry.isQueued else { return }
    entry.isQueued = true
    queue.append(key)
  }

  // MARK: Changes

  public mutating func nextChange() -> Change? {
    guard !isResyncing else { return nil }
    if let put = nextHops.nextPut() {
      inFlight += 1
      return put
    }
    while queueHead < queue.count {
      let key = queue[queueHead]
      queueHead += 1
      if queueHead == queue.count || queueHead > 65_536 {
        queue.removeFirst(queueHead)
        queueHead = 0
      }
      guard var entry = entries[key] else { continue }
      entry.isQueued = false
      let change: Change?
      switch (entry.wanted, entry.installed) {
      case (let wanted, let installed) where wanted == installed: change = nil
      case (let wanted, 0...) where wanted >= 0 && entry.isRefused:
        // What is wanted cannot be had, and what was before is wrong by now.
        letGo(entry.installed)
        entry.installed = -1
        inFlight += 1
        entries[key] = entry
        return .removeRoute(route(key, wanted))
      case (let wanted, ..<0) where entry.isReplaced: change = .replaceRoute(route(key, wanted))
      case (let wanted, ..<0): change = .addRoute(route(key, wanted))
      case (..<0, let installed): change = .removeRoute(route(key, installed))
      case (let wanted, _): change = .replaceRoute(route(key, wanted))
      }
      if change != nil {
        inFlight += 1
        retain(entry.wanted)
        letGo(entry.installed)
        entry.installed = entry.wanted
        entry.isReplaced = false
      }
      entries[key] = entry.wanted < 0 && entry.installed < 0 ? nil : entry
      if let change { return change }
    }
    // Nothing points at what goes now, not even in the kernel.
    guard inFlight == 0, let removal = nextHops.nextRemoval() else { return nil }
    inFlight += 1
    return removal
  }

  private func route(_ key: Route.Key, _ place: Int32) -> Route {
    let interned = bodies[Int(place)]
    return Route(
      key, kind: interned.body.kind, path: interned.object.map { .object($0) } ?? interned.body.path,
      origin: configuration.origin, preferredSource: interned.body.preferredSource)
  }

  /// How the kernel took a change.
  public mutating func completed(_ change: Change, _ error: KernelError?) {
    inFlight = max(0, inFlight - 1)
    switch change {
    case .addNextHop(let object): nextHops.added(object.id, error)
    case .replaceNextHop(let object): nextHops.replaced(object.id, error)
    case .addRoute(let route), .replaceRoute(let route):
      guard let error, var entry = entries[route.key], entry.wanted >= 0 else { return }
      letGo(entry.installed)
      entry.installed = -1
      if case .replaceRoute = change {
        // Someone removed ours, then it is added; or ours of before is still there.
        if error.number != KernelError.noSuchEntry {
          entry.installed = intern(.unknown)
          if !entry.isRefused { counts.refused += 1 }
          entry.isRefused = true
        }
        queue(route.key, &entry)
      } else {
        if error.number == KernelError.exists { counts.conflicts += 1 }
        entry.isReplaced = false
        if !entry.isRefused { counts.refused += 1 }
        entry.isRefused = true
      }
      entries[route.key] = entry
    case .removeRoute, .removeNextHop, .addRule, .removeRule: break
    }
  }

  // MARK: Resynchronization

  /// Before the kernel's lists are read: next hops first, then the routes of both families.
  public mutating func beginResync() {
    inFlight = 0
    isResyncing = true
    nextHops.beginResync()
    entries.update { _, entry in
      entry.wasSeen = false
      return true
    }
  }

  public mutating func found(_ item: Item) {
    switch item {
    case .nextHop(let object): nextHops.found(object)
    case .route(let route): found(route)
    case .rule, .link, .address: break
    }
  }

  private mutating func found(_ route: Route) {
    guard isOurs(route) else { return }
    var entry = entries[route.key] ?? Entry()
    entry.wasSeen = true
    if note(route, &entry) { queue(route.key, &entry) }
    entries[route.key] = entry
  }

  private func isOurs(_ route: Route) -> Bool {
    route.origin == configuration.origin && configuration.tables.contains(route.key.table)
  }

  /// The kernel has this. True where it is not as it is to be.
  private mutating func note(_ route: Route, _ entry: inout Entry) -> Bool {
    let place: Int32
    if entry.wanted >= 0, self.route(route.key, entry.wanted).isFulfilled(by: route) {
      place = entry.wanted
      retain(place)
    } else {
      place = intern(
        Body(kind: route.kind, path: route.path, preferredSource: route.preferredSource, isKernels: true))
    }
    letGo(entry.installed)
    entry.installed = place
    if entry.wanted >= 0 {
      clearRefusal(&entry)
      return entry.wanted != place
    }
    if !entry.isStale, configuration.keepsStaleRoutes, !hasSwept {
      entry.isStale = true
      counts.stale += 1
    }
    return !entry.isStale
  }

  /// The lists are read to their end.
  public mutating func endResync() {
    isResyncing = false
    nextHops.endResync()
    updateAll { synchronizer, key, entry in
      if entry.wasSeen { entry.isReplaced = false }
      guard !entry.wasSeen else { return true }
      synchronizer.letGo(entry.installed)
      entry.installed = -1
      if entry.isStale { synchronizer.counts.stale -= 1 }
      entry.isStale = false
      if entry.wanted >= 0 {
        synchronizer.clearRefusal(&entry)
        synchronizer.queue(key, &entry)
      }
      return entry.wanted >= 0 || entry.isQueued
    }
  }

  // MARK: What others do

  /// Another program has put, changed or removed a route of our origin, or put one of its own in the place of ours. True
  /// where ``mend(_:)`` is to answer that. While the kernel's lists are read, for routes of another origin alone.
  public mutating func observe(_ route: Route, _ notice: Notice) -> Bool {
    let (isOurs, known) = (isOurs(route), entries[route.key])
    var entry = known ?? Entry()
    // What was there before ours is its owner's to replace.
    let isHarm = isOurs ? notice != .removal || known != nil : notice == .replacement && entry.installed >= 0
    guard isHarm else { return false }
    entry.isReplaced = !isOurs
    let isWrong: Bool
    if notice == .removal || !isOurs {
      isWrong = entry.wanted >= 0
      letGo(entry.installed)
      entry.installed = -1
      if entry.isStale { counts.stale -= 1 }
      entry.isStale = false
    } else {
      isWrong = note(route, &entry)
    }
    entries[route.key] = entry.wanted < 0 && entry.installed < 0 && !entry.isQueued ? nil : entry
    return isWrong
  }

  /// Makes a route as it is wanted, where the kernel has it otherwise.
  public mutating func mend(_ key: Route.Key) {
    guard var entry = entries[key], entry.wanted != entry.installed, !entry.isStale else { return }
    clearRefusal(&entry)
    queue(key, &entry)
    entries[key] = entry
  }

  /// Visits every entry, beside all else of this; one that `body` returns false of is removed.
  private mutating func updateAll(_ body: (inout Self, Route.Key, inout Entry) -> Bool) {
    var all = RouteEntries<Entry>()
    swap(&all, &entries)
    all.update { key, entry in body(&self, key, &entry) }
    swap(&all, &entries)
  }

  // MARK: Bodies

  /// The place of a body, with one reference more.
  private mutating func intern(_ body: Body) -> Int32 {
    if let place = bodyPlaces[body] {
      retain(place)
      return place
    }
    var object: UInt32?
    switch body.path {
    case .object(let id) where body.isKernels: object = nextHops.retain(id) ? id : nil
    case .hops(let hops) where configuration.usesNextHopObjects && !body.isKernels: object = nextHops.acquire(hops)
    default: break
    }
    let interned = Interned(body: body, references: 1, object: object)
    let place: Int32
    if let free = freeBodies.popLast() {
      place = free
      bodies[Int(free)] = interned
    } else {
      place = Int32(bodies.count)
      bodies.append(interned)
    }
    bodyPlaces[body] = place
    return place
  }

  private mutating func retain(_ place: Int32) {
    if place >= 0 { bodies[Int(place)].references += 1 }
  }

  private mutating func letGo(_ place: Int32) {
    guard place >= 0 else { return }
    bodies[Int(place)].references -= 1
    guard bodies[Int(place)].references == 0 else { return }
    if let object = bodies[Int(place)].object { nextHops.release(object) }
    bodyPlaces[bodies[Int(place)].body] = nil
    freeBodies.append(place)
  }
}
