public import BGP
import Foundation
public import Logging
public import Nftables

/// Has the kernel enforce flow specifications: keeps a table of nftables as ``BGP/FlowspecEvent`` say.
///
/// It is on no ring: each change runs nftables' program and waits for it. What comes meanwhile is one change more.
public actor FlowspecFilter {
  /// How a rule fares.
  public enum State: Hashable, Sendable {
    case enforced(FlowspecRuleset.Counts)
    /// With the reason.
    case notEnforced(String)
  }

  private let program: NftProgram
  private let logger: Logger
  private var ruleset: FlowspecRuleset
  /// The table is there, and as it was written last.
  private var isInPlace = false
  /// Why nothing is enforced.
  private var problem: String?
  private let events: AsyncStream<[FlowspecEvent]>
  private nonisolated let continuation: AsyncStream<[FlowspecEvent]>.Continuation
  private var worker: Task<Void, Never>?
  /// Changes run one after the other, also where one asks meanwhile.
  private var isBusy = false
  private var waiting: [CheckedContinuation<Void, Never>] = []

  /// Rules that one change may leave out, as they are refused, before it is given up.
  private static let maximumRefusals = 64

  /// - Parameter program: the path of `nft`.
  public init(_ configuration: FlowspecRuleset.Configuration, program: String, logger: Logger) {
    ruleset = FlowspecRuleset(configuration)
    self.program = NftProgram(path: program)
    self.logger = logger
    (events, continuation) = AsyncStream.makeStream()
  }

  /// Waits for what is to be enforced. What an earlier run has left is enforced until then.
  public func start() {
    worker = Task { [weak self, events] in
      for await batch in events { await self?.commit(batch) }
    }
  }

  /// What is to be enforced, in the order in which it is called. The first makes the table, in place of what an earlier run
  /// has left. Where that fails it is said, and tried again with each change.
  public nonisolated func take(_ events: [FlowspecEvent]) { continuation.yield(events) }

  /// Takes the table away: whoever stops by will filters no more.
  public func stop() async {
    continuation.finish()
    await worker?.value
    // Where nothing has been written yet, an earlier run's may be there.
    guard problem == nil else { return }
    do { _ = try await program.run(["-f", "-"], input: ruleset.end) } catch {
      logger.error("flow specifications are still enforced", metadata: ["error": "\(error)"])
    }
  }

  // MARK: Changes

  private func commit(_ batch: [FlowspecEvent]) async {
    await begin()
    for event in batch { ruleset.apply(event) }
    await write()
    end()
  }

  private func begin() async {
    guard isBusy else {
      isBusy = true
      return
    }
    await withCheckedContinuation { waiting.append($0) }
  }

  private func end() {
    if waiting.isEmpty { isBusy = false } else { waiting.removeFirst().resume() }
  }

  private func write() async {
    for _ in 0..<Self.maximumRefusals {
      let anew = !isInPlace
      do {
        _ = try await program.run(["-f", "-"], input: ruleset.transaction(anew: anew))
        isInPlace = true
        if problem != nil { logger.notice("flow specifications are enforced again") }
        problem = nil
        return
      } catch {
        isInPlace = false
        // Without the rule that it is about, or with a table that someone else has taken away.
        if ruleset.refuse("\(error)") || !anew { continue }
        note("\(error)")
        return
      }
    }
    note("more than \(Self.maximumRefusals) rules are refused")
  }

  private func note(_ text: String) {
    let words = text.split(separator: "\n").first.map(String.init) ?? text
    if problem != words { logger.error("flow specifications are not enforced", metadata: ["why": "\(words)"]) }
    problem = words
  }

  // MARK: Looking

  /// How rules fare, with what the kernel has counted.
  public func states(of rules: [FlowspecRule]) async -> [FlowspecRule: State] {
    await begin()
    defer { end() }
    let counters = await counters()
    var states: [FlowspecRule: State] = [:]
    for rule in rules {
      if let obstacle = ruleset.obstacle(rule) {
        states[rule] = .notEnforced("cannot be enforced: \(obstacle)")
      } else if let problem {
        states[rule] = .notEnforced(problem)
      } else if let counts = ruleset.counts(rule, { counters[$0] }) {
        states[rule] = .enforced(counts)
      } else {
        states[rule] = .notEnforced("not yet")
      }
    }
    return states
  }

  private struct Listing: Decodable {
    struct Item: Decodable { var counter: Counter? }
    struct Counter: Decodable {
      var name: String
      var packets: UInt64
      var bytes: UInt64
    }
    var nftables: [Item]
  }

  private func counters() async -> [String: (packets: UInt64, octets: UInt64)] {
    guard isInPlace, !ruleset.isEmpty else { return [:] }
    do {
      let text = try await program.run(["-j", "list", "counters", "table", "inet", ruleset.configuration.table])
      let listing = try JSONDecoder().decode(Listing.self, from: Data(text.utf8))
      return Dictionary(
        listing.nftables.compactMap(\.counter).map { ($0.name, (packets: $0.packets, octets: $0.bytes)) }
      ) { first, _ in first }
    } catch {
      // Someone has taken the table away: it is made anew.
      isInPlace = false
      await write()
      return [:]
    }
  }
}
