import Foundation
import Testing
import Wire

@testable import BGP

private let notTested = "NOT TESTED on the public corpora: CBR_BGP_CORPORA names none (scripts/bgp-corpora)"

/// What `scripts/bgp-corpora` made of the public corpora: a JSON object a line.
private let corpora: URL? = ProcessInfo.processInfo.environment["CBR_BGP_CORPORA"].map { URL(fileURLWithPath: $0) }

/// An input of a corpus.
private struct CorpusCase: Decodable {
  enum Kind: String, Decodable {
    /// One message, header first.
    case message
    /// What a peer says from its first octet on, or once the session is established.
    case stream, established
    /// A file of MRT, whose records go to the file of that name and `.ours`, as bgpdump prints them.
    case mrt
  }

  var name: String
  var kind: Kind
  /// Hexadecimal; of `mrt` the file's path.
  var input: String
  var families: [[UInt16]]
  var addPath: Bool
  var fourOctetAS: Bool
  var localAS: UInt32
  var peerAS: UInt32

  var octets: [UInt8] {
    var octets: [UInt8] = []
    var rest = input.utf8[...]
    while rest.count >= 2, let octet = UInt8(String(decoding: rest.prefix(2), as: UTF8.self), radix: 16) {
      octets.append(octet)
      rest = rest.dropFirst(2)
    }
    return octets
  }

  var context: UpdateReader.Context {
    var all: AddressFamilies = []
    for family in families { all.formUnion(AddressFamilies(AddressFamily(afi: family[0], safi: UInt8(family[1])))) }
    var context = UpdateReader.Context(families: all, localAS: localAS, peerAS: peerAS)
    context.addPathFamilies = addPath ? all.intersection(.unicast) : []
    context.usesFourOctetAS = fourOctetAS
    context.enforcesFirstAS = false
    return context
  }
}

/// What we make of it.
private struct CorpusResult: Encodable {
  struct Attributes: Encodable {
    var origin: String
    var asPath: String
    var med: UInt32?
    var localPreference: UInt32?
    var isAtomicAggregate: Bool
    var aggregator: String?
    var communities: [String]
    var largeCommunities: [String]
    var extendedCommunities: [UInt64]
    var originatorID: String?
    var clusterList: [String]
    var others: [UInt8]

    init(_ own: PathAttributes) {
      origin = "\(own.origin)"
      asPath = "\(own.asPath)"
      med = own.multiExitDisc
      localPreference = own.localPreference
      isAtomicAggregate = own.isAtomicAggregate
      aggregator = own.aggregator.map { "\($0.autonomousSystem):\(IPAddress.v4($0.address))" }
      communities = own.communities.map { "\($0)" }
      largeCommunities = own.largeCommunities.map { "\($0)" }
      extendedCommunities = own.extendedCommunities.map(\.rawValue)
      originatorID = own.originatorID.map { "\(IPAddress.v4($0))" }
      clusterList = own.clusterList.map { "\(IPAddress.v4($0))" }
      others = own.others.map(\.type.rawValue)
    }
  }

  var name: String
  /// `takes`, `discards`, or `withdraws` and `notification` with code and subcode behind it; of a stream the state it is
  /// in, too.
  var verdict = ""
  var announced: [[String]] = []
  var withdrawn: [[String]] = []
  /// Rules of flow specifications.
  var flows = 0
  var endOfRIB: String?
  var attributes: Attributes?
  var open: String?
}

private func words(_ notification: NotificationMessage) -> String {
  "\(notification.code.rawValue)/\(notification.subcode)"
}

private func entries(_ nlri: NLRI?, _ nextHop: IPAddress? = nil) -> [[String]] {
  var found: [[String]] = []
  nlri?.forEachPrefix { prefix, identifier in
    found.append(["\(prefix)", "\(identifier)"] + (nextHop.map { ["\($0)"] } ?? []))
  }
  return found
}

/// The attributes as they go into the tables.
private func attributes(
  _ reader: inout UpdateReader, _ update: UpdateMessage, isMultiprotocol: Bool
) -> PathAttributes {
  reader.withCanonicalAttributes(of: update, isMultiprotocol: isMultiprotocol) { PathAttributes(canonical: $0) }
}

