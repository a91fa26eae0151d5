public import Wire

/// The Routing Information Base of a speaker (RFC 4271 §3.2): what all peers have advertised, what is chosen of it, and
/// what each of them is told.
///
/// Updates go in as they are read; ``nextMessage(for:into:)`` writes what a peer is to be sent, as fast as its
/// connection takes it. Nothing waits in between but a mark on each destination that has changed.
public struct RIB: ~Copyable {
  var attributes: AttributeTable
  var ipv4 = RouteTable<UInt32>(.ipv4Unicast)
  var ipv6 = RouteTable<UInt128>(.ipv6Unicast)
  var flows4 = FlowspecTable(.ipv4Flowspec)
  var flows6 = FlowspecTable(.ipv6Flowspec)
  var peers: ContiguousArray<PeerState> = []
  /// By peer.
  var policies: [PeerPolicy] = [PeerPolicy()]
  /// To validate origins by (RFC 6811), for policies that ask.
  public internal(set) var origins = OriginTable()
  /// Routes that are to be judged anew.
  var reviews = PolicyReviews()
  /// By peer: routes that have outlived their session.
  var stale: [StaleRoutes] = [StaleRoutes()]
  /// While this speaker is restarting.
  var deferral: SelectionDeferral?
  /// While peers have yet to tell what the forwarding plane is to have.
  var firstRoutes: SelectionDeferral?
  /// By peer and family.
  var sendings: [Sender?] = [nil]
  var writer = AttributeWriter()

  /// The state of writing to one peer, an object so that the rest of the tables can be at hand with it.
  final class Sender {
    var ipv4: UpdateSending
    var ipv6: UpdateSending
    /// Of flow specifications, which no policy looks at.
    var flows: UpdateSending
    init(_ rules: ExportRules, _ policy: Policy?, _ origins: OriginTable, _ parameters: SessionParameters) {
      let (wide, longest) = (parameters.usesFourOctetAS, parameters.maximumMessageLength)
      ipv4 = .init(rules, policy, origins, usesFourOctetAS: wide, maximumLength: longest)
      ipv6 = .init(rules, policy, origins, usesFourOctetAS: wide, maximumLength: longest)
      flows = .init(rules, nil, origins, usesFourOctetAS: wide, maximumLength: longest)
    }
  }

  /// - Parameter seed: random, so that no peer can choose attributes that collide.
  public init(localAS: UInt32, identifier: IPv4Address, seed: UInt64) {
    attributes = AttributeTable(seed: seed)
    var local = PeerState(autonomousSystem: localAS, address: .v4(.any))
    local.isLocal = true
    local.identifier = identifier.rawValue
    peers.append(local)
  }

  // MARK: Peers

  /// - Parameters:
  ///   - role: the peer's, of RFC 9234.
  ///   - maximumPrefixes: more routes of the peer than this are too many; nil for no bound.
  ///   - policy: see ``PeerPolicy/denyingByDefault`` for RFC 8212.
  public mutating func addPeer(
    address: IPAddress, autonomousSystem: UInt32, role: Capability.Role? = nil, maximumPrefixes: Int? = nil,
    policy: PeerPolicy = PeerPolicy()
  ) -> PeerID {
    precondition(peers.count < Int(PeerID.nobody.raw), "65,534 peers")
    var peer = PeerState(autonomousSystem: autonomousSystem, address: address)
    peer.isInternal = autonomousSystem == peers[0].autonomousSystem
    peer.role = role
    peer.maximumPrefixes = maximumPrefixes
    peers.append(peer)
    sendings.append(nil)
    policies.append(policy)
    stale.append(StaleRoutes())
    return PeerID(raw: UInt16(peers.count - 1))
  }

  /// A session is established: everything is to be told to the peer.
  public mutating func sessionUp(_ peer: PeerID, _ parameters: SessionParameters, export rules: ExportRules) {
    peers[peer.index].identifier = parameters.peerIdentifier.rawValue
    for action in stale[peer.index].sessionUp(parameters) { perform(action, of: peer) }
    deferral?.sessionUp(peer, parameters)
    if deferral?.isComplete == true { deferral = nil }
    firstRoutes?.sessionUp(peer, parameters)
    var rules = rules
    rules.keepsLongLivedStale = !parameters.peerLongLived.isEmpty
    sendings[peer.index] = Sender(rules, policies[peer.index].outgoing, origins, parameters)
    if parameters.families.contains(.ipv4Unicast) { ipv4.openOutput(peer) }
    if parameters.families.contains(.ipv6Unicast) { ipv6.openOutput(peer) }
    if parameters.families.contains(.ipv4Flowspec) { flows4.outputs[peer] = .init() }
    if parameters.families.contains(.ipv6Flowspec) { flows6.outputs[peer] = .init() }
  }

  /// A session has ended: the peer's routes are gone, and it knows none of ours. See
  /// ``sessionLost(_:retaining:now:)`` for one that ended by a restart.
  public mutating func sessionDown(_ peer: PeerID) {
    closeSession(peer)
    stale[peer.index].end()
    removeAll(of: peer, onlyStale: false, families: .all)
  }

