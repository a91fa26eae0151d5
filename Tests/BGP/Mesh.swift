import Testing
import Wire

@testable import BGP

/// Speakers with peerings between them, on links that delay, break and heal, in a time of their own. What TCP carries is
/// not lost: over a link that is down it waits. A seed makes the same run again.
final class Mesh {
  struct Link {
    var ends: [Int]
    var delay = Interval.milliseconds(10)
    var isUp = true
    /// What came to the link's end while it was down.
    var held: [Happening] = []
  }

  enum Happening {
    case incoming(link: Int, side: Int, pipe: Int)
    case opened(link: Int, side: Int, pipe: Int)
    case failed(link: Int, side: Int, pipe: Int)
    case octets(link: Int, side: Int, pipe: Int, [UInt8])

    var link: Int {
      switch self {
      case .incoming(let link, _, _), .opened(let link, _, _), .failed(let link, _, _), .octets(let link, _, _, _): link
      }
    }
  }

  /// A TCP connection: what each end calls it.
  private struct Pipe {
    var ids: [Session.ConnectionID?] = [nil, nil]
    var isOpen = true
    /// When the last octets arrive at each end: what follows is not faster.
    var arrivals = [Instant.zero, .zero]
  }

  final class Speaker {
    let number: Int
    var autonomousSystem: UInt32
    var rib: RIB
    /// By link.
    var sessions: [Int: Session] = [:]
    var peers: [Int: PeerID] = [:]
    var connections: [Int: Session.ConnectionID] = [:]
    var own: Set<IPPrefix> = []

    init(_ number: Int, _ autonomousSystem: UInt32, seed: UInt64) {
      self.number = number
      self.autonomousSystem = autonomousSystem
      rib = RIB(localAS: autonomousSystem, identifier: Mesh.identifier(number), seed: seed)
    }
  }

  let isInternal: Bool
  let restart: GracefulRestartConfiguration?
  private(set) var links: [Link]
  private(set) var speakers: [Speaker] = []
  private(set) var now = Instant.zero
  private var pipes: [Pipe] = []
  private var pending: [(at: Instant, order: Int, what: Happening)] = []
  private var order = 0
  private let entropy: SeededEntropy

  static func identifier(_ number: Int) -> IPv4Address { IPv4Address(10, 0, 0, UInt8(number + 1)) }

  init(
    _ count: Int, links: [(Int, Int)], isInternal: Bool = false, restart: GracefulRestartConfiguration? = nil,
    seed: UInt64
  ) {
    self.isInternal = isInternal
    self.restart = restart
    self.links = links.map { Link(ends: [$0.0, $0.1]) }
    entropy = SeededEntropy(seed: seed)
    for number in 0..<count { speakers.append(newSpeaker(number)) }
    for speaker in speakers { start(speaker) }
  }

  private func autonomousSystem(_ number: Int) -> UInt32 { isInternal ? 64_512 : 64_512 + UInt32(number) }

  private func newSpeaker(_ number: Int) -> Speaker {
    let speaker = Speaker(number, autonomousSystem(number), seed: entropy.nextUInt64())
    for (index, link) in links.enumerated() where link.ends.contains(number) {
      let other = link.ends[0] == number ? link.ends[1] : link.ends[0]
      var configuration = PeerConfiguration(
        localAS: speaker.autonomousSystem, identifier: Self.identifier(number), peerAS: autonomousSystem(other))
      configuration.families = .unicast
      configuration.holdTime = 9
      configuration.gracefulRestart = restart
      configuration.connectRetryTime = .seconds(5)
      configuration.maximumIdleHoldTime = .seconds(20)
      speaker.sessions[index] = Session(configuration, entropy: SeededEntropy(seed: entropy.nextUInt64()))
      speaker.peers[index] = speaker.rib.addPeer(
        address: .v4(Self.identifier(other)), autonomousSystem: autonomousSystem(other))
    }
    return speaker
  }

  private func start(_ speaker: Speaker) {
    for index in speaker.sessions.keys.sorted() {
      speaker.sessions[index]?.start(now: now)
      drain(speaker, index)
    }
  }

  // MARK: What befalls it

  func originate(_ prefix: IPPrefix, at number: Int) {
    speakers[number].own.insert(prefix)
    speakers[number].rib.originate(prefix)
    pump(speakers[number])
  }

  func withdraw(_ prefix: IPPrefix, at number: Int) {
    speakers[number].own.remove(prefix)
    speakers[number].rib.withdraw(prefix)
    pump(speakers[number])
  }

  func setDelay(_ delay: Interval, of link: Int) { links[link].delay = delay }

  func cut(_ link: Int) { links[link].isUp = false }

