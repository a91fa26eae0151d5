import FuzzDriver
import Wire

@testable import BGP

/// The first byte says what was negotiated.
@main enum FuzzBGP {
  static func main() {
    runFuzzer([
      "bgp-flowspec": { fuzzFlowspec(UnsafeRawBufferPointer(rebasing: $0.dropFirst()), $0.first ?? 0) },
      "bgp-policies": { fuzzPolicyTexts($0) },
      "bgp-mrt": { fuzzMRT($0) },
      "bgp-bmp": { fuzzBMP($0) },
      "bgp-rtr": { fuzzRTR(UnsafeRawBufferPointer(rebasing: $0.dropFirst()), $0.first ?? 0) },
      "bgp-messages": { fuzzMessages(UnsafeRawBufferPointer(rebasing: $0.dropFirst())) },
      "bgp-updates": { fuzzUpdate(UnsafeRawBufferPointer(rebasing: $0.dropFirst()), $0.first ?? 0) },
      "bgp-session": { fuzzSession(UnsafeRawBufferPointer(rebasing: $0.dropFirst()), $0.first ?? 0) },
    ])
  }
}

/// What parses must serialize, and parse again to the same.
@Sendable func fuzzMessages(_ bytes: UnsafeRawBufferPointer) {
  if let open = try? OpenMessage(body: bytes) {
    let again = open.serialized
    again.withUnsafeBytes { again in
      let body = UnsafeRawBufferPointer(rebasing: again[MessageHeader.length...])
      precondition((try? OpenMessage(body: body)) == open, "what was written reads back as another OPEN")
    }
    _ = try? SessionParameters(fuzzConfiguration, peer: open)
  }
  if let refresh = try? RouteRefreshMessage(body: bytes) {
    precondition(Array(refresh.serialized[MessageHeader.length...]).elementsEqual(bytes))
  }
  _ = try? MessageHeader(bytes, maximumLength: MessageHeader.maximumLength)
}

/// What is read as rules is written as it came, reads back as itself, and has a place in the order.
@Sendable func fuzzFlowspec(_ bytes: UnsafeRawBufferPointer, _ choice: UInt8) {
  if choice & 2 != 0 { return fuzzFlowspecText(String(decoding: bytes, as: UTF8.self)) }
  let family = choice & 1 == 0 ? AddressFamily.ipv4Flowspec : .ipv6Flowspec
  guard let rules = NLRI(family, hasPathIdentifiers: false, bytes).flows else { return }
  for rule in rules {
    precondition(FlowspecRule(family, rule.components) != nil, "what was read cannot be written anew")
    let again = rule.serialized.withUnsafeBytes { NLRI(family, hasPathIdentifiers: false, $0).flows }
    precondition(again == [rule], "a rule reads back as another")
    precondition(!(rule < rule) && !"\(rule)".isEmpty)
  }
  for (one, other) in zip(rules, rules.dropFirst()) where one != other {
    precondition((one < other) != (other < one), "two rules have no order")
  }
}

/// What an operator may write parses as it is printed.
private func fuzzFlowspecText(_ text: String) {
  if let rule = try? FlowspecRule(parsing: text) {
    precondition((try? FlowspecRule(parsing: "\(rule)")) == rule, "a rule's text reads back as another")
  }
  if let actions = try? FlowspecActions(parsing: text) {
    precondition((try? FlowspecActions(parsing: "\(actions)")) == actions, "actions' text reads back as others")
  }
}

/// What is no policy text is refused with a place within the text.
@Sendable func fuzzPolicyTexts(_ bytes: UnsafeRawBufferPointer) {
  let text = String(decoding: bytes, as: UTF8.self)
  func check(_ body: () throws -> Void) {
    do { try body() } catch {
      guard let error = error as? PolicyTextError else { preconditionFailure("another error") }
      precondition(error.offset <= text.count && !error.remedy.isEmpty)
    }
  }
  check {
    let range = try PrefixRange(parsing: text)
    let again = try PrefixRange(parsing: "\(range)")
    precondition(range == again, "a range reads back as another")
  }
  check { _ = try ASPathPattern(parsing: text).matches(ASPath([65_001, 65_002, 1])) }
  check { _ = try CommunityPattern(parsing: text) }
  check { _ = try AnyCommunity(parsing: text) }
}

/// Records that are read are written, and read back as they were.
@Sendable func fuzzMRT(_ bytes: UnsafeRawBufferPointer) {
  var reader = MRTReader(bytes)
  while let record = try? reader.next() {
    let octets = record.serialized
    guard !octets.isEmpty, octets.count < 60_000 else { continue }
    octets.withUnsafeBytes { octets in
      var again = MRTReader(octets)
      guard let read = try? again.next() else { preconditionFailure("a record does not read back") }
      let third = read.serialized
      precondition(Array(octets) == third, "a record is written anew each time")
    }
  }
}

@Sendable func fuzzBMP(_ bytes: UnsafeRawBufferPointer) {
  guard let message = BMPMessage(bytes) else { return }
  let again = message.serialized.withUnsafeBytes { BMPMessage($0) }
  precondition(again == message, "a message reads back as another")
}

