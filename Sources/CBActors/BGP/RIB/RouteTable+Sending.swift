import Wire

/// What it takes to write to one peer of one family, besides the table itself.
struct UpdateSending: ~Copyable {
  var rules: ExportRules
  var policy: Policy? { didSet { policyDependsOnPrefix = policy?.dependsOnPrefix ?? false } }
  private(set) var policyDependsOnPrefix: Bool
  /// For policies that ask.
  var origins: OriginTable
  var usesFourOctetAS: Bool
  var maximumLength: Int
  var writer = AttributeWriter()
  /// What policy has made of attributes, before the rules.
  var policyWriter = AttributeWriter()
  var cache = ExportCache()

  init(
    _ rules: ExportRules, _ policy: Policy?, _ origins: OriginTable, usesFourOctetAS: Bool, maximumLength: Int
  ) {
    self.rules = rules
    self.origins = origins
    self.policy = policy
    policyDependsOnPrefix = policy?.dependsOnPrefix ?? false
    self.usesFourOctetAS = usesFourOctetAS
    self.maximumLength = maximumLength
  }
}

/// The Update-Send process (RFC 4271 §9.2): what a peer is to be told, packed into as few messages as hold it.
extension RouteTable {
  /// Destinations that are looked at before the next messages are written: routes of the same attributes among so many
  /// share a message.
  private static var batch: Int { 8_192 }

  /// Begins to tell a peer everything.
  mutating func openOutput(_ peer: PeerID) {
    while outputs.count <= peer.index { outputs.append(nil) }
    outputs[peer.index] = AdjRIBOut()
  }

  /// Tells a peer everything again.
  mutating func refreshOutput(_ peer: PeerID, marked: Bool) {
    if peer.index < outputs.count { outputs[peer.index]?.refresh(marked: marked) }
  }

  /// Looks at everything again, and tells a peer what is to be another now.
  mutating func revisitOutput(_ peer: PeerID) {
    if peer.index < outputs.count { outputs[peer.index]?.revisit() }
  }

  /// Forgets what a peer has been told.
  mutating func closeOutput(_ peer: PeerID, _ table: inout AttributeTable) {
    guard peer.index < outputs.count, let output = outputs[peer.index] else { return }
    outputs[peer.index] = nil
    for (number, raw) in output.advertised.enumerated() where raw != 0 {
      table.release(AttributeTable.ID(raw: raw))
      destinations[number].holders -= 1
      reclaim(number)
    }
    letGo(output.marked)
    letGo(output.withdrawals[output.withdrawalHead...])
  }

  /// Writes the next message for a peer; how many octets, 0 for nothing to say.
  mutating func nextMessage(
    for peer: PeerID, into buffer: UnsafeMutableRawBufferPointer, _ sending: inout UpdateSending,
    _ table: inout AttributeTable, _ peers: ContiguousArray<PeerState>
  ) -> Int {
    guard peer.index < outputs.count, outputs[peer.index] != nil else { return 0 }
    while true {
      // Proof for the unwrap: nothing here closes the output. It is never copied: its arrays are long.
      switch outputs[peer.index]!.nextTask {
      case .withdraw: return writeWithdrawal(peer, buffer, sending)
      case .advertise: return writeAdvertisement(peer, buffer, &sending, table)
      case .gather: gather(peer, &sending, &table, peers)
      case .beginRefresh: return write(RouteRefreshMessage(family, .beginning).serialized, to: buffer)
      case .endRIB: return write(UpdateWriter.endOfRIB(family), to: buffer)
      case .endRefresh: return write(RouteRefreshMessage(family, .end).serialized, to: buffer)
      case .nothing: return 0
      }
    }
  }

