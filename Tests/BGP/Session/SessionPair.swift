import Testing
import Wire

@testable import BGP

/// Two speakers with a peering to each other, the TCP between them and the time, all of it made up.
final class SessionPair {
  enum Side: Int { case a, b }

  private enum Happening {
    case incoming(Side, pipe: Int)
    case opened(Side, pipe: Int)
    case failed(Side, pipe: Int)
    case octets(Side, pipe: Int, [UInt8])
  }

  /// A TCP connection: what each side calls it, and whether it still carries anything.
  private struct Pipe {
    var ids: [Session.ConnectionID?] = [nil, nil]
    var isOpen = true
  }

  private(set) var sessions: [Session]
  private(set) var log: [[Session.Event]] = [[], []]
  private(set) var updates: [[IPPrefix]] = [[], []]
  private(set) var now = Instant.zero
  private var pipes: [Pipe] = []
  private var pending: [(at: Instant, order: Int, Happening)] = []
  private var order = 0
  var delay = Interval.milliseconds(10)
  /// Nothing arrives, and nobody is told.
  var isBlackHole = false
  /// Octets are delivered in pieces of this size.
  var pieceSize = 4_096

  init(_ a: PeerConfiguration, _ b: PeerConfiguration, seed: UInt64 = 1) {
    sessions = [
      Session(a, entropy: SeededEntropy(seed: seed)), Session(b, entropy: SeededEntropy(seed: seed &+ 1_000)),
    ]
  }

  static func configuration(_ side: Side, number: UInt32? = nil) -> PeerConfiguration {
    let numbers: [UInt32] = [64_512, 65_001]
    return PeerConfiguration(
      localAS: numbers[side.rawValue], identifier: IPv4Address(10, 0, 0, UInt8(side.rawValue + 1)),
      peerAS: number ?? numbers[1 - side.rawValue])
  }

  subscript(side: Side) -> Session { sessions[side.rawValue] }
  var isEstablished: Bool { sessions.allSatisfy { $0.state == .established } }

  func start(_ side: Side) {
    sessions[side.rawValue].start(now: now)
    drain(side)
  }

  func stop(_ side: Side, _ text: String = "") {
    sessions[side.rawValue].stop(.cease(.administrativeShutdown, text), now: now)
    drain(side)
  }

  func stopAutomatically(_ side: Side, _ cease: NotificationMessage) {
    sessions[side.rawValue].stopAutomatically(cease, now: now)
    drain(side)
  }

  func stopForRestart(_ side: Side) {
    sessions[side.rawValue].stopForRestart(now: now)
    drain(side)
  }

  /// Sends octets on a side's established connection, past its core.
  func inject(_ octets: [UInt8], from side: Side) {
    guard let id = sessions[side.rawValue].main.connection else { return }
    act(.send(id, octets), side)
  }

  /// Breaks every connection, and both ends notice.
  func breakConnections() {
    for index in pipes.indices where pipes[index].isOpen {
      pipes[index].isOpen = false
      schedule(.failed(.a, pipe: index))
      schedule(.failed(.b, pipe: index))
    }
  }

  /// A side forgets all, as a process that was killed; its kernel closes the connections, unless the whole machine went
  /// silently.
  ///
  /// - Parameter preserved: what it says of its forwarding; nil says nothing.
  func restart(_ side: Side, seed: UInt64, preserved: AddressFamilies? = nil, silently: Bool = false) {
    sessions[side.rawValue] = Session(sessions[side.rawValue].configuration, entropy: SeededEntropy(seed: seed))
    sessions[side.rawValue].preservedThroughRestart = preserved
    let other = Side(rawValue: 1 - side.rawValue) ?? .a
    for index in pipes.indices where pipes[index].isOpen {
      pipes[index].isOpen = false
      pipes[index].ids[side.rawValue] = nil
      if !silently { schedule(.failed(other, pipe: index)) }
    }
    start(side)
  }

  /// Lets time pass until a condition holds; whether it came to that.
  @discardableResult
  func run(for time: Interval, until condition: (SessionPair) -> Bool = { _ in false }) -> Bool {
    let end = now + time
    var steps = 0
    while !condition(self) {
      steps += 1
      #expect(steps < 1_000_000, "the pair goes round in circles")
      let deadline = min(sessions[0].deadline, sessions[1].deadline)
      let next = pending.indices.min { (pending[$0].at, pending[$0].order) < (pending[$1].at, pending[$1].order) }
      let happening = next.map { pending[$0].at } ?? .distantFuture
      guard min(deadline, happening) <= end, steps < 1_000_000 else {
        now = end
        return condition(self)
      }
      now = max(now, min(deadline, happening))
      if let next, happening <= deadline {
        happen(pending.remove(at: next).2)
      } else {
        for side in [Side.a, .b] where sessions[side.rawValue].deadline <= now {
          sessions[side.rawValue].handleTimeout(now: now)
          drain(side)
        }
      }
    }
    return true
  }