  func heal(_ link: Int) {
    guard !links[link].isUp else { return }
    links[link].isUp = true
    let held = links[link].held
    links[link].held = []
    for what in held { schedule(what) }
  }

  /// Both ends of all connections over a link notice that they are broken.
  func breakConnections(_ link: Int) {
    for pipe in pipes.indices where pipes[pipe].isOpen && self.pipe(pipe, isOf: link) {
      pipes[pipe].isOpen = false
      for side in 0...1 { schedule(.failed(link: link, side: side, pipe: pipe)) }
    }
  }

  enum Restart: CaseIterable { case killed, gracefully, stopped }

  /// A speaker goes, and is back at once with nothing but the prefixes of its own.
  func restart(_ number: Int, _ kind: Restart) {
    let old = speakers[number]
    for index in old.sessions.keys.sorted() where kind != .killed {
      if kind == .gracefully {
        old.sessions[index]?.stopForRestart(now: now)
      } else {
        old.sessions[index]?.stop(now: now)
      }
      drain(old, index)
    }
    for pipe in pipes.indices where pipes[pipe].isOpen {
      for link in old.sessions.keys where self.pipe(pipe, isOf: link) {
        let side = links[link].ends[0] == number ? 0 : 1
        pipes[pipe].isOpen = false
        pipes[pipe].ids[side] = nil
        schedule(.failed(link: link, side: 1 - side, pipe: pipe))
      }
    }
    let speaker = newSpeaker(number)
    speakers[number] = speaker
    if restart != nil, kind != .stopped {
      for index in speaker.sessions.keys { speaker.sessions[index]?.preservedThroughRestart = .unicast }
      speaker.rib.deferSelection(
        awaiting: speaker.peers.values.sorted { $0.raw < $1.raw }, ownRoutes: true, until: now + .seconds(30))
    }
    for prefix in old.own {
      speaker.own.insert(prefix)
      speaker.rib.originate(prefix)
    }
    speaker.rib.ownRoutesAreComplete()
    start(speaker)
  }

  private var pipeLinks: [Int] = []
  private func pipe(_ pipe: Int, isOf link: Int) -> Bool { pipeLinks[pipe] == link }

  // MARK: Time

  func run(for time: Interval) {
    let end = now + time
    var steps = 0
    while steps < 2_000_000 {
      steps += 1
      let next = pending.indices.min { (pending[$0].at, pending[$0].order) < (pending[$1].at, pending[$1].order) }
      let happening = next.map { pending[$0].at } ?? .distantFuture
      let due = speakers.map(deadline).min() ?? .distantFuture
      guard min(happening, due) <= end else { break }
      now = max(now, min(happening, due))
      if let next, happening <= due {
        happen(pending.remove(at: next).what)
      } else {
        for speaker in speakers where deadline(speaker) <= now { expire(speaker) }
      }
    }
    #expect(steps < 2_000_000, "the mesh goes round in circles")
    now = end
  }

  private func deadline(_ speaker: Speaker) -> Instant {
    min(speaker.sessions.values.map(\.deadline).min() ?? .distantFuture, speaker.rib.deadline)
  }

  private func expire(_ speaker: Speaker) {
    speaker.rib.handleTimeout(now: now)
    for index in speaker.sessions.keys.sorted() {
      speaker.sessions[index]?.handleTimeout(now: now)
      drain(speaker, index)
    }
    pump(speaker)
  }

  private func schedule(_ what: Happening) {
    order += 1
    var at = now + links[what.link].delay
    if case .octets(_, let side, let pipe, _) = what {
      at = max(at, pipes[pipe].arrivals[side])
      pipes[pipe].arrivals[side] = at
    }
    if case .failed(_, let side, let pipe) = what { at = max(at, pipes[pipe].arrivals[side]) }
    pending.append((at, order, what))
  }

  // MARK: The network

  private func happen(_ what: Happening) {
    guard links[what.link].isUp else { return links[what.link].held.append(what) }
    switch what {
    case .incoming(let link, let side, let pipe):
      guard pipes[pipe].isOpen else { return }
      let speaker = speakers[links[link].ends[side]]
      if let id = speaker.sessions[link]?.accept(now: now) {
        pipes[pipe].ids[side] = id
        schedule(.opened(link: link, side: 1 - side, pipe: pipe))
      } else {
        pipes[pipe].isOpen = false
        schedule(.failed(link: link, side: 1 - side, pipe: pipe))
      }
      drain(speaker, link)
    case .opened(let link, let side, let pipe):
      guard pipes[pipe].isOpen, let id = pipes[pipe].ids[side] else { return }
      let speaker = speakers[links[link].ends[side]]
      speaker.sessions[link]?.connectionOpened(id, now: now)
      drain(speaker, link)
    case .failed(let link, let side, let pipe):
      guard let id = pipes[pipe].ids[side] else { return }
      pipes[pipe].ids[side] = nil
      let speaker = speakers[links[link].ends[side]]
      speaker.sessions[link]?.connectionFailed(id, now: now)
      drain(speaker, link)
    case .octets(let link, let side, let pipe, let octets):
      guard let id = pipes[pipe].ids[side] else { return }
      receive(octets, id, speakers[links[link].ends[side]], link)
    }
  }

