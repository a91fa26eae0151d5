public import BGP
public import Logging
public import Ring
public import Wire

/// Keeps dumps of a speaker's tables and of what its neighbors send, in files of the MRT format (RFC 6396), as route
/// collectors do: the tables at an interval, the messages in files of so long each.
public actor MRTArchive {
  public struct Configuration: Sendable {
    public var directory: String
    /// Between two dumps of the tables; nil for none.
    public var tableInterval: Interval?
    /// What one file of messages covers; nil for none.
    public var updateInterval: Interval?
    /// How long files stay; nil for ever.
    public var keep: Interval?
    public init(directory: String) { self.directory = directory }
  }

  public struct Status: Sendable {
    public var directory: String
    public var tableInterval: Interval?
    public var updateInterval: Interval?
    public var files: Int
    public var octets: Int
    public var lost: Int
    public var lastFile: String?
    /// What is wrong now.
    public var troubles: [String]
    /// A dump of the tables is being written.
    public var isDumping: Bool
  }

  public nonisolated let ring: RingExecutor
  public nonisolated var unownedExecutor: UnownedSerialExecutor { ring.asUnownedSerialExecutor() }

  /// Destinations in a piece of a dump: the sessions wait so long, and so much of it is in memory.
  private static let page = 1_024
  /// Octets of messages that are handed over together.
  private static let chunk = 64 << 10
  /// How long a message may wait for that.
  private static let patience = Interval.seconds(1)

  private let configuration: Configuration
  private let speaker: BGPSpeaker
  private let directory: MRTDirectory
  private let logger: Logger
  private var updates: MRTDirectory.File?
  private var pending: [UInt8] = []
  private var flushTimer: RingTimer?
  private var tableTimer: RingTimer?
  private var updateTimer: RingTimer?
  private var isDumping = false
  private var isStopped = false

  /// - Parameter speaker: on the same ring.
  /// - Throws: ``MRTDirectoryError``.
  public init(_ configuration: Configuration, speaker: BGPSpeaker, logger: Logger) throws(MRTDirectoryError) {
    self.configuration = configuration
    self.speaker = speaker
    self.logger = logger
    ring = speaker.ring
    directory = try MRTDirectory(configuration.directory, logger: logger)
  }

  // MARK: Life

  public func start() {
    if configuration.updateInterval != nil {
      updates = MRTDirectory.File(MRTFileName(.updates, seconds: WallTime.now.seconds))
      speaker.assumeIsolated { $0.add(self) }
      flushTimer = RingTimer(on: ring) { [weak self] in self?.assumeIsolated { $0.flush() } }
    }
    updateTimer = RingTimer(on: ring) { [weak self] in self?.assumeIsolated { $0.updatesAreDue() } }
    tableTimer = RingTimer(on: ring) { [weak self] in self?.assumeIsolated { $0.tablesAreDue() } }
    schedule(updateTimer, every: configuration.updateInterval)
    schedule(tableTimer, every: configuration.tableInterval)
  }

  /// Finishes the file of messages; a dump of the tables that is under way is given up.
  public func stop() async {
    isStopped = true
    for timer in [flushTimer, tableTimer, updateTimer] { timer?.cancel() }
    await speaker.remove(self)
    if let updates {
      directory.write(pending, to: updates)
      directory.finish(updates)
    }
    updates = nil
    await directory.settle()
  }

  public func status() -> Status {
    let counts = directory.counts
    return Status(
      directory: configuration.directory, tableInterval: configuration.tableInterval,
      updateInterval: configuration.updateInterval, files: counts.files, octets: counts.octets, lost: counts.lost,
      lastFile: counts.lastFile, troubles: counts.troubles.values.sorted(), isDumping: isDumping)
  }

  /// Sets a timer to the next whole multiple of an interval since 1970. The clock on the wall may go slower or faster than
  /// the ring's: a multiple that is nearly there counts as there.
  private func schedule(_ timer: RingTimer?, every interval: Interval?) {
    guard let timer, let interval else { return }
    let past = WallTime.now.nanoseconds % interval.nanoseconds
    let left = interval.nanoseconds - past
    let isNear = left < interval.nanoseconds / 20
    timer.schedule(at: ring.refreshNow() + .nanoseconds(isNear ? left + interval.nanoseconds : left))
  }

  /// The multiple of an interval that is nearest now.
  private func due(_ interval: Interval?) -> Int {
    guard let nanoseconds = interval?.nanoseconds else { return WallTime.now.seconds }
    return Int((WallTime.now.nanoseconds + nanoseconds / 2) / nanoseconds * nanoseconds / 1_000_000_000)
  }

  // MARK: Tables

  private func tablesAreDue() {
    let seconds = due(configuration.tableInterval)
    schedule(tableTimer, every: configuration.tableInterval)
    // One that takes longer than the interval is let come to its end.
    guard !isDumping else { return }
    Task { await dumpTables(seconds) }
  }

  /// Writes a dump of the tables, in pieces, each when the disk has taken the one before.
  private func dumpTables(_ seconds: Int) async {
    guard !isDumping, !isStopped else { return }
    isDumping = true
    defer { isDumping = false }
    let file = MRTDirectory.File(MRTFileName(.rib, seconds: seconds))
    var dump = TableDump(timestamp: UInt32(truncatingIfNeeded: seconds))
    while !dump.isComplete {
      let piece = await speaker.records(of: dump, destinations: Self.page)
      dump = piece.dump
      let isWritten = await directory.writing(piece.octets, to: file)
      guard isWritten, !isStopped else { return directory.discard(file) }
    }
    _ = await directory.finishing(file)
    prune()
  }

  private func prune() {
    guard let keep = configuration.keep else { return }
    directory.removeFiles(before: WallTime.now.seconds - Int(keep.seconds))
  }

  // MARK: Messages

  private func updatesAreDue() {
    let seconds = due(configuration.updateInterval)
    schedule(updateTimer, every: configuration.updateInterval)
    flush()
    if let updates { directory.finish(updates) }
    updates = MRTDirectory.File(MRTFileName(.updates, seconds: seconds))
    prune()
  }

  private func flush() {
    flushTimer?.cancel()
    guard let updates, !pending.isEmpty else { return }
    directory.write(pending, to: updates)
    pending = []
    pending.reserveCapacity(Self.chunk)
  }

  private func record(_ body: (WallTime, inout [UInt8]) -> Void) {
    if pending.isEmpty { flushTimer?.schedule(at: ring.now + Self.patience) }
    body(WallTime.now, &pending)
    if pending.count >= Self.chunk { flush() }
  }

  private func record(_ message: UnsafeRawBufferPointer, _ subject: BGPSession.Subject, hasPathIdentifiers: Bool) {
    let session = MRTRecord.Session(subject)
    record { time, octets in
      MRTRecord.append(
        message, of: session, hasPathIdentifiers: hasPathIdentifiers,
        seconds: UInt32(truncatingIfNeeded: time.seconds), microseconds: time.microseconds, to: &octets)
    }
  }

  private func record(
    _ subject: BGPSession.Subject, from: FiniteStateMachine.State, to: FiniteStateMachine.State
  ) {
    let session = MRTRecord.Session(subject)
    record { time, octets in
      octets +=
        MRTRecord(
          timestamp: UInt32(truncatingIfNeeded: time.seconds), microseconds: time.microseconds,
          .stateChange(session, from: from.number, to: to.number)
        ).serialized
    }
  }
}

extension MRTArchive: BGPMonitor {
  public nonisolated func received(
    _ message: UnsafeRawBufferPointer, _ update: UpdateMessage?, from subject: BGPSession.Subject
  ) {
    let borrowed = RingBound(message)
    let hasIdentifiers = update?.hasPathIdentifiers ?? false
    assumeIsolated { $0.record(borrowed.value, subject, hasPathIdentifiers: hasIdentifiers) }
  }

  public nonisolated func stateChanged(
    of subject: BGPSession.Subject, from: FiniteStateMachine.State, to: FiniteStateMachine.State
  ) {
    assumeIsolated { $0.record(subject, from: from, to: to) }
  }

  public nonisolated func sessionUp(_ subject: BGPSession.Subject) {}
  public nonisolated func sessionDown(_ subject: BGPSession.Subject, _ cause: BGP.Session.EndCause) {}
}

extension MRTRecord.Session {
  init(_ subject: BGPSession.Subject) {
    self.init(
      peerAS: subject.remoteAS, localAS: subject.localAS, peer: subject.remote.ip, local: subject.local.ip)
    hasFourOctetAS = subject.parameters?.usesFourOctetAS ?? true
  }
}