  // MARK: The network

  private func schedule(_ happening: Happening) {
    order += 1
    pending.append((now + delay, order, happening))
  }

  private func happen(_ happening: Happening) {
    switch happening {
    case .incoming(let side, let pipe):
      guard pipes[pipe].isOpen, !isBlackHole else { return }
      let other = Side(rawValue: 1 - side.rawValue) ?? .a
      if let id = sessions[side.rawValue].accept(now: now) {
        pipes[pipe].ids[side.rawValue] = id
        schedule(.opened(other, pipe: pipe))
      } else {
        pipes[pipe].isOpen = false
        schedule(.failed(other, pipe: pipe))
      }
      drain(side)
    case .opened(let side, let pipe):
      guard pipes[pipe].isOpen, let id = pipes[pipe].ids[side.rawValue] else { return }
      sessions[side.rawValue].connectionOpened(id, now: now)
      drain(side)
    case .failed(let side, let pipe):
      guard !isBlackHole, let id = pipes[pipe].ids[side.rawValue] else { return }
      pipes[pipe].ids[side.rawValue] = nil
      sessions[side.rawValue].connectionFailed(id, now: now)
      drain(side)
    case .octets(let side, let pipe, let octets):
      guard !isBlackHole, let id = pipes[pipe].ids[side.rawValue] else { return }
      for start in stride(from: 0, to: octets.count, by: pieceSize) {
        octets[start..<min(start + pieceSize, octets.count)].withUnsafeBytes { receive($0, id, side) }
      }
    }
  }

  private func receive(_ octets: UnsafeRawBufferPointer, _ id: Session.ConnectionID, _ side: Side) {
    var rest = octets
    while true {
      switch sessions[side.rawValue].receive(from: &rest, on: id, now: now) {
      case .update(let update):
        updates[side.rawValue] += update.reachable.prefixes
        let message = sessions[side.rawValue].message
        #expect(message.flatMap { try? MessageHeader($0, maximumLength: 65_535) }?.messageLength == message?.count)
      case .other: drain(side)
      case .nothing: return
      }
    }
  }

  private func drain(_ side: Side) {
    while let event = sessions[side.rawValue].nextEvent() {
      log[side.rawValue].append(event)
      act(event, side)
    }
  }

  private func act(_ event: Session.Event, _ side: Side) {
    let other = Side(rawValue: 1 - side.rawValue) ?? .a
    switch event {
    case .connect(let id):
      var pipe = Pipe()
      pipe.ids[side.rawValue] = id
      pipes.append(pipe)
      schedule(.incoming(other, pipe: pipes.count - 1))
    case .send(let id, let octets):
      guard let pipe = pipes.lastIndex(where: { $0.ids[side.rawValue] == id && $0.isOpen }) else { return }
      schedule(.octets(other, pipe: pipe, octets))
      if !isBlackHole { sessions[side.rawValue].transportTookAll(now: now) }
    case .close(let id):
      guard let pipe = pipes.lastIndex(where: { $0.ids[side.rawValue] == id }) else { return }
      pipes[pipe].ids[side.rawValue] = nil
      if pipes[pipe].isOpen {
        pipes[pipe].isOpen = false
        schedule(.failed(other, pipe: pipe))
      }
    default: break
    }
  }

  // MARK: Looking back

  func states(_ side: Side) -> [FiniteStateMachine.State] {
    log[side.rawValue].compactMap { if case .stateChanged(_, let to, _) = $0 { to } else { nil } }
  }

  func causes(_ side: Side) -> [Session.EndCause] {
    log[side.rawValue].compactMap { if case .ended(let cause) = $0 { cause } else { nil } }
  }

  func notificationsSent(_ side: Side) -> [NotificationMessage] {
    log[side.rawValue].compactMap { event in
      guard case .send(_, let octets) = event, octets.count > 20, octets[18] == 3 else { return nil }
      return octets.withUnsafeBytes { NotificationMessage(body: UnsafeRawBufferPointer(rebasing: $0[19...])) }
    }
  }
}