  /// Looks at the next destinations, and notes what of them the peer is to be told.
  private mutating func gather(
    _ peer: PeerID, _ sending: inout UpdateSending, _ table: inout AttributeTable, _ peers: ContiguousArray<PeerState>
  ) {
    outputs[peer.index]!.beginGathering()
    var looked = 0
    while looked < Self.batch {
      if looked.isMultiple(of: NLRI.group) { bringNear(peer, table) }
      guard let (number, wasMarked, repeats) = outputs[peer.index]!.next(limit: trie.numberLimit) else { break }
      looked += 1
      if wasMarked { destinations[number].holders -= 1 }
      let wanted = export(number, to: peer, &sending, &table, peers)
      let present = outputs[peer.index]!.attributes(number)
      // RFC 4271 §9.2: "A BGP speaker SHOULD NOT advertise a given feasible BGP route from its Adj-RIB-Out if it would
      // produce an UPDATE message containing the same BGP route as was previously advertised."
      if wanted == present {
        table.release(wanted)
      } else {
        // What held it for us, the Adj-RIB-Out holds.
        table.release(present)
        outputs[peer.index]!.set(number, wanted)
        if present == .none { destinations[number].holders += 1 }
        if wanted == .none {
          // What the route held, its withdrawal holds.
          outputs[peer.index]!.withdrawals.append(UInt32(number))
          continue
        }
      }
      if wanted != .none, wanted != present || repeats {
        outputs[peer.index]!.advertisements.append(UInt64(wanted.raw) << 32 | UInt64(number))
      } else if wasMarked {
        reclaim(number)
      }
    }
    outputs[peer.index]!.advertisements.sort()
  }

  /// Brings near what the next destinations are about to be asked.
  private mutating func bringNear(_ peer: PeerID, _ table: borrowing AttributeTable) {
    withUnsafeTemporaryAllocation(of: UInt32.self, capacity: NLRI.group) { numbers in
      let next = outputs[peer.index]!.marked.prefix(NLRI.group)
      let ahead = UnsafeMutableBufferPointer(rebasing: numbers[..<next.count])
      _ = ahead.initialize(fromContentsOf: next)
      bringNear(ahead, table)
    }
  }

  /// The attributes with which a destination's best route goes to the peer, held for the caller; none where it does not.
  private mutating func export(
    _ number: Int, to peer: PeerID, _ sending: inout UpdateSending, _ table: inout AttributeTable,
    _ peers: ContiguousArray<PeerState>
  ) -> AttributeTable.ID {
    guard destinations[number].first != noPath else { return .none }
    let best = paths[Int(destinations[number].first)]
    guard best.peer != peer else { return .none }
    if !sending.policyDependsOnPrefix, let known = sending.cache.find(best.attributes, best.peer, &table) {
      return known
    }
    let source = peers[best.peer.index]
    let summary = table.summary(best.attributes)
    var result = AttributeTable.ID.none
    if sending.rules.refusal(of: summary, from: source) == nil,
      let written = write(number, best, to: &sending, table, source)
    {
      // Of narrowed attributes there may be both forms.
      let longest = sending.writer.bytes.count * (sending.usesFourOctetAS ? 1 : 2) + 64
      // RFC 4271 §9.2: "If, due to the limits on the maximum size of an UPDATE message (see Section 4), a single route
      // doesn't fit into the message, the BGP speaker MUST not advertise the route to its peers".
      if longest <= sending.maximumLength {
        result = sending.writer.bytes.withUnsafeBytes { table.intern($0, written) }
      }
    }
    if !sending.policyDependsOnPrefix { sending.cache.insert(best.attributes, best.peer, result, table) }
    return result
  }

  /// Writes a route's attributes as policy and rules want them; nil where they do not want them at all.
  private func write(
    _ number: Int, _ best: RoutePath, to sending: inout UpdateSending, _ table: borrowing AttributeTable,
    _ source: PeerState
  ) -> AttributeSummary? {
    guard let policy = sending.policy else {
      return sending.rules.write(
        table.bytes(best.attributes), table.summary(best.attributes), from: source, family: family, to: &sending.writer)
    }
    let decision = policy.evaluate(
      policyRoute(number, best, table, source, sending.origins, localAS: sending.rules.localAS))
    guard decision.verdict == .permit else { return nil }
    decision.attributes.write(to: &sending.policyWriter, for: family)
    return sending.policyWriter.bytes.withUnsafeBytes {
      sending.rules.write(
        $0, decision.attributes.summary, from: source, family: family, policy: decision, to: &sending.writer)
    }
  }

