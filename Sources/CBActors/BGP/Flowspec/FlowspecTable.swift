import Wire

/// A change of the rules that are to be enforced.
public enum FlowspecEvent: Hashable, Sendable {
  /// A new rule, or other actions for one that is there.
  case install(FlowspecRule, FlowspecActions)
  case remove(FlowspecRule)
}

/// The flow specifications of one family: of all peers, the chosen ones, and what each peer has been told.
///
/// Rules are few, so that this is plain: what is chosen is worked out anew when something has changed and someone asks.
struct FlowspecTable {
  struct Path {
    var peer: PeerID
    var attributes: AttributeTable.ID
    var isStale = false
    /// As of ``settle(_:_:isFeasible:)``.
    var isFeasible = false
  }

  /// What a peer has been told, and is to be told.
  struct Output {
    var advertised: [FlowspecRule: AttributeTable.ID] = [:]
    /// All is to be looked at again.
    var isDirty = true
    /// What is the peer's already is to be sent again.
    var repeats = false
    var owesEndOfRIB = true
    /// Marks around a refresh (RFC 7313).
    var owesBeginning = false
    var owesEnd = false
    /// In the order of the rules; nil is a withdrawal.
    var pending: [(FlowspecRule, AttributeTable.ID?)] = []

    var isIdle: Bool { !isDirty && pending.isEmpty && !owesEndOfRIB && !owesBeginning && !owesEnd }
  }

  let family: AddressFamily
  private(set) var paths: [FlowspecRule: [Path]] = [:]
  /// As told by ``events(_:)``.
  private var installed: [FlowspecRule: FlowspecActions] = [:]
  /// Of each rule with a feasible path, the best.
  private(set) var best: [FlowspecRule: Path] = [:]
  /// ``best`` may be another now.
  private(set) var isDirty = false
  /// ``events(_:)`` may have something to tell.
  private var hasEvents = false
  var outputs: [PeerID: Output] = [:]

  init(_ family: AddressFamily) { self.family = family }

  var isEmpty: Bool { paths.isEmpty && installed.isEmpty }

  // MARK: Rules in

  /// Takes over one hold on `attributes`. True for a path that was not there.
  mutating func announce(
    _ rule: FlowspecRule, from peer: PeerID, _ attributes: AttributeTable.ID, _ table: inout AttributeTable
  ) -> Bool {
    isDirty = true
    if let at = paths[rule]?.firstIndex(where: { $0.peer == peer }), let old = paths[rule]?[at] {
      table.release(old.attributes)
      paths[rule]?[at] = Path(peer: peer, attributes: attributes)
      return false
    }
    paths[rule, default: []].append(Path(peer: peer, attributes: attributes))
    return true
  }

  /// How many paths it took out.
  mutating func withdraw(_ rule: FlowspecRule, from peer: PeerID, _ table: inout AttributeTable) -> Int {
    remove(rule, &table) { $0.peer == peer }
  }

  mutating func withdrawAll(from peer: PeerID, onlyStale: Bool, _ table: inout AttributeTable) -> Int {
    var removed = 0
    for rule in paths.keys { removed += remove(rule, &table) { $0.peer == peer && (!onlyStale || $0.isStale) } }
    return removed
  }

  mutating func markStale(_ peer: PeerID) {
    for (rule, all) in paths {
      for (at, path) in all.enumerated() where path.peer == peer { paths[rule]?[at].isStale = true }
    }
  }

  private mutating func remove(
    _ rule: FlowspecRule, _ table: inout AttributeTable, where matches: (Path) -> Bool
  ) -> Int {
    guard let all = paths[rule] else { return 0 }
    let left = all.filter { !matches($0) }
    for path in all where matches(path) { table.release(path.attributes) }
    paths[rule] = left.isEmpty ? nil : left
    if left.count < all.count { isDirty = true }
    return all.count - left.count
  }

  /// A unicast route has changed, and with it which rules are feasible.
  mutating func unicastChanged() { if !paths.isEmpty { isDirty = true } }

  // MARK: The choice

  /// Chooses anew what has changed.
  ///
  /// - Parameter isFeasible: RFC 8955 §6, of a rule's path.
  mutating func settle(
    _ table: borrowing AttributeTable, _ peers: ContiguousArray<PeerState>, isFeasible: (FlowspecRule, Path) -> Bool
  ) {
    guard isDirty else { return }
    isDirty = false
    hasEvents = true
    var decision = DecisionProcess()
    var chosen: [FlowspecRule: Path] = [:]
    for (rule, all) in paths {
      decision.begin()
      for (at, path) in all.enumerated() {
        let isFeasible = isFeasible(rule, path)
        if path.isFeasible != isFeasible { paths[rule]?[at].isFeasible = isFeasible }
        guard isFeasible else { continue }
        decision.add(
          .init(index: UInt32(at), table.summary(path.attributes), peers[path.peer.index], pathIdentifier: 0))
      }
      if let (at, _) = decision.decide() { chosen[rule] = all[Int(at)] }
    }
    best = chosen
    for peer in outputs.keys { outputs[peer]?.isDirty = true }
  }