  /// The peer knows none of ours.
  mutating func closeSession(_ peer: PeerID) {
    ipv4.closeOutput(peer, &attributes)
    ipv6.closeOutput(peer, &attributes)
    flows4.closeOutput(peer, &attributes)
    flows6.closeOutput(peer, &attributes)
    sendings[peer.index] = nil
    deferral?.sessionDown(peer)
    firstRoutes?.sessionDown(peer)
  }

  mutating func removeAll(of peer: PeerID, onlyStale: Bool, families: AddressFamilies) {
    if families.contains(.ipv4Unicast) {
      peers[peer.index].add(ipv4.withdrawAll(from: peer, &attributes, peers) { !onlyStale || $0.isStale })
    }
    if families.contains(.ipv6Unicast) {
      peers[peer.index].add(ipv6.withdrawAll(from: peer, &attributes, peers) { !onlyStale || $0.isStale })
    }
    if families.contains(.ipv4Flowspec) {
      peers[peer.index].pathCount -= flows4.withdrawAll(from: peer, onlyStale: onlyStale, &attributes)
    }
    if families.contains(.ipv6Flowspec) {
      peers[peer.index].pathCount -= flows6.withdrawAll(from: peer, onlyStale: onlyStale, &attributes)
    }
    flows4.unicastChanged()
    flows6.unicastChanged()
  }

  // MARK: Routes in

  /// What came of an UPDATE message.
  public enum Application: Hashable, Sendable {
    case applied
    /// The peer has more routes than it may (RFC 4271 §6.7).
    case tooManyPrefixes
  }

  /// Takes an UPDATE of a peer into its Adj-RIB-In, and decides anew what it concerns.
  public mutating func apply(
    _ update: UpdateMessage, _ reader: inout UpdateReader, from peer: PeerID
  ) -> Application {
    flows4.unicastChanged()
    flows6.unicastChanged()
    withdraw(update.withdrawn, from: peer)
    if let unreachable = update.mpUnreachable { withdraw(unreachable, from: peer) }
    if !update.reachable.isEmpty {
      advertise(update, update.reachable, update.nextHop, &reader, isMultiprotocol: false, from: peer)
    }
    if let reachable = update.mpReachable, !reachable.isEmpty {
      advertise(update, reachable, update.mpNextHop, &reader, isMultiprotocol: true, from: peer)
    }
    if let family = update.endOfRIB { noteEndOfRIB(family, from: peer) }
    let state = peers[peer.index]
    if let maximum = state.maximumPrefixes, state.pathCount + state.deniedCount > maximum {
      return .tooManyPrefixes
    }
    return .applied
  }

  private mutating func advertise(
    _ update: UpdateMessage, _ nlri: NLRI, _ nextHop: IPAddress?, _ reader: inout UpdateReader, isMultiprotocol: Bool,
    from peer: PeerID
  ) {
    // RFC 7606 §2: as if withdrawn. RFC 4271 §9.1.2: a loop is excluded; so is a leak (RFC 9234 §5).
    // RFC 4456 §8: what we have originated ourselves comes back from a reflector.
    let isOwn = update.summary.originatorID == peers[0].identifier
    if update.fault != nil || update.isLoop || isOwn || isLeak(update.summary, from: peer) {
      return withdraw(nlri, from: peer)
    }
    var summary = update.summary
    summary.nextHop = nextHop
    if isMultiprotocol { summary.linkLocalNextHop = update.mpLinkLocalNextHop?.low ?? 0 }
    let id = reader.withCanonicalAttributes(of: update, isMultiprotocol: isMultiprotocol) {
      attributes.intern($0, summary)
    }
    if let rules = nlri.flows {
      announce(rules, id, from: peer)
    } else if let policy = policies[peer.index].incoming {
      announce(nlri, id, from: peer, by: policy)
    } else {
      announce(nlri, id, from: peer)
    }
    attributes.release(id)
  }

  /// One route. Takes over one hold on `id`.
  private mutating func announce(
    _ prefix: IPPrefix, _ identifier: UInt32, _ id: AttributeTable.ID, from peer: PeerID
  ) {
    let length = UInt8(prefix.length)
    let change =
      switch prefix.address {
      case .v4(let four):
        ipv4.announce(four.rawValue, length, identifier: identifier, from: peer, id, &attributes, peers)
      case .v6(let six): ipv6.announce(six.bits, length, identifier: identifier, from: peer, id, &attributes, peers)
      }
    peers[peer.index].add(RouteCounts(change))
  }

  mutating func withdraw(_ prefix: IPPrefix, _ identifier: UInt32, from peer: PeerID) {
    let length = UInt8(prefix.length)
    let change =
      switch prefix.address {
      case .v4(let four): ipv4.withdraw(four.rawValue, length, identifier: identifier, from: peer, &attributes, peers)
      case .v6(let six): ipv6.withdraw(six.bits, length, identifier: identifier, from: peer, &attributes, peers)
      }
    peers[peer.index].add(RouteCounts(change))
  }

