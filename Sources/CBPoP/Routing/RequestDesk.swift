import BGP
import CBActors
import Foundation
import Glibc
import Logging
import Ring
import Wire

/// Takes operators' orders, has the speaker follow them, and ends each request at its time.
actor RequestDesk {
  private let speaker: BGPSpeaker
  private var requests: RoutingRequests
  /// Nil: requests end with the process.
  private let file: String?
  private let logger: Logger
  private var timer: Task<Void, Never>?
  private var isLeaving = false

  init(_ configuration: RoutingRequests.Configuration, file: String?, speaker: BGPSpeaker, logger: Logger) {
    requests = RoutingRequests(configuration)
    self.file = file
    self.speaker = speaker
    self.logger = logger
  }

  /// Takes up what an earlier run has left.
  func start() async {
    guard let file, let data = FileManager.default.contents(atPath: file) else { return }
    do {
      let saved = try JSONDecoder().decode([RoutingRequests.Saved].self, from: data)
      let (changes, refusals) = requests.restore(
        saved, now: RingExecutor.monotonicNow(), timeOfDay: Date().timeIntervalSince1970)
      for refusal in refusals { logger.warning("request of an earlier run left out", metadata: ["why": "\(refusal)"]) }
      await perform(changes)
    } catch {
      logger.error("requests of an earlier run cannot be read", metadata: ["file": "\(file)", "error": "\(error)"])
    }
    schedule()
  }

  /// - Throws: ``RoutingRefusal``.
  func follow(_ order: RoutingOrder) async throws -> RequestView? {
    guard !isLeaving else { throw RoutingRefusal("this PoP is going away") }
    let now = RingExecutor.monotonicNow()
    let change = try requests.follow(order, now: now)
    logger.notice("request", metadata: ["order": "\(order.verb)", "subject": "\(order.subject)"])
    schedule()
    save()
    await perform([change])
    guard case .set(let request) = change else { return nil }
    return RequestView(request, now: now)
  }

  func views() -> [RequestView] { requests.views(now: RingExecutor.monotonicNow()) }

  // MARK: Going away

  /// Asks for other ways to what is announced (RFC 8326); from here on nothing changes any more.
  func drain() async {
    leave()
    var changes: [RoutingRequests.Change] = []
    for var request in requests.inOrder {
      guard case .route(var attributes, discards: false) = request.content else { continue }
      attributes.communities.append(.gracefulShutdown)
      attributes.localPreference = 0
      request.content = .route(attributes, discards: false)
      changes.append(.set(request))
    }
    await perform(changes)
  }

  /// Takes all back, and leaves the file for the next run.
  func withdraw() async {
    leave()
    await perform(requests.inOrder.map { .remove($0.subject) })
  }

  private func leave() {
    isLeaving = true
    timer?.cancel()
  }

  // MARK: Acting

  private func perform(_ changes: [RoutingRequests.Change]) async {
    for change in changes {
      switch change {
      case .set(let request):
        switch (request.subject, request.content) {
        case (.prefix(let prefix), .route(let attributes, let discards)):
          await speaker.announce(prefix, attributes, discards: discards)
        case (.rule(let rule), .rule(let actions)): await speaker.announce(rule, actions)
        default: break
        }
      case .remove(.prefix(let prefix)): await speaker.withdraw(prefix)
      case .remove(.rule(let rule)): await speaker.withdraw(rule)
      }
    }
  }

  private func schedule() {
    timer?.cancel()
    let deadline = requests.deadline
    guard deadline != .distantFuture, !isLeaving else { return }
    timer = Task { [weak self] in
      let wait = deadline - RingExecutor.monotonicNow()
      do { try await Task.sleep(for: .nanoseconds(max(0, wait.nanoseconds))) } catch { return }
      await self?.expire()
    }
  }

  private func expire() async {
    guard !isLeaving else { return }
    let changes = requests.expire(now: RingExecutor.monotonicNow())
    schedule()
    guard !changes.isEmpty else { return }
    save()
    logger.notice("requests have ended", metadata: ["count": "\(changes.count)"])
    await perform(changes)
  }

  /// Who may read the file may know what is attacked, and who may write it has a say in the routing.
  private func save() {
    guard let file else { return }
    let saved = requests.saved(now: RingExecutor.monotonicNow(), timeOfDay: Date().timeIntervalSince1970)
    let draft = "\(file).new"
    do {
      let data = try JSONEncoder().encode(saved)
      unlink(draft)
      let descriptor = open(draft, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
      guard descriptor >= 0 else { throw ControlSocketError.system(draft, errno) }
      let handle = FileHandle(fileDescriptor: descriptor, closeOnDealloc: true)
      try handle.write(contentsOf: data)
      try handle.synchronize()
      guard rename(draft, file) == 0 else { throw ControlSocketError.system(file, errno) }
    } catch {
      logger.error("requests cannot be kept for a restart", metadata: ["file": "\(file)", "error": "\(error)"])
    }
  }
}
