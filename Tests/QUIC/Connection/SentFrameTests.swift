import Foundation
import QUICTLS
import Testing
import Wire

@testable import QUIC

/// What an end says, and in which packets, read from its own qlog: rules that no peer enforces.
@Suite struct SentFrameTests {
  /// Goes through one end's trace and checks each packet as it was sent.
  private struct Audit {
    private static let handshakeFrames: Set<String> = ["padding", "ping", "ack", "crypto", "connection_close"]
    private static let neverEarly: Set<String> = [
      "ack", "crypto", "new_token", "handshake_done", "path_response", "retire_connection_id",
    ]

    let role: Role
    /// Numbers received, by packet-number space; highest number sent.
    private var received: [String: Set<Int>] = [:]
    private var sent: [String: Int] = [:]
    private var hasOneRTTKeys = false
    private(set) var isComplete = false
    private(set) var isConfirmed = false
    /// Where the CRYPTO data that was sent at each level ends.
    private var cryptoEnds: [String: Int] = [:]
    private var lastIssued = 0
    /// What the RESET_STREAM frames of a stream said.
    private var resets: [Int: [Int]] = [:]
    private(set) var frameCounts: [String: Int] = [:]
    private(set) var packetCounts: [String: Int] = [:]

    init(_ role: Role) { self.role = role }

    private static func space(_ type: String) -> String { type == "0RTT" ? "1RTT" : type }