  /// What is to be done since it was asked last, in the order of the rules; removals first.
  mutating func events(_ table: borrowing AttributeTable) -> [FlowspecEvent] {
    guard hasEvents else { return [] }
    hasEvents = false
    var events: [FlowspecEvent] = []
    for rule in installed.keys.sorted() where best[rule] == nil {
      installed[rule] = nil
      events.append(.remove(rule))
    }
    for rule in best.keys.sorted() {
      guard let path = best[rule] else { continue }
      let actions = FlowspecActions(table.attributes(path.attributes).extendedCommunities)
      guard installed[rule] != actions else { continue }
      installed[rule] = actions
      events.append(.install(rule, actions))
    }
    return events
  }

  /// What is enforced, first to last (RFC 8955 §5.1).
  var rules: [(FlowspecRule, FlowspecActions)] {
    installed.keys.sorted().compactMap { rule in installed[rule].map { (rule, $0) } }
  }

  // MARK: Rules out

  mutating func refreshOutput(_ peer: PeerID, marked: Bool) {
    guard var output = outputs[peer] else { return }
    output.isDirty = true
    output.repeats = true
    if marked, !output.owesEndOfRIB {
      output.owesBeginning = true
      output.owesEnd = true
    }
    outputs[peer] = output
  }

  mutating func closeOutput(_ peer: PeerID, _ table: inout AttributeTable) {
    guard let output = outputs.removeValue(forKey: peer) else { return }
    for id in output.advertised.values { table.release(id) }
  }

  /// Notes what a peer is to be told. ``settle(_:_:isFeasible:)`` was called before.
  private mutating func gather(
    _ peer: PeerID, _ output: inout Output, _ sending: inout UpdateSending, _ table: inout AttributeTable,
    _ peers: ContiguousArray<PeerState>
  ) {
    output.isDirty = false
    output.pending = []
    for rule in output.advertised.keys.sorted() where best[rule].map({ $0.peer == peer }) ?? true {
      withdraw(rule, &output, &table)
    }
    for rule in best.keys.sorted() {
      guard let path = best[rule], path.peer != peer else { continue }
      let source = peers[path.peer.index]
      let summary = table.summary(path.attributes)
      guard sending.rules.refusal(of: summary, from: source) == nil,
        let written = sending.rules.write(
          table.bytes(path.attributes), summary, from: source, family: family, to: &sending.writer),
        sending.writer.bytes.count * (sending.usesFourOctetAS ? 1 : 2) + rule.bytes.count + 64 <= sending.maximumLength
      else {
        withdraw(rule, &output, &table)
        continue
      }
      let id = sending.writer.bytes.withUnsafeBytes { table.intern($0, written) }
      if let old = output.advertised[rule] {
        table.release(old)
        if old == id, !output.repeats {
          continue
        }
      }
      output.advertised[rule] = id
      output.pending.append((rule, id))
    }
    output.repeats = false
  }

  private func withdraw(_ rule: FlowspecRule, _ output: inout Output, _ table: inout AttributeTable) {
    guard let id = output.advertised.removeValue(forKey: rule) else { return }
    table.release(id)
    output.pending.append((rule, nil))
  }

  /// Writes the next message for a peer; how many octets, 0 for nothing to say.
  mutating func nextMessage(
    for peer: PeerID, into buffer: UnsafeMutableRawBufferPointer, _ sending: inout UpdateSending,
    _ table: inout AttributeTable, _ peers: ContiguousArray<PeerState>
  ) -> Int {
    guard var output = outputs[peer] else { return 0 }
    defer { outputs[peer] = output }
    if output.owesBeginning {
      output.owesBeginning = false
      return write(RouteRefreshMessage(family, .beginning).serialized, to: buffer)
    }
    // What was noted and not sent is noted again: nothing of it is counted as told but by `advertised`.
    if output.isDirty, output.pending.isEmpty { gather(peer, &output, &sending, &table, peers) }
    if !output.pending.isEmpty {
      let (rule, id) = output.pending.removeFirst()
      return write(rule, id, buffer, &sending, table)
    }
    if output.owesEndOfRIB {
      output.owesEndOfRIB = false
      return write(UpdateWriter.endOfRIB(family), to: buffer)
    }
    if output.owesEnd {
      output.owesEnd = false
      return write(RouteRefreshMessage(family, .end).serialized, to: buffer)
    }
    return 0
  }

  private func write(_ message: [UInt8], to buffer: UnsafeMutableRawBufferPointer) -> Int {
    guard message.count <= buffer.count else { return 0 }
    buffer.copyBytes(from: message)
    return message.count
  }

  private func write(
    _ rule: FlowspecRule, _ id: AttributeTable.ID?, _ buffer: UnsafeMutableRawBufferPointer,
    _ sending: inout UpdateSending, _ table: borrowing AttributeTable
  ) -> Int {
    var writer = UpdateWriter(buffer, limit: sending.maximumLength)
    let afi: [UInt8] = [UInt8(family.afi >> 8), UInt8(family.afi & 0xff), family.safi]
    writer.append(word: 0)
    writer.beginField()
    writer.append([0x90, (id == nil ? AttributeType.mpUnreachNLRI : .mpReachNLRI).rawValue])
    writer.beginField()
    // RFC 8955 §4: the next hop's length is 0; then the reserved octet.
    writer.append(id == nil ? afi : afi + [0, 0])
    writer.append(rule.serialized)
    writer.endField()
    if let id {
      if sending.usesFourOctetAS {
        writer.append(table.bytes(id))
      } else {
        sending.writer.narrow(table.bytes(id))
        sending.writer.bytes.withUnsafeBytes { writer.append($0) }
      }
    }
    writer.endField()
    return writer.finish()
  }
}