  /// A route as policy looks at it.
  func policyRoute(
    _ number: Int, _ path: RoutePath, _ table: borrowing AttributeTable, _ source: PeerState,
    _ origins: OriginTable, localAS: UInt32
  ) -> PolicyRoute {
    let (bits, length) = trie.prefix(number)
    var route = PolicyRoute(
      IPPrefix(bits, length), table.attributes(path.attributes), peerAS: source.autonomousSystem,
      isLocal: source.isLocal)
    route.validity = origins.validity(of: route.prefix, origin: route.attributes.asPath.origin(localAS: localAS))
    return route
  }

  // MARK: Messages

  private func write(_ message: [UInt8], to buffer: UnsafeMutableRawBufferPointer) -> Int {
    guard message.count <= buffer.count else { return 0 }
    buffer.copyBytes(from: message)
    return message.count
  }

  private mutating func writeWithdrawal(
    _ peer: PeerID, _ buffer: UnsafeMutableRawBufferPointer, _ sending: borrowing UpdateSending
  ) -> Int {
    var writer = UpdateWriter(buffer, limit: sending.maximumLength)
    if family == .ipv4Unicast {
      writer.beginField()
    } else {
      writer.append(word: 0)
      writer.beginField()
      writer.append([0x90, AttributeType.mpUnreachNLRI.rawValue])
      writer.beginField()
      writer.append([UInt8(family.afi >> 8), UInt8(family.afi & 0xff), family.safi])
    }
    let pending = outputs[peer.index]!.withdrawals
    let first = outputs[peer.index]!.withdrawalHead
    var head = first
    while head < pending.count {
      let prefix = trie.prefix(Int(pending[head]))
      // The length of the attributes is still to come behind.
      guard writer.append(prefix.bits, prefix.length, reserving: 2) else { break }
      head += 1
    }
    letGo(pending[first..<head])
    outputs[peer.index]!.withdrawalHead = head
    writer.endField()
    if family == .ipv4Unicast { writer.append(word: 0) } else { writer.endField() }
    return writer.finish()
  }

  private mutating func writeAdvertisement(
    _ peer: PeerID, _ buffer: UnsafeMutableRawBufferPointer, _ sending: inout UpdateSending,
    _ table: borrowing AttributeTable
  ) -> Int {
    var writer = UpdateWriter(buffer, limit: sending.maximumLength)
    let pending = outputs[peer.index]!.advertisements
    var head = outputs[peer.index]!.advertisementHead
    let raw = UInt32(pending[head] >> 32)
    let canonical = table.bytes(AttributeTable.ID(raw: raw))
    // The form of a family other than IPv4 begins with the next hop in an MP_REACH_NLRI of its own.
    let nextHop = family == .ipv4Unicast ? 0 : 3 + Int(canonical[2])
    let others = UnsafeRawBufferPointer(rebasing: canonical[nextHop...])
    if sending.usesFourOctetAS {
      head = writeAdvertisement(
        pending, from: head, raw, UnsafeRawBufferPointer(rebasing: canonical[..<nextHop]), others, &writer)
    } else {
      sending.writer.narrow(others)
      head = sending.writer.bytes.withUnsafeBytes {
        writeAdvertisement(
          pending, from: head, raw, UnsafeRawBufferPointer(rebasing: canonical[..<nextHop]), $0, &writer)
      }
    }
    outputs[peer.index]!.advertisementHead = head
    return writer.finish()
  }

  /// Writes one UPDATE with the routes that share a set of attributes, as many as fit; where the next ones begin.
  private func writeAdvertisement(
    _ pending: ContiguousArray<UInt64>, from head: Int, _ raw: UInt32, _ nextHop: UnsafeRawBufferPointer,
    _ others: UnsafeRawBufferPointer, _ writer: inout UpdateWriter
  ) -> Int {
    var head = head
    writer.append(word: 0)
    writer.beginField()
    if nextHop.isEmpty {
      writer.append(others)
      writer.endField()
      appendPrefixes(pending, &head, raw, &writer, reserving: 0)
    } else {
      writer.append([0x90, AttributeType.mpReachNLRI.rawValue])
      writer.beginField()
      writer.append(UnsafeRawBufferPointer(rebasing: nextHop[3...]))
      appendPrefixes(pending, &head, raw, &writer, reserving: others.count)
      writer.endField()
      writer.append(others)
      writer.endField()
    }
    return head
  }

