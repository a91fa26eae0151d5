public import Wire

/// When to answer those who change our routes: soon the first time, and ever later where they do it again.
///
/// What another program has done to a route goes in as it is told, and out come the routes to be mended when it is time.
public struct RouteContention: Sendable {
  public struct Configuration: Hashable, Sendable {
    /// Before the first answer: what belongs together, such as the end of a link and of its routes, is told in a row.
    public var firstDelay = Interval.milliseconds(10)
    /// The delay doubles with each time that comes soon after an answer, up to this.
    public var maximumDelay = Interval.seconds(60)
    /// Of routes that have been left alone for so long nothing is remembered.
    public var quietTime = Interval.seconds(60)
    /// Routes remembered at most; beyond, each waits for ``maximumDelay``.
    public var maximumRoutes = 65_536

    public init() {}
  }

  private struct Record {
    var delay: Interval
    /// When to answer; nil when that has been done.
    var due: Instant?
    var last: Instant
  }

  private let configuration: Configuration
  private var records: [Route.Key: Record] = [:]
  /// Of those that do not fit.
  private var crowdDue: Instant?
  /// Times that others have changed a route of ours.
  public private(set) var count: UInt64 = 0
  /// The earliest of all, or before it.
  public private(set) var deadline = Instant.distantFuture

  public init(_ configuration: Configuration = .init()) { self.configuration = configuration }

  /// A route of ours has been changed by another.
  public mutating func disturbed(_ key: Route.Key, now: Instant) {
    count += 1
    if records.count >= configuration.maximumRoutes, records[key] == nil { forget(now) }
    guard records.count < configuration.maximumRoutes || records[key] != nil else {
      crowdDue = crowdDue ?? now + configuration.maximumDelay
      deadline = min(deadline, crowdDue ?? .distantFuture)
      return
    }
    var record = records[key] ?? Record(delay: .zero, due: nil, last: now)
    if record.due == nil {
      let isFirst = record.delay == .zero || now - record.last > max(configuration.quietTime, record.delay * 2)
      record.delay = isFirst ? configuration.firstDelay : min(record.delay * 2, configuration.maximumDelay)
      record.due = now + record.delay
    }
    record.last = now
    records[key] = record
    deadline = min(deadline, record.due ?? .distantFuture)
  }

  /// The routes to be mended now. Nil: more than are remembered, so that the kernel's lists are to be read.
  public mutating func due(now: Instant) -> [Route.Key]? {
    guard deadline <= now else { return [] }
    var due: [Route.Key] = []
    deadline = .distantFuture
    for (key, record) in records {
      guard let at = record.due else { continue }
      if at <= now {
        records[key]?.due = nil
        records[key]?.last = now
        due.append(key)
      } else {
        deadline = min(deadline, at)
      }
    }
    forget(now)
    guard let crowdDue else { return due }
    guard crowdDue <= now else {
      deadline = min(deadline, crowdDue)
      return due
    }
    self.crowdDue = nil
    return nil
  }

  private mutating func forget(_ now: Instant) {
    records = records.filter {
      $0.value.due != nil || now - $0.value.last <= max(configuration.quietTime, $0.value.delay * 2)
    }
  }
}
