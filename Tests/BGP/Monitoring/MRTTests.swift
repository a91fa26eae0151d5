import Foundation
import Testing
import Wire

@testable import BGP

/// A full feed of 2015 (577,706 prefixes), gzipped MRT, that `CBR_FULL_FEED` names. It is too large to stand here.
private let fullFeed: URL? = ProcessInfo.processInfo.environment["CBR_FULL_FEED"].map { URL(fileURLWithPath: $0) }

@Suite("MRT (RFC 6396)")
struct MRTTests {
  private func records(_ octets: [UInt8]) throws -> [MRTRecord] {
    try octets.withUnsafeBytes { bytes throws in
      var reader = MRTReader(bytes)
      var records: [MRTRecord] = []
      while let record = try reader.next() { records.append(record) }
      return records
    }
  }

  private let session = MRTRecord.Session(
    peerAS: 400_000, localAS: 64_512, peer: .v4(IPv4Address(10, 0, 0, 2)), local: .v4(IPv4Address(10, 0, 0, 1)))

  @Test func recordsReadAsTheyWereWritten() throws {
    var narrow = MRTRecord.Session(peerAS: 1, localAS: 2, peer: .v6(.loopback), local: .v6(.any))
    narrow.hasFourOctetAS = false
    let six = attributes([65_001], nextHop: .v6(.loopback)) { $0.communities = [.noExport] }
    var with = MRTRecord.Entry(peer: 1, originated: 5, attributes: attributes([65_001, 400_000]))
    with.pathIdentifier = 9
    let sixes = MRTRecord.Session(peerAS: 1, localAS: 2, interface: 3, peer: .v6(.loopback), local: .v6(.any))
    let all: [MRTRecord] = [
      .init(
        timestamp: 1,
        .peerIndexTable(
          collector: .loopback, view: "main",
          [
            .init(identifier: .loopback, address: .v4(.any), autonomousSystem: 1),
            .init(identifier: .any, address: .v6(.loopback), autonomousSystem: 400_000),
          ])),
      .init(
        timestamp: 2,
        .rib(
          sequence: 3, try prefix("10.0.0.0/9"),
          [.init(peer: 0, originated: 4, attributes: attributes([65_001, 400_000]))])),
      .init(timestamp: 2, .rib(sequence: 4, try prefix("10.0.0.0/9"), [with])),
      .init(
        timestamp: 2,
        .rib(sequence: 5, try prefix("2001:db8::/33"), [.init(peer: 1, originated: 4, attributes: six)])),
      .init(timestamp: 3, .message(session, MessageHeader.keepalive)),
      .init(timestamp: 3, microseconds: 77, .message(sixes, MessageHeader.keepalive)),
      .init(timestamp: 3, .message(narrow, MessageHeader.keepalive)),
      .init(timestamp: 3, .message(session, hasPathIdentifiers: true, MessageHeader.keepalive)),
      .init(timestamp: 3, microseconds: 7, .message(narrow, hasPathIdentifiers: true, MessageHeader.keepalive)),
      .init(timestamp: 4, .stateChange(narrow, from: 1, to: 2)),
      .init(timestamp: 4, .stateChange(session, from: 5, to: 6)),
      .init(timestamp: 4, microseconds: 1, .stateChange(session, from: 6, to: 1)),
    ]
    #expect(try records(all.flatMap(\.serialized)) == all)
    var appended: [UInt8] = []
    MessageHeader.keepalive.withUnsafeBytes {
      MRTRecord.append($0, of: narrow, hasPathIdentifiers: true, seconds: 3, microseconds: 7, to: &appended)
    }
    #expect(appended == all[8].serialized)
    // RFC 8050 §3: the subtypes.
    #expect(all[4...8].map { $0.serialized[7] } == [4, 4, 1, 9, 8])
    // Two-octet AS numbers of old records, and what is not known.
    let old: [UInt8] = [
      0, 0, 0, 9, 0, 16, 0, 0, 0, 0, 0, 20, 0, 1, 0, 2, 0, 0, 0, 1, 1, 1, 1, 1, 2, 2, 2, 2, 0, 1, 0, 2,
    ]
    let strange: [UInt8] = [0, 0, 0, 9, 0, 48, 0, 1, 0, 0, 0, 2, 1, 2]
    let read = try records(old + strange)
    #expect(read.last?.content == .other(type: 48, subtype: 1))
    guard case .stateChange(let session, from: 1, to: 2) = read[0].content else {
      Issue.record("\(read[0])")
      return
    }
    #expect(!session.hasFourOctetAS)
    #expect(session.peerAS == 1 && session.localAS == 2 && session.peer == .v4(IPv4Address(1, 1, 1, 1)))
    // Cut off anywhere, the error says where.
    let whole = all[1].serialized
    for length in 1..<whole.count {
      let found = #expect(throws: MRTRecord.Malformed.self) { try records(Array(whole[..<length])) }
      #expect(found?.offset == 0)
    }
  }

