public import Wire

/// The next hops and groups that we keep in the kernel: one object for each, however many routes point at it.
///
/// When a next hop fails, its groups are written anew without it, and so all their routes turn at once.
public struct NextHopObjects {
  private struct Object {
    var content: NextHopObject.Content
    /// Routes and groups of ours that point at it.
    var references = 0
    var isInstalled = false
    var isQueued = false
    /// The kernel refused it, such as while its interface is down.
    var isRefused = false
    /// A hop that something else than the kernel, such as BFD, has found dead.
    var isDown = false
    /// A group that is counted among its members' references.
    var holdsMembers = false
  }

  public let origin: RouteOrigin
  private var objects: [UInt32: Object] = [:]
  private var identifiers: [NextHopObject.Content: UInt32] = [:]
  private var taken: Set<UInt32> = []
  private var puts: [UInt32] = []
  private var removals: [UInt32] = []
  private var nextID: UInt32 = 0x0cb0_0001

  public init(origin: RouteOrigin = .cloudBridge) { self.origin = origin }

  /// How many there are of ours.
  public var count: Int { objects.count }

  // MARK: What routes ask

  /// The group of these hops, to be given back by ``release(_:)``. Nil where one has no interface or no gateway: such
  /// hops are written into the route itself.
  public mutating func acquire(_ hops: [NextHop]) -> UInt32? {
    guard hops.count > 1, hops.allSatisfy({ $0.interface != 0 && $0.gateway != nil }) else { return nil }
    let members = hops.map { hop -> NextHopObject.Member in
      var plain = hop
      plain.weight = 1
      return .init(id: reference(.hop(plain)), weight: hop.weight)
    }
    .sorted { $0.id < $1.id }
    let id = reference(.group(members))
    if objects[id]?.holdsMembers == true {
      for member in members { objects[member.id]?.references -= 1 }
    } else {
      objects[id]?.holdsMembers = true
    }
    return id
  }

  /// Holds an object that a route in the kernel points at. False where it is not ours.
  mutating func retain(_ id: UInt32) -> Bool {
    guard objects[id] != nil else { return false }
    objects[id]?.references += 1
    return true
  }

  private mutating func reference(_ content: NextHopObject.Content) -> UInt32 {
    if let id = identifiers[content] {
      objects[id]?.references += 1
      return id
    }
    while objects[nextID] != nil || taken.contains(nextID) { nextID &+= 1 }
    let id = nextID
    nextID &+= 1
    objects[id] = Object(content: content, references: 1)
    identifiers[content] = id
    queue(id)
    return id
  }

  public mutating func release(_ id: UInt32) {
    guard var object = objects[id] else { return }
    object.references -= 1
    objects[id] = object
    if object.references <= 0 { removals.append(id) }
  }

  /// Says that a gateway no longer, or again, passes packets on. Groups of nothing but dead hops stay as they are: to
  /// try is better than to drop.
  public mutating func setUsable(_ isUsable: Bool, gateway: IPAddress) {
    for (id, object) in objects {
      guard case .hop(let hop) = object.content, hop.gateway == gateway, object.isDown == isUsable else { continue }
      objects[id]?.isDown = !isUsable
      requeueGroups(of: id)
    }
  }

  private mutating func requeueGroups(of member: UInt32) {
    for (id, object) in objects {
      if case .group(let members) = object.content, members.contains(where: { $0.id == member }) { queue(id) }
    }
  }

  private mutating func queue(_ id: UInt32) {
    guard objects[id]?.isQueued == false else { return }
    objects[id]?.isQueued = true
    puts.append(id)
  }

  // MARK: Changes

  /// What must be in the kernel before routes point at it.
  public mutating func nextPut() -> Change? {
    while !puts.isEmpty {
      let id = puts.removeFirst()
      objects[id]?.isQueued = false
      guard let object = objects[id], object.references > 0 else { continue }
      guard case .group(let members) = object.content else {
        if object.isInstalled { continue }
        return put(id, object.content)
      }
      let present = members.filter { objects[$0.id]?.isRefused == false }
      let usable = present.filter { objects[$0.id]?.isDown == false }
      let effective = usable.isEmpty ? present : usable
      guard !effective.isEmpty else { continue }
      return put(id, .group(effective))
    }
    return nil
  }

  private mutating func put(_ id: UInt32, _ content: NextHopObject.Content) -> Change {
    let object = NextHopObject(id: id, content, origin: origin)
    guard objects[id]?.isInstalled == false else { return .replaceNextHop(object) }
    objects[id]?.isInstalled = true
    return .addNextHop(object)
  }

  /// What nothing points at any more; to be asked for when all routes are as they should be.
  public mutating func nextRemoval() -> Change? {
    while let id = removals.popLast() {
      guard let object = objects[id], object.references <= 0 else { continue }
      objects[id] = nil
      identifiers[object.content] = nil
      if object.holdsMembers, case .group(let members) = object.content {
        for member in members { release(member.id) }
      }
      if object.isInstalled { return .removeNextHop(NextHopObject(id: id, object.content, origin: origin)) }
    }
    return nil
  }

  mutating func added(_ id: UInt32, _ error: KernelError?) {
    guard let object = objects[id] else { return }
    objects[id]?.isInstalled = error == nil
    guard object.isRefused != (error != nil) else { return }
    objects[id]?.isRefused = error != nil
    if case .hop = object.content { requeueGroups(of: id) }
  }

  /// A group that cannot be changed has lost a member that we still take for present, or is gone: it is made again.
  mutating func replaced(_ id: UInt32, _ error: KernelError?) {
    if error?.number == KernelError.noSuchEntry {
      objects[id]?.isInstalled = false
      queue(id)
    }
  }

  // MARK: Resynchronization

  /// Before the kernel's list is read.
  public mutating func beginResync() {
    for id in objects.keys { objects[id]?.isInstalled = false }
    taken = []
  }

  /// One that the kernel has. An earlier run's are taken over.
  public mutating func found(_ object: NextHopObject) {
    guard object.origin == origin else {
      taken.insert(object.id)
      return
    }
    if let known = objects[object.id] {
      objects[object.id]?.isInstalled = true
      // A group may have lost members with their interface, or by our own doing: it is written again.
      if known.content != object.content { queue(object.id) }
    } else if identifiers[object.content] == nil {
      objects[object.id] = Object(content: object.content, isInstalled: true)
      identifiers[object.content] = object.id
      removals.insert(object.id, at: 0)
    } else {
      // The same twice: the other one is in use.
      objects[object.id] = Object(content: object.content, isInstalled: true)
      removals.insert(object.id, at: 0)
    }
  }

  /// What is missing is put again, hops before groups.
  public mutating func endResync() {
    for (id, object) in objects where object.references > 0 && !object.holdsMembers {
      guard case .group(let members) = object.content else { continue }
      objects[id]?.holdsMembers = true
      for member in members { objects[member.id]?.references += 1 }
    }
    for (id, object) in objects where !object.isInstalled && object.references > 0 {
      objects[id]?.isRefused = false
      if case .hop = object.content {
        objects[id]?.isQueued = true
        puts.removeAll { $0 == id }
        puts.insert(id, at: 0)
      } else {
        queue(id)
      }
    }
  }
}