    mutating func take(_ record: [String: Any]) throws {
      guard let name = record["name"] as? String, let data = record["data"] as? [String: Any] else { return }
      switch name {
      case "quic:key_updated":
        if (data["key_type"] as? String)?.contains("1rtt") == true { hasOneRTTKeys = true }
      case "quic:connection_state_updated":
        if data["new"] as? String == "handshake_complete" { isComplete = true }
        if data["new"] as? String == "handshake_confirmed" { isConfirmed = true }
      case "quic:packet_received":
        let (type, number) = try header(data)
        received[Self.space(type), default: []].insert(number)
      case "quic:packet_sent":
        let (type, number) = try header(data)
        packetCounts[type, default: 0] += 1
        // RFC 9000 §12.3: numbers rise, over 0-RTT and 1-RTT packets together.
        if let last = sent[Self.space(type)] { #expect(number > last, "\(role) \(type) \(number)") }
        sent[Self.space(type)] = number
        if type == "0RTT" { #expect(role == .client && !hasOneRTTKeys, "0-RTT packet \(number) of the \(role)") }
        for frame in try #require(data["frames"] as? [[String: Any]]) { try check(frame, in: type, number) }
      default: break
      }
    }

    private func header(_ data: [String: Any]) throws -> (String, Int) {
      let header = try #require(data["header"] as? [String: Any])
      return (try #require(header["packet_type"] as? String), try #require(header["packet_number"] as? Int))
    }

    private mutating func check(_ frame: [String: Any], in type: String, _ number: Int) throws {
      let kind = try #require(frame["frame_type"] as? String)
      frameCounts[kind, default: 0] += 1
      let about = "\(role): \(kind) in \(type) packet \(number)"
      switch type {
      case "initial", "handshake": #expect(Self.handshakeFrames.contains(kind), "\(about)")
      case "0RTT": #expect(!Self.neverEarly.contains(kind), "\(about)")
      default: break
      }
      func integer(_ member: String) throws -> Int { try #require(frame[member] as? Int, "\(about)") }
      switch kind {
      case "ack":
        for range in try #require(frame["acked_ranges"] as? [[Int]]) {
          for acknowledged in range[0]...(range.last ?? range[0]) {
            #expect(received[type]?.contains(acknowledged) == true, "\(about): of \(acknowledged)")
          }
        }
      case "crypto":
        // What is new follows what was sent at this very level, and the rest is sent again there.
        let length = ((frame["raw"] as? [String: Any])?["payload_length"] as? Int) ?? 0
        let start = try integer("offset")
        #expect(start <= cryptoEnds[type, default: 0], "\(about)")
        cryptoEnds[type] = max(cryptoEnds[type, default: 0], start + length)
      case "connection_close":
        if type != "1RTT" {
          #expect(frame["error_space"] as? String == "transport" && !isConfirmed, "\(about)")
          #expect((frame["reason"] as? String)?.contains("secret") == false, "\(about)")
        }
      case "handshake_done": #expect(role == .server && isComplete, "\(about)")
      case "new_token": #expect(role == .server, "\(about)")
      case "new_connection_id":
        let sequence = try integer("sequence_number")
        #expect(sequence <= lastIssued + 1, "\(about)")
        lastIssued = max(lastIssued, sequence)
      case "reset_stream":
        let said = [try integer("error_code"), try integer("final_size")]
        let id = try integer("stream_id")
        if let before = resets[id] { #expect(before == said, "\(about)") }
        resets[id] = said
      case "stream", "stream_data_blocked":
        #expect(resets[try integer("stream_id")] == nil, "\(about): after its reset")
      default: break
      }
    }
  }

  private static func audit(_ collector: QLogTests.Collector, _ role: Role) throws -> Audit {
    var audit = Audit(role)
    for record in try collector.records(role) { try audit.take(record) }
    return audit
  }

  /// A connection with everything in it: early data or none, losses, resets, datagrams, a key update, a migration.
  private static func live(_ seed: UInt64, early: Bool) throws -> QLogTests.Collector {
    let collector = QLogTests.Collector()
    let entropy = SeededEntropy(seed: seed &+ 11)
    var server = collector.configuration { $0.addressTokens = AddressTokens(entropy: SeededEntropy(seed: 7)) }
    server.maximumStreamWindow = 60_000
    server.initialMaxStreamDataBidiRemote = 60_000
    // A client that seals tokens, being a server as well, has no right to send any.
    let client = collector.configuration { $0.addressTokens = server.addressTokens }
    let clientTLS = try ConnectionFixture.client(offersEarlyData: early)
    let serverTLS = try ConnectionFixture.server(earlyDataContext: early ? [1] : nil)
    if early {
      let first = try ConnectionPair(Configuration(), server, clientTLS: clientTLS, serverTLS: serverTLS)
      #expect(first.connect())
      first.run(for: .milliseconds(100))
    }
    let pair = try ConnectionPair(client, server, clientTLS: clientTLS, serverTLS: serverTLS, seed: seed &+ 50)
    pair.filter = { entropy.nextUInt64() % 100 < 8 ? nil : $0 }
    pair.serverApplication.reply = .init(total: 90_000, finish: true)
    pair.flush()
    if !early { #expect(pair.connect()) }
    let ids = (0..<6).compactMap { _ in pair.open(.client) }
    #expect(ids.count == 6)
    for id in ids { pair.clientApplication.outgoing[id] = .init(total: 90_000, finish: true) }
    pair.run { pair in ids.contains { pair.serverApplication.received[$0] ?? 0 > 20_000 } }
    pair.client.reset(ids[1], code: 5)
    pair.server.reset(ids[2], code: 6)
    pair.server.stopReading(ids[3], code: 7)
    #expect(pair.connect())
    pair.client.initiateKeyUpdate()
    _ = [UInt8](repeating: 1, count: 300).withUnsafeBytes { pair.client.sendDatagram($0, .init(start: nil, count: 0)) }
    #expect(
      pair.run { $0.serverApplication.finished.contains(ids[0]) && $0.clientApplication.finished.contains(ids[0]) })
    let path = Path(local: SocketAddress("203.0.113.9:40000")!, remote: ConnectionPair.clientPath.remote)
    _ = pair.client.migrate(to: path, now: pair.now)
    pair.run(for: .seconds(3))
    pair.server.close(code: 9, reason: "secret")
    pair.run { $0.clientApplication.closeReason != nil }
    return collector
  }

  @Test(arguments: 0..<6 as Range<UInt64>, [false, true])
  func eachFrameIsWhereItBelongs(seed: UInt64, early: Bool) throws {
    let collector = try Self.live(seed, early: early)
    let client = try Self.audit(collector, .client)
    let server = try Self.audit(collector, .server)
    for audit in [client, server] {
      #expect(audit.isComplete && audit.isConfirmed)
      for kind in ["ack", "crypto", "stream", "new_connection_id"] {
        #expect(audit.frameCounts[kind] ?? 0 > 0, "\(kind)")
      }
    }
    #expect((client.packetCounts["0RTT"] ?? 0 > 0) == early)
    #expect(server.frameCounts["handshake_done"] ?? 0 > 0 && server.frameCounts["new_token"] ?? 0 > 0)
    #expect(client.frameCounts["reset_stream"] ?? 0 > 0 && server.frameCounts["reset_stream"] ?? 0 > 0)
    #expect(client.frameCounts["datagram"] ?? 0 > 0)
  }

  /// RESET_STREAM is lost twice: it says the same each time, and nothing else is said of the stream.
  @Test func aResetIsRepeatedAsItWas() throws {
    let collector = QLogTests.Collector()
    let pair = try ConnectionPair(collector.configuration(), Configuration())
    #expect(pair.connect())
    let id = try #require(pair.open(.client))
    pair.clientApplication.outgoing[id] = .init(total: 500_000, finish: true)
    pair.run { $0.serverApplication.received[id] ?? 0 > 5_000 }
    pair.clientApplication.outgoing = [:]
    pair.filter = { $0.from == .client ? nil : $0 }
    pair.client.reset(id, code: 5)
    pair.run(for: .milliseconds(400))
    pair.filter = { $0 }
    #expect(pair.run { $0.serverApplication.has(.streamReset(id, code: 5)) })
    let audit = try Self.audit(collector, .client)
    #expect(audit.frameCounts["reset_stream"] ?? 0 >= 2)
  }

  /// RFC 9000 §3.3: of a stream whose data have all been acknowledged nothing more is said, whoever asks.
  @Test func aStreamThatIsDoneIsNotReset() throws {
    let collector = QLogTests.Collector()
    let pair = try ConnectionPair(collector.configuration(), Configuration())
    #expect(pair.connect())
    let id = try #require(pair.open(.client))
    pair.clientApplication.outgoing[id] = .init(total: 5_000, finish: true)
    #expect(pair.run { $0.serverApplication.finished.contains(id) })
    pair.run(for: .seconds(1))
    #expect(pair.see { $0.client.statistics.bytesInFlight } == 0)
    // The server's side is open still: the stream lives.
    #expect(pair.see { $0.client.liveStreamCount } == 1)
    let before = try Self.audit(collector, .client).frameCounts["stream"]
    pair.inject(from: .server) { writer in
      writer.writeStopSending(id, code: 7)
      writer.writeMaxStreamData(id, maximum: 1 << 20)
    }
    pair.client.reset(id, code: 5)
    pair.run(for: .seconds(2))
    let audit = try Self.audit(collector, .client)
    #expect(audit.frameCounts["reset_stream"] == nil && audit.frameCounts["stream_data_blocked"] == nil)
    #expect(audit.frameCounts["stream"] == before)
    #expect(pair.see { !$0.client.isClosed })
  }

  /// Closed at any moment, an end says so in packets that the other can read, and of an application's reason nothing
  /// where anyone could.
  @Test(arguments: 0..<9) func closingIsSaidWhereItMayBe(step: Int) throws {
    let collector = QLogTests.Collector()
    let pair = try ConnectionPair(collector.configuration(), collector.configuration())
    for _ in 0..<step { pair.step() }
    pair.client.close(code: 9, reason: "secret")
    pair.run { $0.serverApplication.closeReason != nil }
    #expect(pair.serverApplication.closeReason != nil)
    let audit = try Self.audit(collector, .client)
    #expect(audit.frameCounts["connection_close"] ?? 0 > 0)
  }
}