/// They stand on the corpora of others, which are not in this repository: `scripts/bgp-corpora` runs it, and compares.
@Suite("Public corpora")
struct CorporaTests {
  @Test(.enabled(if: corpora != nil, Comment(rawValue: notTested)))
  func whatWeMakeOfThem() throws {
    let file = try #require(corpora)
    let decoder = JSONDecoder()
    let encoder = JSONEncoder()
    encoder.outputFormatting = .sortedKeys
    var output = Data()
    for line in try Data(contentsOf: file).split(separator: UInt8(ascii: "\n")) {
      let given = try decoder.decode(CorpusCase.self, from: line)
      var result = CorpusResult(name: given.name)
      switch given.kind {
      case .message: read(given, &result)
      case .stream, .established: play(given, &result)
      case .mrt: result.verdict = try convert(given)
      }
      output += try encoder.encode(result) + [UInt8(ascii: "\n")]
    }
    try output.write(to: file.appendingPathExtension("ours"))
  }

  private func read(_ given: CorpusCase, _ result: inout CorpusResult) {
    let octets = given.octets
    var reader = UpdateReader(given.context)
    octets.withUnsafeBytes { bytes in
      do throws(NotificationMessage) {
        guard let header = try MessageHeader(bytes, maximumLength: MessageHeader.extendedMaximumLength),
          header.messageLength <= bytes.count
        else {
          result.verdict = "incomplete"
          return
        }
        let body = UnsafeRawBufferPointer(rebasing: bytes[MessageHeader.length..<header.messageLength])
        result.verdict = "takes"
        switch header.type {
        case .open:
          let open = try OpenMessage(body: body)
          result.open = "\(open.effectiveAS) \(open.holdTime) \(IPAddress.v4(open.identifier)) \(open.capabilities)"
        case .update: note(try reader.read(body), &reader, &result)
        case .routeRefresh: _ = try RouteRefreshMessage(body: body)
        case .keepalive, .notification: break
        }
      } catch {
        result.verdict = "notification \(words(error))"
      }
    }
  }

  private func note(_ update: UpdateMessage, _ reader: inout UpdateReader, _ result: inout CorpusResult) {
    if update.discardedAttributes > 0 { result.verdict = "discards" }
    if let fault = update.fault { result.verdict = "withdraws \(words(fault))" }
    result.withdrawn = entries(update.withdrawn) + entries(update.mpUnreachable)
    result.announced = entries(update.reachable, update.nextHop) + entries(update.mpReachable, update.mpNextHop)
    result.flows = (update.mpReachable?.flows?.count ?? 0) + (update.mpUnreachable?.flows?.count ?? 0)
    result.endOfRIB = update.endOfRIB.map { "\($0)" }
    let isMultiprotocol = update.mpReachable?.isEmpty == false
    result.attributes = .init(attributes(&reader, update, isMultiprotocol: isMultiprotocol))
  }

  /// It must neither trap nor hang; what comes of it is counted.
  private func play(_ given: CorpusCase, _ result: inout CorpusResult) {
    var own = PeerConfiguration(localAS: given.localAS, identifier: .loopback, peerAS: given.peerAS)
    own.families = .all
    own.isPassive = true
    own.gracefulRestart = GracefulRestartConfiguration()
    var session = Session(own, entropy: SeededEntropy(seed: 1))
    var rib = RIB(localAS: given.localAS, identifier: .loopback, seed: 1)
    let peer = rib.addPeer(
      address: .v4(IPv4Address(10, 0, 0, 2)), autonomousSystem: given.peerAS, maximumPrefixes: 10_000)
    session.start(now: .zero)
    guard let id = session.accept(now: .zero) else { return }
    var other = PeerConfiguration(localAS: given.peerAS, identifier: IPv4Address(10, 0, 1, 1), peerAS: given.localAS)
    other.families = .all
    let before = given.kind == .established ? other.open.serialized + MessageHeader.keepalive : []
    var ends: [String] = []
    for octets in [before, given.octets] {
      octets.withUnsafeBytes { bytes in
        var rest = bytes
        receiving: while true {
          switch session.receive(from: &rest, on: id, now: .zero) {
          case .update(let update): _ = rib.apply(update, &session.reader, from: peer)
          case .other: break
          case .nothing: break receiving
          }
          while let event = session.nextEvent() {
            if case .established(_, let parameters) = event {
              rib.sessionUp(peer, parameters, export: ExportRules(localAS: given.localAS, peerAS: given.peerAS))
            }
            if case .send(_, let octets) = event, octets[18] == 3 {
              ends.append("notification \(octets[19])/\(octets[20])")
            }
            if case .close = event, ends.isEmpty { ends.append("closes") }
          }
        }
      }
    }
    result.verdict = ends.first ?? "stays"
  }

  // MARK: MRT

