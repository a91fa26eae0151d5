import Foundation
import Testing
import Wire

@testable import QUIC

/// What a connection's qlog says, read back as JSON.
@Suite struct QLogTests {
  /// Collects the traces of both ends.
  final class Collector: @unchecked Sendable {
    var traces: [Role: QLogMemory] = [:]

    func configuration(_ change: (inout Configuration) -> Void = { _ in }) -> Configuration {
      var configuration = Configuration()
      configuration.qlog = { subject in
        let memory = QLogMemory()
        self.traces[subject.role] = memory
        return memory
      }
      change(&configuration)
      return configuration
    }

    func records(_ role: Role) throws -> [[String: Any]] {
      let bytes = try #require(traces[role]).bytes
      return try bytes.split(separator: 0x1e).map { record in
        #expect(record.last == 0x0a, "RFC 7464 §2.1: a record ends with a line feed")
        return try #require(try JSONSerialization.jsonObject(with: Data(record)) as? [String: Any])
      }
    }
  }

  /// The members that each event must have, by the draft; those of a choice are left to the checks below.
  static let required: [String: [String]] = [
    "connection_started": ["local", "remote"], "parameters_set": ["initiator"],
    "recovery_parameters_set": ["timer_granularity"], "packet_sent": ["header", "raw", "frames"],
    "packet_received": ["header", "raw", "frames"], "packet_dropped": ["trigger"],
    "packet_lost": ["header", "trigger"],
    "recovery_metrics_updated": [], "congestion_state_updated": ["new"], "ecn_state_updated": ["new"],
    "key_updated": ["key_type", "trigger"], "key_discarded": ["key_type", "trigger"],
    "connection_id_updated": ["initiator", "new"], "mtu_updated": ["new"], "tuple_assigned": ["tuple_id"],
    "alpn_information": ["chosen_alpn"], "connection_state_updated": ["new"], "connection_closed": ["trigger"],
    "stream_data_moved": ["stream_id", "from", "to", "raw"], "datagram_data_moved": ["from", "to", "raw"],
  ]

  static let frameMembers: [String: [String]] = [
    "padding": ["raw"], "ping": [], "ack": ["acked_ranges", "ack_delay"],
    "reset_stream": ["stream_id", "error", "final_size"], "stop_sending": ["stream_id", "error"],
    "crypto": ["offset", "raw"], "new_token": ["token"], "stream": ["stream_id", "offset", "raw"],
    "max_data": ["maximum"], "max_stream_data": ["stream_id", "maximum"], "max_streams": ["stream_type", "maximum"],
    "data_blocked": ["limit"], "stream_data_blocked": ["stream_id", "limit"],
    "streams_blocked": ["stream_type", "limit"],
    "new_connection_id": ["sequence_number", "retire_prior_to", "connection_id"],
    "retire_connection_id": ["sequence_number"], "path_challenge": ["data"], "path_response": ["data"],
    "connection_close": ["error_space", "reason"], "handshake_done": [], "datagram": ["raw"],
    "unknown": ["frame_type_bytes"],
  ]