  private func appendPrefixes(
    _ pending: ContiguousArray<UInt64>, _ head: inout Int, _ raw: UInt32, _ writer: inout UpdateWriter, reserving: Int
  ) {
    while head < pending.count, UInt32(pending[head] >> 32) == raw {
      let prefix = trie.prefix(Int(UInt32(truncatingIfNeeded: pending[head])))
      guard writer.append(prefix.bits, prefix.length, reserving: reserving) else { break }
      head += 1
    }
  }
}

/// Writes one UPDATE message. Whoever writes sees to it that the fixed parts fit; prefixes are refused that do not.
struct UpdateWriter {
  private let buffer: UnsafeMutableRawBufferPointer
  private let limit: Int
  private var count = MessageHeader.length
  /// Where the lengths of fields that are open stand.
  private var fields: (Int, Int) = (0, 0)
  private var depth = 0

  init(_ buffer: UnsafeMutableRawBufferPointer, limit: Int) {
    self.buffer = buffer
    self.limit = min(limit, buffer.count)
  }

  /// An End-of-RIB (RFC 4724 §2).
  static func endOfRIB(_ family: AddressFamily) -> [UInt8] {
    family == .ipv4Unicast
      ? MessageHeader.bytes(.update, bodyLength: 4) + [0, 0, 0, 0]
      : MessageHeader.bytes(.update, bodyLength: 10)
        + [0, 0, 0, 6, 0x80, 15, 3, UInt8(family.afi >> 8), UInt8(family.afi & 0xff), family.safi]
  }

  mutating func append(word: UInt16) {
    guard limit - count >= 2 else { return }
    buffer.storeBytes(of: word.bigEndian, toByteOffset: count, as: UInt16.self)
    count += 2
  }

  mutating func append(_ bytes: [UInt8]) { bytes.withUnsafeBytes { append($0) } }

  mutating func append(_ bytes: UnsafeRawBufferPointer) {
    guard bytes.count > 0, limit - count >= bytes.count else { return }
    UnsafeMutableRawBufferPointer(rebasing: buffer[count..<count + bytes.count]).copyMemory(from: bytes)
    count += bytes.count
  }

  /// A length of two octets, to be filled in at the end of what follows.
  mutating func beginField() {
    if depth == 0 { fields.0 = count } else { fields.1 = count }
    depth += 1
    append(word: 0)
  }

  mutating func endField() {
    depth -= 1
    let at = depth == 0 ? fields.0 : fields.1
    buffer.storeBytes(of: UInt16(truncatingIfNeeded: count - at - 2).bigEndian, toByteOffset: at, as: UInt16.self)
  }

  /// A prefix as NLRI (RFC 4271 §4.3), behind its path identifier where it has one (RFC 7911 §3). False, and nothing
  /// written, where it does not fit with `reserving` octets behind.
  @inline(__always)
  mutating func append<Bits: PrefixBits>(
    _ bits: Bits, _ length: UInt8, identifier: UInt32? = nil, reserving: Int
  ) -> Bool {
    let octets = (Int(length) + 7) / 8
    guard limit - count - reserving >= 1 + octets + (identifier == nil ? 0 : 4) else { return false }
    if let identifier {
      buffer.storeBytes(of: identifier.bigEndian, toByteOffset: count, as: UInt32.self)
      count += 4
    }
    buffer[count] = length
    for index in 0..<octets {
      buffer[count + 1 + index] = UInt8(truncatingIfNeeded: bits >> Bits(Bits.bitWidth - 8 - 8 * index))
    }
    count += 1 + octets
    return true
  }

  /// Writes the header; how long the message is.
  func finish() -> Int {
    buffer.storeBytes(of: UInt64.max, toByteOffset: 0, as: UInt64.self)
    buffer.storeBytes(of: UInt64.max, toByteOffset: 8, as: UInt64.self)
    buffer.storeBytes(of: UInt16(truncatingIfNeeded: count).bigEndian, toByteOffset: 16, as: UInt16.self)
    buffer[18] = MessageType.update.rawValue
    return count
  }
}
