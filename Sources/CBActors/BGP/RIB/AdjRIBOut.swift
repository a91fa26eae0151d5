import Wire

/// What one peer has been told of one family (RFC 4271 §3.2), and what it is still to be told.
struct AdjRIBOut {
  /// By destination: the attributes that the peer has; 0 where it has no route.
  private(set) var advertised: ContiguousArray<UInt32> = []
  private(set) var routeCount = 0
  /// Destinations whose best route has changed.
  private var queue = DestinationQueue()

  /// The next destination of a walk over the whole table; nil when none is under way.
  private(set) var walk: Int? = 0
  /// The walk advertises what the peer has already.
  private(set) var repeats = false
  /// To be written when all else has been: the End-of-RIB, or the end of a refresh.
  private var owesEndOfRIB = true
  private var owesBeginning = false
  private var owesEnd = false

  /// Destinations to withdraw.
  var withdrawals: ContiguousArray<UInt32> = []
  var withdrawalHead = 0
  /// Destinations to advertise, each under its attributes' ID, in the order of the IDs.
  var advertisements: ContiguousArray<UInt64> = []
  var advertisementHead = 0

  enum Task { case withdraw, advertise, gather, beginRefresh, endRIB, endRefresh, nothing }

  /// What comes next. The marks around the routes count as done.
  var nextTask: Task {
    mutating get {
      if withdrawalHead < withdrawals.count { return .withdraw }
      if advertisementHead < advertisements.count { return .advertise }
      if owesBeginning {
        owesBeginning = false
        return .beginRefresh
      }
      if !queue.isEmpty || walk != nil { return .gather }
      if owesEndOfRIB {
        owesEndOfRIB = false
        return .endRIB
      }
      if owesEnd {
        owesEnd = false
        return .endRefresh
      }
      return .nothing
    }
  }

  mutating func beginGathering() {
    withdrawals.removeAll(keepingCapacity: true)
    advertisements.removeAll(keepingCapacity: true)
    withdrawalHead = 0
    advertisementHead = 0
  }

  /// Starts over the whole table. A second request while one is under way starts it anew.
  mutating func refresh(marked: Bool) {
    walk = 0
    repeats = true
    // RFC 7313 §4.1: not before the End-of-RIB of the first time, which says the same.
    guard marked, !owesEndOfRIB else { return }
    owesBeginning = true
    owesEnd = true
  }

  /// Starts over the whole table, for what has changed since alone.
  mutating func revisit() { walk = 0 }

  var isIdle: Bool {
    withdrawalHead == withdrawals.count && advertisementHead == advertisements.count && queue.isEmpty
      && walk == nil && !owesEndOfRIB && !owesBeginning && !owesEnd
  }

  /// Notes that a destination's best route has changed. True if it was not noted already.
  mutating func mark(_ number: Int) -> Bool {
    // The walk will come there.
    if let walk, number >= walk { return false }
    return queue.insert(number)
  }

  /// The next destination to look at; nil when there is none. Whether it had been marked.
  mutating func next(limit: Int) -> (number: Int, wasMarked: Bool, repeats: Bool)? {
    if let number = queue.next() { return (number, true, false) }
    guard let number = walk else { return nil }
    guard number < limit else {
      walk = nil
      repeats = false
      return nil
    }
    walk = number + 1
    return (number, false, repeats)
  }

  func attributes(_ number: Int) -> AttributeTable.ID {
    number < advertised.count ? AttributeTable.ID(raw: advertised[number]) : .none
  }

  mutating func set(_ number: Int, _ id: AttributeTable.ID) {
    if number >= advertised.count {
      advertised.append(
        contentsOf: repeatElement(0, count: max(number + 1 - advertised.count, min(advertised.count, 1 << 20))))
    }
    if (advertised[number] == 0) != (id == .none) { routeCount += id == .none ? -1 : 1 }
    advertised[number] = id.raw
  }

  /// Every destination that is still marked, for who gives the whole of it up.
  var marked: ArraySlice<UInt32> { queue.waiting }
}

/// What the attributes of a route become on their way to a peer, remembered for those that follow with the same ones.
///
/// Holds nothing of it: what has gone from the table of attributes since is forgotten.
struct ExportCache {
  private struct Entry {
    var source = AttributeTable.ID.none
    var sourceGeneration: UInt32 = 0
    /// None: it does not go to the peer.
    var result = AttributeTable.ID.none
    var resultGeneration: UInt32 = 0
    var peer = PeerID.nobody
  }

  /// By the last bits of the source's ID; a power of two of them, or none.
  private var entries: ContiguousArray<Entry> = []
  /// Since there are so many entries: those that were in use by another when they were wanted.
  private var collisions = 0
  private static let leastCount = 1_024
  private static let greatestCount = 65_536

  /// The result, held once more for the caller.
  func find(
    _ source: AttributeTable.ID, _ peer: PeerID, _ table: inout AttributeTable
  ) -> AttributeTable.ID? {
    guard !entries.isEmpty else { return nil }
    let entry = entries[Int(source.raw) & (entries.count - 1)]
    guard entry.source == source, entry.peer == peer, isCurrent(entry, table) else { return nil }
    table.retain(entry.result)
    return entry.result
  }

  private func isCurrent(_ entry: Entry, _ table: borrowing AttributeTable) -> Bool {
    table.generation(entry.source) == entry.sourceGeneration && table.generation(entry.result) == entry.resultGeneration
  }

  mutating func insert(
    _ source: AttributeTable.ID, _ peer: PeerID, _ result: AttributeTable.ID, _ table: borrowing AttributeTable
  ) {
    if collisions >= entries.count, entries.count < Self.greatestCount { grow() }
    let index = Int(source.raw) & (entries.count - 1)
    if entries[index].source != .none, isCurrent(entries[index], table) { collisions += 1 }
    entries[index] = Entry(
      source: source, sourceGeneration: table.generation(source), result: result,
      resultGeneration: table.generation(result), peer: peer)
  }

  private mutating func grow() {
    var more = ContiguousArray(repeating: Entry(), count: max(Self.leastCount, entries.count * 4))
    for entry in entries where entry.source != .none { more[Int(entry.source.raw) & (more.count - 1)] = entry }
    entries = more
    collisions = 0
  }

  mutating func removeAll() { self = ExportCache() }
}