  /// RFC 9234 §5: a route for customers only, from a customer, from a client of ours, or from a peer that is not who
  /// marked it.
  private func isLeak(_ summary: AttributeSummary, from peer: PeerID) -> Bool {
    guard let marked = summary.onlyToCustomer else { return false }
    let source = peers[peer.index]
    switch source.role {
    case .customer, .routeServerClient: return true
    case .peer: return marked != source.autonomousSystem
    default: return false
    }
  }

  private mutating func announce(_ nlri: NLRI, _ id: AttributeTable.ID, from peer: PeerID) {
    peers[peer.index].pathCount +=
      nlri.family == .ipv4Unicast
      ? ipv4.announce(nlri, from: peer, id, &attributes, peers)
      : ipv6.announce(nlri, from: peer, id, &attributes, peers)
  }

  mutating func withdraw(_ nlri: NLRI, from peer: PeerID) {
    guard !nlri.isEmpty else { return }
    if let rules = nlri.flows { return withdraw(rules, from: peer) }
    peers[peer.index].add(
      nlri.family == .ipv4Unicast
        ? ipv4.withdraw(nlri, from: peer, &attributes, peers) : ipv6.withdraw(nlri, from: peer, &attributes, peers))
  }

  /// Announces a prefix of our own, or changes the attributes of one (RFC 4271 §9.4).
  public mutating func originate(_ prefix: IPPrefix, _ own: PathAttributes = PathAttributes()) {
    own.write(to: &writer, for: prefix.address.isIPv4 ? .ipv4Unicast : .ipv6Unicast)
    let summary = own.summary
    let id = writer.bytes.withUnsafeBytes { attributes.intern($0, summary) }
    announce(prefix, 0, id, from: .local)
    flows4.unicastChanged()
    flows6.unicastChanged()
  }

  /// Takes a prefix of our own back.
  public mutating func withdraw(_ prefix: IPPrefix) {
    withdraw(prefix, 0, from: .local)
    flows4.unicastChanged()
    flows6.unicastChanged()
  }

  // MARK: Routes out

  /// Writes the next message for a peer: an UPDATE, or a mark around a refresh. How many octets, 0 when there is nothing
  /// to say now.
  ///
  /// - Parameter buffer: at least as long as the longest message of the session.
  public mutating func nextMessage(for peer: PeerID, into buffer: UnsafeMutableRawBufferPointer) -> Int {
    guard deferral == nil, let sender = sendings[peer.index] else { return 0 }
    let count = ipv4.nextMessage(for: peer, into: buffer, &sender.ipv4, &attributes, peers)
    if count > 0 { return count }
    let next = ipv6.nextMessage(for: peer, into: buffer, &sender.ipv6, &attributes, peers)
    if next > 0 { return next }
    guard flows4.outputs[peer] != nil || flows6.outputs[peer] != nil else { return 0 }
    settleFlows()
    let flow = flows4.nextMessage(for: peer, into: buffer, &sender.flows, &attributes, peers)
    return flow > 0 ? flow : flows6.nextMessage(for: peer, into: buffer, &sender.flows, &attributes, peers)
  }

  /// Whether there may be something to say to a peer.
  public func hasMessages(for peer: PeerID) -> Bool {
    func isWaiting<Bits>(_ table: borrowing RouteTable<Bits>) -> Bool {
      peer.index < table.outputs.count && table.outputs[peer.index]?.isIdle == false
    }
    func isWaiting(_ table: borrowing FlowspecTable) -> Bool {
      table.outputs[peer].map { !$0.isIdle || table.isDirty } ?? false
    }
    return deferral == nil && (isWaiting(ipv4) || isWaiting(ipv6) || isWaiting(flows4) || isWaiting(flows6))
  }

  // MARK: Refresh

  /// What a peer does not name again is gone when it says that it has named all.
  mutating func markStale(_ peer: PeerID, _ families: AddressFamilies) {
    if families.contains(.ipv4Unicast) { ipv4.markStale(peer) }
    if families.contains(.ipv6Unicast) { ipv6.markStale(peer) }
    if families.contains(.ipv4Flowspec) { flows4.markStale(peer) }
    if families.contains(.ipv6Flowspec) { flows6.markStale(peer) }
  }

  /// The peer wants everything again, or says where its own refresh begins and ends (RFC 2918, RFC 7313).
  public mutating func refresh(_ message: RouteRefreshMessage, of peer: PeerID, marked: Bool) {
    switch message.subtype {
    case .request:
      switch message.family {
      case .ipv4Unicast: ipv4.refreshOutput(peer, marked: marked)
      case .ipv6Unicast: ipv6.refreshOutput(peer, marked: marked)
      case .ipv4Flowspec: flows4.refreshOutput(peer, marked: marked)
      case .ipv6Flowspec: flows6.refreshOutput(peer, marked: marked)
      default: break
      }
    case .beginning: markStale(peer, AddressFamilies(message.family))
    case .end:
      removeAll(of: peer, onlyStale: true, families: AddressFamilies(message.family))
    }
  }
}