  /// Writes each record as `bgpdump -m` does; returns how many there were.
  private func convert(_ given: CorpusCase) throws -> String {
    let data = try Data(contentsOf: URL(fileURLWithPath: given.input), options: .mappedIfSafe)
    var dump = BGPDump()
    try data.withUnsafeBytes { bytes throws in
      var reader = MRTReader(bytes)
      while let record = try reader.next() { dump.append(record) }
    }
    try Data(dump.text.utf8).write(to: URL(fileURLWithPath: given.input + ".ours"))
    return "\(dump.records) records, \(dump.unknown) of types that are not known, \(dump.faulty) messages with a fault"
  }
}

/// Text in the manner of bgpdump.
private struct BGPDump {
  var text = ""
  var records = 0
  var unknown = 0
  var faulty = 0
  private var peers: [MRTRecord.Peer] = []

  mutating func append(_ record: MRTRecord) {
    records += 1
    let suffix = record.microseconds == nil ? "" : "_ET"
    let fraction = record.microseconds.map { "." + String(repeating: "0", count: 6 - "\($0)".count) + "\($0)" } ?? ""
    let time = "\(record.timestamp)\(fraction)"
    switch record.content {
    case .peerIndexTable(_, _, let peers): self.peers = peers
    case .rib(_, let prefix, let entries):
      for entry in entries where Int(entry.peer) < peers.count {
        let peer = peers[Int(entry.peer)]
        let identifier = entry.pathIdentifier == 0 ? "" : "\(entry.pathIdentifier)|"
        text += "TABLE_DUMP2\(identifier.isEmpty ? "" : "_AP")|\(time)|B|\(peer.address)|"
        text += "\(peer.autonomousSystem)|\(prefix)|" + identifier + line(entry.attributes, entry.attributes.nextHop)
      }
    case .stateChange(let session, let from, let to):
      text += "BGP4MP\(suffix)|\(time)|STATE|\(session.peer)|\(session.peerAS)|\(from)|\(to)\n"
    case .message(let session, let hasIdentifiers, let octets):
      append(octets, session, hasIdentifiers, "BGP4MP\(suffix)|\(time)|")
    case .other: unknown += 1
    }
  }

  private mutating func append(
    _ octets: [UInt8], _ session: MRTRecord.Session, _ hasPathIdentifiers: Bool, _ start: String
  ) {
    guard octets.count >= MessageHeader.length, octets[18] == MessageType.update.rawValue else { return }
    var context = UpdateReader.Context(families: .unicast, localAS: session.localAS, peerAS: session.peerAS)
    context.enforcesFirstAS = false
    context.isInternal = true
    context.usesFourOctetAS = session.hasFourOctetAS
    if hasPathIdentifiers { context.addPathFamilies = .unicast }
    var reader = UpdateReader(context)
    octets.withUnsafeBytes { octets in
      let body = UnsafeRawBufferPointer(rebasing: octets[MessageHeader.length...])
      guard let update = try? reader.read(body) else {
        faulty += 1
        return
      }
      let peer = "|\(session.peer)|\(session.peerAS)|"
      for nlri in [update.withdrawn, update.mpUnreachable].compactMap(\.self) {
        nlri.forEachPrefix { prefix, _ in text += "\(start)W\(peer)\(prefix)\n" }
      }
      if update.fault != nil { faulty += 1 }
      for (nlri, hop, isMultiprotocol) in [
        (update.reachable, update.nextHop, false),
        (update.mpReachable ?? NLRI.none(.ipv6Unicast), update.mpNextHop, true),
      ] where !nlri.isEmpty && update.fault == nil {
        let rest = line(attributes(&reader, update, isMultiprotocol: isMultiprotocol), hop)
        nlri.forEachPrefix { prefix, _ in text += "\(start)A\(peer)\(prefix)|\(rest)" }
      }
    }
  }

  private func line(_ own: PathAttributes, _ nextHop: IPAddress?) -> String {
    let aggregator = own.aggregator.map { "\($0.autonomousSystem) \(IPAddress.v4($0.address))" } ?? ""
    let communities = (own.communities.map { "\($0)" } + own.largeCommunities.map { "\($0)" }).joined(separator: " ")
    let origin = ["igp": "IGP", "egp": "EGP"]["\(own.origin)".lowercased()] ?? "INCOMPLETE"
    return "\(own.asPath)|\(origin)|\(nextHop.map { "\($0)" } ?? "")|\(own.localPreference ?? 0)|"
      + "\(own.multiExitDisc ?? 0)|\(communities)|\(own.isAtomicAggregate ? "AG" : "NAG")|\(aggregator)|\n"
  }
}
