import Testing
import Wire

@testable import Netlink

@Suite("Routes that others change") struct RouteContentionTests {
  private static func key(_ number: Int) -> Route.Key { RouteSynchronizerTests.key(number) }

  /// An object, so that what changes it can stand in an expectation.
  private final class Contention {
    var core: RouteContention
    init(_ configuration: RouteContention.Configuration = .init()) { core = RouteContention(configuration) }
    var deadline: Instant { core.deadline }
    var count: UInt64 { core.count }
    func disturbed(_ key: Route.Key, now: Instant) { core.disturbed(key, now: now) }
    func due(now: Instant) -> [Route.Key]? { core.due(now: now) }
  }

  private final class Machine {
    var bench = Bench()
    var kernel: KernelModel {
      get { bench.kernel }
      set { bench.kernel = newValue }
    }
    func settle() { bench.settle() }
    func observe(_ route: Route, _ notice: Notice) -> Bool { bench.routes.observe(route, notice) }
    func mend(_ key: Route.Key) { bench.routes.mend(key) }
    var counts: RouteSynchronizer.Counts { bench.routes.counts }
  }

  private func at(_ milliseconds: Int64) -> Instant { .zero + .milliseconds(milliseconds) }

  /// Disturbs a route as soon as it has been mended, until `end`; when it was.
  private func fight(_ contention: Contention, until end: Instant) -> [Instant] {
    var mended: [Instant] = []
    var now = Instant.zero
    while true {
      contention.disturbed(Self.key(1), now: now)
      now = contention.deadline
      guard now < end else { return mended }
      #expect(contention.due(now: now) == [Self.key(1)])
      mended.append(now)
    }
  }