  /// Checks header and every event; returns the data of the events by name.
  func check(_ records: [[String: Any]], _ role: Role) throws -> [String: [[String: Any]]] {
    let header = try #require(records.first)
    #expect(header["file_schema"] as? String == "urn:ietf:params:qlog:file:sequential")
    #expect(header["serialization_format"] as? String == "application/qlog+json-seq")
    let trace = try #require(header["trace"] as? [String: Any])
    #expect((trace["vantage_point"] as? [String: Any])?["type"] as? String == (role == .client ? "client" : "server"))
    var events: [String: [[String: Any]]] = [:]
    var last = 0.0
    for record in records.dropFirst() {
      let time = try #require(record["time"] as? Double)
      #expect(time >= last)
      last = time
      let full = try #require(record["name"] as? String)
      #expect(full.hasPrefix("quic:"))
      let name = String(full.dropFirst(5))
      let data = try #require(record["data"] as? [String: Any])
      let required = try #require(Self.required[name], "\(name) is not an event of the draft")
      for member in required { #expect(data[member] != nil, "\(name) without \(member)") }
      for frame in data["frames"] as? [[String: Any]] ?? [] {
        let type = try #require(frame["frame_type"] as? String)
        let members = try #require(Self.frameMembers[type], "\(type) is not a frame of the draft")
        for member in members { #expect(frame[member] != nil, "\(type) without \(member)") }
      }
      events[name, default: []].append(data)
    }
    return events
  }

  func transferred(_ collector: Collector, lossEvery: Int) throws -> ConnectionPair {
    let pair = try ConnectionPair(
      collector.configuration { $0.keyUpdateInterval = 100 }, collector.configuration { $0.keyUpdateInterval = 100 })
    pair.filter = { $0.index > 8 && $0.index % lossEvery == 0 ? nil : $0 }
    #expect(pair.connect())
    let id = try #require(pair.open(.client))
    pair.clientApplication.outgoing[id] = .init(sent: 0, total: 400_000, finish: true)
    pair.serverApplication.reply = .init(sent: 0, total: 1_000, finish: true)
    #expect(pair.run { $0.clientApplication.finished.contains(id) && $0.serverApplication.finished.contains(id) })
    let sent = [UInt8](repeating: 7, count: 100).withUnsafeBytes {
      pair.client.sendDatagram($0, UnsafeRawBufferPointer(start: nil, count: 0))
    }
    #expect(sent)
    #expect(pair.run { !$0.serverApplication.datagrams.isEmpty })
    pair.client.close(code: 7, reason: "\"done\"\n")
    #expect(pair.run { $0.serverApplication.closeReason != nil })
    return pair
  }

  @Test("Every record is JSON of the draft's form, and all that happened is there")
  func wellFormed() throws {
    let collector = Collector()
    let pair = try transferred(collector, lossEvery: 50)
    let client = try check(try collector.records(.client), .client)
    let server = try check(try collector.records(.server), .server)
    for name in Self.required.keys where !["packet_dropped", "tuple_assigned"].contains(name) {
      #expect(client[name] != nil, "a client says \(name)")
    }
    for name in ["connection_started", "parameters_set", "packet_sent", "packet_received", "connection_closed"] {
      #expect(server[name] != nil, "a server says \(name)")
    }
    let statistics = pair.see { ($0.client.statistics, $0.server.statistics) }
    #expect(client["packet_sent"]?.count == Int(statistics.0.packetsSent) + 1, "and CONNECTION_CLOSE")
    #expect(client["packet_received"]?.count == Int(statistics.0.packetsReceived))
    #expect(client["packet_lost"]?.count == Int(statistics.0.packetsLost))
    let moved = client["stream_data_moved"]?.filter { $0["from"] as? String == "application" } ?? []
    #expect(moved.reduce(0) { $0 + (($1["raw"] as? [String: Any])?["length"] as? Int ?? 0) } == 400_000)
    #expect(client["connection_closed"]?.first?["reason"] as? String == "\"done\"\n")
    #expect(server["connection_closed"]?.first?["initiator"] as? String == "remote")
    #expect(client["key_updated"]!.contains { $0["trigger"] as? String == "local_update" })
  }

  @Test("A packet that is dropped is said with its reason, and a path that changes with its addresses")
  func dropsAndPaths() throws {
    let collector = Collector()
    let pair = try ConnectionPair(collector.configuration(), collector.configuration())
    #expect(pair.connect())
    var junk: [UInt8] = [0x40] + [UInt8](repeating: 1, count: 60)
    junk.withUnsafeMutableBytes {
      pair.server.receive($0, path: ConnectionPair.reversed(ConnectionPair.clientPath), ecn: .notECT, now: pair.now)
    }
    let elsewhere = Path(
      local: SocketAddress("192.0.2.77:40001")!, remote: ConnectionPair.clientPath.remote)
    let migrated = pair.client.migrate(to: elsewhere, now: pair.now)
    #expect(migrated)
    pair.run(for: .seconds(2))
    let server = try check(try collector.records(.server), .server)
    let drop = try #require(server["packet_dropped"]?.first)
    #expect(drop["trigger"] as? String == "rejected")
    #expect((drop["header"] as? [String: Any])?["packet_type"] as? String == "1RTT")
    let tuple = try #require(server["tuple_assigned"]?.first)
    #expect((tuple["tuple_remote"] as? [String: Any])?["ip_v4"] as? String == "192.0.2.77")
    #expect(try collector.records(.server).contains { $0["tuple"] as? String == "1" })
  }

  @Test("A trace alters nothing: the same datagrams leave with one and without")
  func changesNothing() throws {
    func datagrams(_ configuration: Configuration) throws -> [[UInt8]] {
      let pair = try ConnectionPair(configuration, configuration)
      pair.keepsLog = true
      #expect(pair.connect())
      let id = try #require(pair.open(.client))
      pair.clientApplication.outgoing[id] = .init(sent: 0, total: 50_000, finish: true)
      #expect(pair.run { $0.serverApplication.finished.contains(id) })
      // TLS has entropy of its own: sizes and times must agree.
      return pair.log.map { [UInt8(truncatingIfNeeded: $0.bytes.count), UInt8(truncatingIfNeeded: $0.index)] }
    }
    #expect(try datagrams(Collector().configuration()) == datagrams(Configuration()))
  }

  @Test("A memory sink keeps to its limit and counts what it leaves out")
  func limit() {
    let memory = QLogMemory(limit: 10)
    for _ in 0..<3 { [UInt8](repeating: 1, count: 4).withUnsafeBytes { memory.write($0) } }
    #expect(memory.bytes.count == 8 && memory.dropped == 1)
  }
}