/// A router whose cache says this, in pieces.
@Sendable func fuzzRTR(_ bytes: UnsafeRawBufferPointer, _ choice: UInt8) {
  var session = RTRSession()
  var now = Instant.zero
  session.start(now: now)
  session.connected(now: now)
  let size = max(1, Int(choice))
  for start in stride(from: 0, to: bytes.count, by: size) {
    session.receive(UnsafeRawBufferPointer(rebasing: bytes[start..<min(start + size, bytes.count)]), now: now)
    while let event = session.nextEvent() { if event == .connect { session.connected(now: now) } }
    now += .seconds(1)
    session.handleTimeout(now: now)
  }
  session.handleTimeout(now: now + .seconds(400_000))
  precondition(session.origins.count == 0, "what has expired still counts")
}

/// As an established session reads it, with what the choice's other bits negotiate.
@Sendable func fuzzUpdate(_ bytes: UnsafeRawBufferPointer, _ choice: UInt8) {
  var context = UpdateReader.Context(
    families: .all, localAS: 64_512, peerAS: choice & 0x80 == 0 ? 65_001 : 64_512)
  context.usesFourOctetAS = choice & 0x40 == 0
  context.addPathFamilies = choice & 0x20 == 0 ? [] : [.ipv4Unicast, .ipv6Unicast]
  context.enforcesFirstAS = choice & 0x10 == 0
  var reader = UpdateReader(context)
  guard let update = try? reader.read(bytes) else { return }
  for nlri in [update.withdrawn, update.reachable, update.mpReachable, update.mpUnreachable].compactMap({ $0 }) {
    precondition(nlri.prefixes.count == nlri.count, "a field that was accepted is read to its end")
    precondition(!nlri.family.isFlowspec || nlri.flows != nil, "a field that was accepted has a malformed rule")
  }
  for isMultiprotocol in [false, true] {
    let canonical = reader.withCanonicalAttributes(of: update, isMultiprotocol: isMultiprotocol) { Array($0) }
    let attributes = canonical.withUnsafeBytes { PathAttributes(canonical: $0) }
    var writer = AttributeWriter()
    attributes.write(to: &writer, for: isMultiprotocol ? update.mpReachable?.family ?? .ipv4Unicast : .ipv4Unicast)
    let again = writer.bytes.withUnsafeBytes { PathAttributes(canonical: $0) }
    precondition(again == attributes, "attributes read back as others")
  }
  checkMonitoring(of: update, &reader)
}

/// What is kept of an UPDATE is dumped and told to a station in records and messages that read back.
private func checkMonitoring(of update: UpdateMessage, _ reader: inout UpdateReader) {
  var rib = RIB(localAS: 64_512, identifier: .loopback, seed: 1)
  let peer = rib.addPeer(address: .v4(.loopback), autonomousSystem: reader.context.peerAS)
  _ = rib.apply(update, &reader, from: peer)
  var dump = TableDump(timestamp: 1)
  var octets: [UInt8] = []
  while !dump.isComplete { dump.write(rib, destinations: 3, to: &octets) }
  precondition(dump.routes == rib.counts.routes)
  octets.withUnsafeBytes { octets in
    var records = MRTReader(octets)
    do { while try records.next() != nil {} } catch { preconditionFailure("a dump does not read back: \(error)") }
  }
  let form = MonitoredForm(
    addPathFamilies: reader.context.addPathFamilies, usesFourOctetAS: reader.context.usesFourOctetAS)
  var station = UpdateReader(reader.context)
  var told = 0
  func check(_ message: UnsafeRawBufferPointer) {
    guard let header = try? MessageHeader(message, maximumLength: MessageHeader.extendedMaximumLength),
      header.messageLength == message.count,
      let read = try? station.read(UnsafeRawBufferPointer(rebasing: message[MessageHeader.length...]))
    else { preconditionFailure("a station cannot read what it is told") }
    precondition(read.fault == nil, "a station is told what it must treat as withdrawn")
    told += read.reachable.count + (read.mpReachable?.count ?? 0)
  }
  var walk = AdjRIBInWalk()
  while !walk.isComplete { walk.next(rib, destinations: 3, of: [peer: form]) { check($1) } }
  precondition(told == rib.counts.routes, "a station is told all routes once")
}

/// A session whose peer sends these octets once the connection is there.
@Sendable func fuzzSession(_ bytes: UnsafeRawBufferPointer, _ choice: UInt8) {
  var session = Session(fuzzConfiguration, entropy: SeededEntropy(seed: 1))
  var now = Instant.zero
  session.start(now: now)
  guard let id = session.accept(now: now) else { return }
  let size = max(1, Int(choice))
  for start in stride(from: 0, to: bytes.count, by: size) {
    var piece = UnsafeRawBufferPointer(rebasing: bytes[start..<min(start + size, bytes.count)])
    receiving: while true {
      switch session.receive(from: &piece, on: id, now: now) {
      case .update, .other: while session.nextEvent() != nil {}
      case .nothing: break receiving
      }
    }
    now += .seconds(1)
    session.handleTimeout(now: now)
  }
  while session.nextEvent() != nil {}
  session.stop(now: now)
  precondition(session.state == .idle && session.deadline == .distantFuture, "stopped means silent")
}

private let fuzzConfiguration: PeerConfiguration = {
  var configuration = PeerConfiguration(localAS: 64_512, identifier: IPv4Address(192, 0, 2, 1), peerAS: 65_001)
  configuration.families = .all
  configuration.gracefulRestart = GracefulRestartConfiguration()
  configuration.isPassive = true
  return configuration
}()