  @Test func theFirstAnswerComesSoonAndLaterOnesEverLater() {
    let contention = Contention()
    let mended = fight(contention, until: .zero + .seconds(600))
    #expect(mended.first == at(10))
    #expect(
      zip(mended, mended.dropFirst()).prefix(6).map { $1 - $0 }
        == [20, 40, 80, 160, 320, 640].map { .milliseconds($0) })
    #expect(mended.count <= 23, "from the fourteenth on one a minute: \(mended.count)")
  }

  @Test func whoStopsIsForgotten() {
    let contention = Contention()
    for at in [self.at(0), self.at(1_000), self.at(2_000)] {
      contention.disturbed(Self.key(1), now: at)
      _ = contention.due(now: contention.deadline)
    }
    contention.disturbed(Self.key(1), now: at(70_000))
    #expect(contention.deadline == at(70_010))
  }

  @Test func manyRoutesAreMendedTogetherAndEachHasADelayOfItsOwn() {
    let contention = Contention()
    for number in 0..<100 { contention.disturbed(Self.key(number), now: at(0)) }
    #expect(contention.due(now: at(9)) == [])
    #expect(contention.due(now: at(10)).map(Set.init) == Set((0..<100).map(Self.key)))
    contention.disturbed(Self.key(1), now: at(11))
    contention.disturbed(Self.key(1_000), now: at(12))
    #expect(contention.due(now: at(22)) == [Self.key(1_000)])
    #expect(contention.due(now: at(31)) == [Self.key(1)])
    #expect(contention.deadline == .distantFuture && contention.count == 102)
  }

  @Test func moreThanAreRememberedAreLookedForInTheList() {
    var configuration = RouteContention.Configuration()
    configuration.maximumRoutes = 10
    let contention = Contention(configuration)
    for number in 0..<11 { contention.disturbed(Self.key(number), now: at(0)) }
    #expect(contention.due(now: at(10))?.count == 10)
    #expect(contention.deadline == at(60_000))
    #expect(contention.due(now: at(60_000)) == nil)
    #expect(contention.deadline == .distantFuture)
  }

  // MARK: The synchronizer

  private static let theirs = Route(key(1), path: .hops([hop("10.0.0.9")]))

  private func machine() -> Machine {
    let machine = Machine()
    for number in 0..<3 { machine.bench.routes.set(Self.key(number), path: .hops([hop("10.0.0.1")])) }
    machine.settle()
    machine.bench.routes.sweep()
    return machine
  }

  @Test func aRouteThatIsRemovedIsPutAgain() throws {
    let machine = self.machine()
    let gone = try #require(machine.kernel.routes[Self.key(1)])
    machine.kernel.routes[Self.key(1)] = nil
    #expect(machine.observe(gone, .removal))
    machine.settle()
    #expect(machine.kernel.routes[Self.key(1)] == nil, "not before it is time")
    machine.mend(Self.key(1))
    machine.settle()
    #expect(machine.kernel.routes[Self.key(1)] == gone && machine.counts.refused == 0)
  }

  @Test func aRouteThatIsChangedIsChangedBack() {
    let machine = self.machine()
    machine.kernel.routes[Self.key(1)] = Self.theirs
    #expect(machine.observe(Self.theirs, .presence))
    machine.mend(Self.key(1))
    machine.settle()
    #expect(machine.kernel.routes[Self.key(1)]?.path == .hops([hop("10.0.0.1")]))
  }

  @Test func whatIsAsItShouldBeNeedsNoAnswer() throws {
    let machine = self.machine()
    let same = try #require(machine.kernel.routes[Self.key(1)])
    #expect(!machine.observe(same, .presence))
    let unknown = Route(Self.key(77), path: .hops([hop("10.0.0.1")]))
    #expect(!machine.observe(unknown, .removal))
    let others = Route(Self.key(1), path: .hops([hop("10.0.0.9")]), origin: .administrator)
    #expect(!machine.observe(others, .presence))
    let elsewhere = Route(.init(prefix("11.0.0.0/8"), table: 77), path: .hops([hop("10.0.0.9")]))
    #expect(!machine.observe(elsewhere, .presence))
    let requests = machine.kernel.requests
    machine.mend(Self.key(1))
    machine.settle()
    #expect(machine.kernel.requests == requests)
  }

  @Test func aRouteUnderOurNameThatNobodyWantsGoes() {
    let machine = self.machine()
    let extra = Route(Self.key(9), path: .hops([hop("10.0.0.9")]))
    machine.kernel.routes[extra.key] = extra
    #expect(machine.observe(extra, .presence))
    machine.mend(extra.key)
    machine.settle()
    #expect(machine.kernel.routes[extra.key] == nil)
  }

  @Test func aStaleRouteThatAnotherRemovesIsNotMissed() {
    let machine = Machine()
    machine.kernel.routes = [Self.theirs.key: Self.theirs]
    machine.bench.resync()
    machine.settle()
    #expect(machine.counts.stale == 1)
    machine.kernel.routes = [:]
    #expect(!machine.observe(Self.theirs, .removal))
    #expect(machine.counts.stale == 0)
    machine.bench.routes.sweep()
    machine.settle()
    #expect(machine.kernel.routes.isEmpty)
  }

  // MARK: Routes of theirs in the place of ours

  private static let usurper = Route(key(1), path: .hops([hop("10.0.0.9")]), origin: .administrator)

  /// Theirs stands where ours has stood; the kernel has told of theirs alone.
  @Test func aRouteThatAnothersReplacesIsPutBack() throws {
    let machine = self.machine()
    let ours = try #require(machine.kernel.routes[Self.key(1)])
    machine.kernel.routes[Self.key(1)] = Self.usurper
    #expect(machine.observe(Self.usurper, .replacement))
    #expect(!machine.observe(Self.usurper, .replacement), "theirs, changed again, is no second harm")
    machine.settle()
    #expect(machine.kernel.routes[Self.key(1)] == Self.usurper, "not before it is time")
    machine.mend(Self.key(1))
    machine.settle()
    #expect(machine.kernel.routes[Self.key(1)] == ours && machine.counts.refused == 0)
  }

  @Test func itIsPutBackAlsoWhereTheirsIsGoneByThen() throws {
    let machine = self.machine()
    let ours = try #require(machine.kernel.routes[Self.key(1)])
    machine.kernel.routes[Self.key(1)] = nil
    #expect(machine.observe(Self.usurper, .replacement))
    machine.mend(Self.key(1))
    machine.settle()
    #expect(machine.kernel.routes[Self.key(1)] == ours && machine.counts.refused == 0)
  }

  /// Theirs was there first: it is theirs to replace, and ours stays away.
  @Test func whoReplacesARouteOfTheirOwnIsLeftAlone() {
    let machine = Machine()
    machine.kernel.routes[Self.key(1)] = Self.usurper
    machine.bench.routes.set(Self.key(1), path: .hops([hop("10.0.0.1")]))
    machine.settle()
    #expect(machine.counts.conflicts == 1)
    var changed = Self.usurper
    changed.path = .hops([hop("10.0.0.8")])
    machine.kernel.routes[Self.key(1)] = changed
    #expect(!machine.observe(changed, .replacement))
    machine.bench.resync()
    machine.settle()
    #expect(machine.kernel.routes[Self.key(1)] == changed)
  }

  @Test func aRouteThatNobodyWantsAnyMoreIsTheirsWhenTheyReplaceIt() {
    let machine = self.machine()
    machine.kernel.routes[Self.key(1)] = Self.usurper
    #expect(machine.observe(Self.usurper, .replacement))
    machine.bench.routes.remove(Self.key(1))
    machine.mend(Self.key(1))
    machine.settle()
    #expect(machine.kernel.routes[Self.key(1)] == Self.usurper)
  }

  /// What is told while the lists are read is known when they have been read to their end.
  @Test func aReplacementThatIsToldDuringAReadingIsPutRightAfterIt() throws {
    let machine = self.machine()
    let ours = try #require(machine.kernel.routes[Self.key(1)])
    machine.bench.resync()
    #expect(machine.observe(Self.usurper, .replacement))
    machine.kernel.routes[Self.key(1)] = Self.usurper
    machine.settle()
    #expect(machine.kernel.routes[Self.key(1)] == ours && machine.counts.conflicts == 0)
  }

  /// The list shows that theirs has gone again, and that ours is there.
  @Test func aReplacementThatTheListsDoNotShowIsForgotten() throws {
    let machine = self.machine()
    let ours = try #require(machine.kernel.routes[Self.key(1)])
    machine.bench.resync()
    #expect(machine.observe(Self.usurper, .replacement))
    machine.settle()
    // From here on, another that comes first is left alone.
    machine.kernel.routes[Self.key(1)] = nil
    #expect(machine.observe(ours, .removal))
    machine.kernel.routes[Self.key(1)] = Self.usurper
    machine.mend(Self.key(1))
    machine.settle()
    #expect(machine.kernel.routes[Self.key(1)] == Self.usurper && machine.counts.conflicts == 1)
  }
}
