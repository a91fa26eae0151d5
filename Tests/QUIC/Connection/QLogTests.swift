import Foundation
import PacketCrypto
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

  /// The members that each event must have here, and those that the draft lets it have beside them.
  static let members: [String: (required: [String], allowed: [String])] = [
    "connection_started": (["local", "remote"], []),
    "version_information": ([], ["server_versions", "client_versions", "chosen_version"]),
    "alpn_information": (["chosen_alpn"], ["server_alpns", "client_alpns"]),
    "parameters_set": (["initiator"] + parameters, handshakeParameters), "parameters_restored": (parameters, []),
    "recovery_parameters_set": (
      ["timer_granularity"],
      ["reordering_threshold", "time_threshold", "initial_rtt", "persistent_congestion_threshold"]
    ),
    "packet_sent": (["header", "raw", "frames"], []), "packet_received": (["header", "raw", "frames"], []),
    "packet_dropped": (["trigger"], ["header", "raw", "details"]),
    "packet_buffered": (["header", "raw", "trigger"], []),
    "packet_lost": (["header", "trigger"], ["is_mtu_probe_packet"]),
    "recovery_metrics_updated": (
      [],
      ["min_rtt", "smoothed_rtt", "latest_rtt", "rtt_variance", "pto_count", "congestion_window", "bytes_in_flight"]
    ),
    "congestion_state_updated": (["new"], ["old"]), "ecn_state_updated": (["new"], ["old"]),
    "key_updated": (["key_type", "trigger"], ["key_phase"]), "key_discarded": (["key_type", "trigger"], ["key_phase"]),
    "connection_id_updated": (["initiator", "new"], ["old"]), "mtu_updated": (["new"], ["old"]),
    "tuple_assigned": (["tuple_id"], ["tuple_local", "tuple_remote"]), "spin_bit_updated": (["state"], []),
    "connection_state_updated": (["new"], ["old"]),
    "connection_closed": (
      ["trigger"], ["initiator", "connection_error", "application_error", "error_code", "reason"]
    ),
    "stream_state_updated": (["stream_id", "stream_type", "old", "new", "stream_side"], ["trigger"]),
    "stream_data_moved": (["stream_id", "from", "to", "raw"], ["additional_info"]),
    "datagram_data_moved": (["from", "to", "raw"], []),
  ]
  static let parameters = [
    "disable_active_migration", "max_idle_timeout", "max_udp_payload_size", "active_connection_id_limit",
    "initial_max_data", "initial_max_stream_data_bidi_local", "initial_max_stream_data_bidi_remote",
    "initial_max_stream_data_uni", "initial_max_streams_bidi", "initial_max_streams_uni", "max_datagram_frame_size",
    "grease_quic_bit",
  ]
  static let handshakeParameters = [
    "original_destination_connection_id", "initial_source_connection_id", "retry_source_connection_id",
    "ack_delay_exponent", "max_ack_delay",
  ]
  /// The draft's words for some members of events.
  static let words: [String: [String: [String]]] = [
    "connection_state_updated": ["new": states, "old": states],
    "stream_state_updated": [
      "new": ["idle", "open", "closed"], "old": ["idle", "open", "closed"],
      "stream_type": ["unidirectional", "bidirectional"], "stream_side": ["sending", "receiving"],
      "trigger": ["local", "remote"],
    ],
    "packet_buffered": ["trigger": ["backpressure", "keys_unavailable"]],
    "parameters_set": ["initiator": ["local", "remote"]],
    "packet_dropped": [
      "trigger": [
        "internal_error", "rejected", "unsupported", "invalid", "duplicate", "connection_unknown",
        "decryption_failure", "key_unavailable", "general",
      ]
    ],
    "packet_lost": ["trigger": ["reordering_threshold", "time_threshold", "pto_expired"]],
    "ecn_state_updated": ["new": ["testing", "unknown", "failed", "capable"]],
    "connection_closed": [
      "trigger": [
        "idle_timeout", "application", "error", "version_mismatch", "stateless_reset", "aborted", "unspecified",
      ]
    ],
  ]
  static let states = [
    "attempted", "handshake_started", "peer_validated", "early_write", "handshake_complete", "handshake_confirmed",
    "closing", "draining", "closed",
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
      let members = try #require(Self.members[name], "\(name) is not an event of the draft")
      for member in members.required { #expect(data[member] != nil, "\(name) without \(member)") }
      for member in data.keys {
        #expect(members.required.contains(member) || members.allowed.contains(member), "\(name) has no \(member)")
      }
      for (member, words) in Self.words[name] ?? [:] {
        if let word = data[member] as? String { #expect(words.contains(word), "\(member) of \(name)") }
      }
      for frame in data["frames"] as? [[String: Any]] ?? [] {
        let type = try #require(frame["frame_type"] as? String)
        let members = try #require(Self.frameMembers[type], "\(type) is not a frame of the draft")
        for member in members { #expect(frame[member] != nil, "\(type) without \(member)") }
        let length = type == "padding" ? "payload_length" : "length"
        if let raw = frame["raw"] as? [String: Any] { #expect(raw[length] is Int, "\(type) without raw.\(length)") }
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
    let seldom = ["packet_dropped", "tuple_assigned", "packet_buffered", "parameters_restored", "spin_bit_updated"]
    for name in Self.members.keys where !seldom.contains(name) {
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

  private func states(_ events: [String: [[String: Any]]]) -> [String] {
    (events["connection_state_updated"] ?? []).compactMap { $0["new"] as? String }
  }

  @Test("Both ends say every state that a connection passes through, each with the one before")
  func connectionStates() throws {
    let collector = Collector()
    let pair = try ConnectionPair(collector.configuration(), collector.configuration())
    #expect(pair.connect())
    pair.run(for: .seconds(1))
    pair.client.close(code: 0, reason: "")
    pair.run(for: .seconds(20))
    let client = try check(try collector.records(.client), .client)
    let server = try check(try collector.records(.server), .server)
    let common = ["handshake_started", "handshake_complete", "handshake_confirmed"]
    #expect(states(client).filter { $0 != "peer_validated" } == ["attempted"] + common + ["closing", "closed"])
    #expect(
      states(server).filter { $0 != "peer_validated" && $0 != "early_write" }
        == ["attempted"] + common + ["draining", "closed"])
    #expect(states(server).contains("early_write"))
    for events in [client, server] {
      // Where it falls depends on how the server's flight is cut.
      let validated = try #require(states(events).firstIndex(of: "peer_validated"))
      #expect(validated > 0 && validated < (states(events).firstIndex(of: "handshake_confirmed") ?? 0))
      let old = (events["connection_state_updated"] ?? []).compactMap { $0["old"] as? String }
      #expect(old == states(events).dropLast())
    }
  }

  @Test("Each part of a stream is said to open and to end")
  func streamStates() throws {
    let collector = Collector()
    let pair = try transferred(collector, lossEvery: 50)
    _ = pair
    for role in [Role.client, .server] {
      let events = try check(try collector.records(role), role)
      let told = (events["stream_state_updated"] ?? []).filter { $0["stream_id"] as? Int == 0 }
      for side in ["sending", "receiving"] {
        let part = told.filter { $0["stream_side"] as? String == side }
        #expect(part.compactMap { $0["old"] as? String } == ["idle", "open"], "\(role) \(side)")
        #expect(part.compactMap { $0["new"] as? String } == ["open", "closed"], "\(role) \(side)")
        #expect(part.first?["trigger"] as? String == (role == .client ? "local" : "remote"))
      }
    }
  }

  @Test("The versions that each end speaks, the one that is taken, and the one that is agreed on after it")
  func versions() throws {
    let collector = Collector()
    let pair = try ConnectionPair(
      collector.configuration { $0.versions = [.v2, .v1] }, collector.configuration { $0.versions = [.v2, .v1] })
    #expect(pair.connect())
    for (role, member) in [(Role.client, "client_versions"), (.server, "server_versions")] {
      let told = try #require(try check(try collector.records(role), role)["version_information"])
      #expect(told.allSatisfy { $0[member] as? [String] == ["6b3343cf", "00000001"] })
      #expect(told.compactMap { $0["chosen_version"] as? String } == ["00000001", "6b3343cf"])
    }
  }

  @Test("What a client remembers of its server is said, and a packet that waits for its keys")
  func earlyData() throws {
    let clientTLS = try ConnectionFixture.client(offersEarlyData: true)
    let serverTLS = try ConnectionFixture.server(earlyDataContext: [1])
    let first = try ConnectionPair(clientTLS: clientTLS, serverTLS: serverTLS)
    try #require(first.connect())
    first.run(for: .milliseconds(100))
    let collector = Collector()
    let pair = try ConnectionPair(
      collector.configuration(), collector.configuration(), clientTLS: clientTLS, serverTLS: serverTLS, seed: 4)
    pair.holdClientHelloBack()
    pair.flush()
    let id = try #require(pair.open(.client))
    pair.clientApplication.outgoing[id] = .init(total: 3_000, finish: true)
    #expect(pair.run { $0.serverApplication.finished.contains(id) })
    let client = try check(try collector.records(.client), .client)
    let server = try check(try collector.records(.server), .server)
    #expect(client["parameters_restored"]?.count == 1)
    #expect(server["parameters_restored"] == nil)
    let waiting = try #require(server["packet_buffered"])
    #expect(waiting.allSatisfy { ($0["header"] as? [String: Any])?["packet_type"] as? String == "0RTT" })
    #expect(waiting.allSatisfy { ($0["raw"] as? [String: Any])?["length"] is Int })
  }

  @Test("The spin bit is said when it turns")
  func spin() throws {
    let collector = Collector()
    let pair = try ConnectionPair(
      collector.configuration { $0.spins = true }, collector.configuration { $0.spins = true })
    #expect(pair.connect())
    let id = try #require(pair.open(.client))
    pair.clientApplication.outgoing[id] = .init(sent: 0, total: 100_000, finish: true)
    #expect(pair.run { $0.serverApplication.finished.contains(id) })
    let told = (try check(try collector.records(.client), .client)["spin_bit_updated"] ?? []).compactMap {
      $0["state"] as? Bool
    }
    // One path in sixteen does not spin.
    if let shown = pair.see({ $0.client.spin.shown }) {
      #expect(told.count > 1)
      #expect(told.last == shown)
      #expect(zip(told, told.dropFirst()).allSatisfy { $0 != $1 })
    } else {
      #expect(told.isEmpty)
    }
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