  private func receive(_ octets: [UInt8], _ id: Session.ConnectionID, _ speaker: Speaker, _ link: Int) {
    guard var session = speaker.sessions[link], let peer = speaker.peers[link] else { return }
    octets.withUnsafeBytes { bytes in
      var rest = bytes
      receiving: while true {
        switch session.receive(from: &rest, on: id, now: now) {
        case .update(let update):
          #expect(update.fault == nil && update.discardedAttributes == 0, "a speaker sends what is wrong")
          _ = speaker.rib.apply(update, &session.reader, from: peer)
        case .other:
          speaker.sessions[link] = session
          drain(speaker, link)
          session = speaker.sessions[link] ?? session
        case .nothing: break receiving
        }
      }
    }
    speaker.sessions[link] = session
    pump(speaker)
  }

  private func drain(_ speaker: Speaker, _ link: Int) {
    guard let peer = speaker.peers[link] else { return }
    while let event = speaker.sessions[link]?.nextEvent() {
      act(event, speaker, link, peer)
    }
    pump(speaker)
  }

  private func act(_ event: Session.Event, _ speaker: Speaker, _ link: Int, _ peer: PeerID) {
    let side = links[link].ends[0] == speaker.number ? 0 : 1
    func pipe(_ id: Session.ConnectionID) -> Int? {
      pipes.indices.last { pipeLinks[$0] == link && pipes[$0].ids[side] == id }
    }
    switch event {
    case .connect(let id):
      var new = Pipe()
      new.ids[side] = id
      pipes.append(new)
      pipeLinks.append(link)
      schedule(.incoming(link: link, side: 1 - side, pipe: pipes.count - 1))
    case .send(let id, let octets): send(octets, id, speaker, link)
    case .close(let id):
      guard let pipe = pipe(id) else { return }
      pipes[pipe].ids[side] = nil
      if pipes[pipe].isOpen {
        pipes[pipe].isOpen = false
        schedule(.failed(link: link, side: 1 - side, pipe: pipe))
      }
    case .established(let id, let parameters):
      speaker.connections[link] = id
      var rules = ExportRules(localAS: speaker.autonomousSystem, peerAS: parameters.peerAS)
      rules.nextHopIPv4 = Self.identifier(speaker.number)
      rules.nextHopIPv6 = IPv6Address(high: 0x2001_0db8 << 32, low: UInt64(speaker.number + 1))
      speaker.rib.sessionUp(peer, parameters, export: rules)
    case .ended:
      speaker.connections[link] = nil
      if let retention = speaker.sessions[link]?.retention {
        speaker.rib.sessionLost(peer, retaining: retention, now: now)
      } else {
        speaker.rib.sessionDown(peer)
      }
    case .routeRefresh(let message):
      speaker.rib.refresh(message, of: peer, marked: speaker.sessions[link]?.parameters?.marksRefresh ?? false)
    case .stateChanged: break
    }
  }

  private func send(_ octets: [UInt8], _ id: Session.ConnectionID, _ speaker: Speaker, _ link: Int) {
    let side = links[link].ends[0] == speaker.number ? 0 : 1
    guard let pipe = pipes.indices.last(where: { pipeLinks[$0] == link && pipes[$0].ids[side] == id }),
      pipes[pipe].isOpen
    else { return }
    schedule(.octets(link: link, side: 1 - side, pipe: pipe, octets))
    if links[link].isUp { speaker.sessions[link]?.transportTookAll(now: now) }
  }

  /// Sends all that a speaker has to tell.
  private func pump(_ speaker: Speaker) {
    for link in speaker.connections.keys.sorted() {
      guard let peer = speaker.peers[link], let id = speaker.connections[link] else { continue }
      withUnsafeTemporaryAllocation(byteCount: 65_535, alignment: 8) { buffer in
        while true {
          let count = speaker.rib.nextMessage(for: peer, into: buffer)
          guard count > 0 else { return }
          speaker.sessions[link]?.sentUpdate(now: now)
          send(Array(buffer[..<count]), id, speaker, link)
        }
      }
    }
  }
}