  @Test func theTablesAsADump() throws {
    let network = try RIBNetwork([.init(autonomousSystem: 65_001), .init(autonomousSystem: 65_002)])
    let (one, six, three) = (try prefix("10.1.0.0/16"), try prefix("2001:db8::/32"), try prefix("2001:db8::/33"))
    let hop = IPAddress.v6(IPv6Address(high: 0x2001_0db8_0000_0000, low: 9))
    network.announce([one], attributes([65_001, 7]), from: 0)
    network.announce([one], attributes([65_002]), from: 1)
    network.announce([six], attributes([65_002], nextHop: hop), from: 1)
    network.rib.originate(try prefix("192.0.2.0/24"))
    var octets: [UInt8] = []
    network.announce([three], attributes([65_002], nextHop: hop) { $0.communities = [.noExport] }, from: 1)
    var dump = TableDump(timestamp: 1_000, view: "main")
    var pieces = 0
    while !dump.isComplete {
      dump.write(network.rib, destinations: 1, to: &octets)
      pieces += 1
    }
    #expect(pieces > 3 && dump.routes == 5)
    let read = try records(octets)
    #expect(read.flatMap(\.serialized) == octets, "in pieces and without copies it is written as record by record")
    guard case .peerIndexTable(let collector, _, let peers) = read[0].content else {
      Issue.record("\(read[0])")
      return
    }
    #expect(collector == IPv4Address(10, 0, 0, 1) && peers.map(\.autonomousSystem) == [64_512, 65_001, 65_002])
    let ribs = read.dropFirst().compactMap { record -> (IPPrefix, [MRTRecord.Entry])? in
      guard case .rib(_, let prefix, let entries) = record.content else { return nil }
      return (prefix, entries)
    }
    #expect(ribs.map(\.0) == [one, try prefix("192.0.2.0/24"), six, three])
    #expect(ribs[0].1.map(\.peer) == [2, 1], "the best first")
    #expect(ribs[0].1[1].attributes == attributes([65_001, 7]))
    #expect(ribs[1].1[0].attributes == attributes([], nextHop: .v4(.any)))
    #expect(ribs[2].1[0].attributes.nextHop == hop && ribs[3].1[0].attributes.communities == [.noExport])
  }

  /// A collector's session with a router that sends its whole table, and then what changes: through the reader of UPDATE
  /// messages and into the tables.
  @Test(.enabled(if: fullFeed != nil, "NOT TESTED on a full feed: CBR_FULL_FEED names none"))
  func aFullFeed() throws {
    let file = try #require(fullFeed)
    let gunzip = Process()
    gunzip.executableURL = URL(fileURLWithPath: "/bin/gzip")
    gunzip.arguments = ["-dc", file.path]
    let pipe = Pipe()
    gunzip.standardOutput = pipe
    try gunzip.run()
    let data = try #require(try pipe.fileHandleForReading.readToEnd())
    gunzip.waitUntilExit()

    var rib = RIB(localAS: 3_856, identifier: .loopback, seed: 1)
    let peer = rib.addPeer(address: .v4(IPv4Address(206, 220, 231, 55)), autonomousSystem: 3_856)
    var updates = UpdateReader(.init(families: .unicast, localAS: 3_856, peerAS: 3_856))
    var messages = 0
    var faults = 0
    var atEnd: (destinations: Int, routes: Int, attributeSets: Int)?
    try data.withUnsafeBytes { bytes throws in
      var reader = MRTReader(bytes)
      while let record = try reader.next() {
        if case .other = record.content { Issue.record("\(record)") }
        guard case .message(_, _, let octets) = record.content, octets[18] == MessageType.update.rawValue
        else { continue }
        messages += 1
        if messages % 500 == 0 { #expect(try records(record.serialized) == [record]) }
        try octets.withUnsafeBytes { octets throws in
          let update = try updates.read(UnsafeRawBufferPointer(rebasing: octets[MessageHeader.length...]))
          if update.fault != nil || update.discardedAttributes > 0 { faults += 1 }
          _ = rib.apply(update, &updates, from: peer)
          if update.endOfRIB != nil, atEnd == nil { atEnd = rib.counts }
        }
      }
    }
    let counts = rib.counts
    let words = "\(messages) messages, \(faults) faults, \(String(describing: atEnd)) at the End-of-RIB, then \(counts)"
    #expect(messages == 89_679, "\(words)")
    // One AS_PATH and three AGGREGATORs with AS 0 (RFC 7607), in the wild.
    #expect(faults == 4, "\(words)")
    #expect(atEnd?.destinations == 577_698 && atEnd?.attributeSets == 89_635, "\(words)")
    var dump = TableDump(timestamp: 0)
    var octets: [UInt8] = []
    while !dump.isComplete { dump.write(rib, destinations: 1_024, to: &octets) }
    #expect(dump.routes == counts.routes)
    #expect(try records(octets).count == counts.destinations + 1)
  }
}
