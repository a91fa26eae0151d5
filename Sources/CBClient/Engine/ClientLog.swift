import Foundation
import Logging
import Synchronization

/// The client's log in memory: the last lines, and whoever follows them.
final class ClientLog: Sendable {
  /// Lines kept; the oldest make room.
  static let capacity = 1_000

  /// The least level that is kept.
  let level: LogLine.Level
  private let lines = Mutex(Lines())

  init(level: LogLine.Level) { self.level = level }

  private struct Lines {
    var kept: [LogLine] = []
    var followers: [Int: AsyncStream<LogLine>.Continuation] = [:]
    var lastFollower = 0
  }

  func write(_ level: LogLine.Level, _ source: String, _ message: String) {
    guard level >= self.level else { return }
    let line = LogLine(time: Date(), level: level, source: source, message: message)
    let followers = lines.withLock { lines in
      lines.kept.append(line)
      if lines.kept.count > Self.capacity { lines.kept.removeFirst(lines.kept.count - Self.capacity) }
      return Array(lines.followers.values)
    }
    for follower in followers { follower.yield(line) }
  }

  func stream(tail: Int, follow: Bool) -> AsyncStream<LogLine> {
    let (stream, continuation) = AsyncStream.makeStream(
      of: LogLine.self, bufferingPolicy: .bufferingNewest(Self.capacity))
    let id: Int = lines.withLock { lines in
      for line in lines.kept.suffix(max(0, tail)) { continuation.yield(line) }
      lines.lastFollower += 1
      if follow { lines.followers[lines.lastFollower] = continuation }
      return lines.lastFollower
    }
    if follow {
      continuation.onTermination = { [weak self] _ in self?.lines.withLock { $0.followers[id] = nil } }
    } else {
      continuation.finish()
    }
    return stream
  }

  func finish() {
    let followers = lines.withLock { lines in
      defer { lines.followers = [:] }
      return Array(lines.followers.values)
    }
    for follower in followers { follower.finish() }
  }

  /// A logger whose lines end here.
  func logger(_ source: String) -> Logger {
    var logger = Logger(label: source) { _ in ClientLogHandler(log: self, source: source) }
    logger.logLevel = Logger.Level(rawValue: level.rawValue) ?? .info
    return logger
  }
}

private struct ClientLogHandler: LogHandler {
  let log: ClientLog
  let source: String
  var metadata: Logger.Metadata = [:]
  var logLevel: Logger.Level = .debug

  subscript(metadataKey key: String) -> Logger.Metadata.Value? {
    get { metadata[key] }
    set { metadata[key] = newValue }
  }

  func log(event: LogEvent) {
    let level: LogLine.Level =
      switch event.level {
      case .trace: .trace
      case .debug: .debug
      case .info: .info
      case .notice: .notice
      case .warning: .warning
      case .error, .critical: .error
      }
    let fields = metadata.merging(event.metadata ?? [:]) { $1 }.sorted { $0.key < $1.key }
    let suffix = fields.map { " \($0.key)=\($0.value)" }.joined()
    log.write(level, source, "\(event.message)\(suffix)")
  }
}

/// Sends each event to everyone who listens.
final class EventBroadcast: Sendable {
  private let listeners = Mutex<(last: Int, all: [Int: AsyncStream<ClientEvent>.Continuation])>((0, [:]))

  func send(_ event: ClientEvent) {
    for listener in listeners.withLock({ Array($0.all.values) }) { listener.yield(event) }
  }

  func stream() -> AsyncStream<ClientEvent> {
    let (stream, continuation) = AsyncStream.makeStream(of: ClientEvent.self, bufferingPolicy: .bufferingNewest(256))
    let id: Int = listeners.withLock { listeners in
      listeners.last += 1
      listeners.all[listeners.last] = continuation
      return listeners.last
    }
    continuation.onTermination = { [weak self] _ in self?.listeners.withLock { $0.all[id] = nil } }
    return stream
  }

  func finish() {
    let all = listeners.withLock { listeners in
      defer { listeners.all = [:] }
      return Array(listeners.all.values)
    }
    for listener in all { listener.finish() }
  }
}

extension LogLine.Level: Comparable {
  public static func < (a: Self, b: Self) -> Bool {
    // Declared from the least to the most severe.
    allCases.firstIndex(of: a)! < allCases.firstIndex(of: b)!
  }
}
