import PacketCrypto
import Wire

/// Writes one connection's qlog (draft-ietf-quic-qlog-quic-events) as a JSON text sequence. No key, token or payload is
/// ever written.
///
/// A class, so that a connection that keeps none pays for a nil reference alone.
final class QLogTrace {
  private let sink: any QLogSink
  private let start: Instant
  private var json = JSONText()
  /// What was last written of the state, to tell what is new.
  var known = QLogState()
  /// The TupleID of events (one for each path taken); the first is empty and left out.
  private(set) var tuple = 0

  init(_ sink: any QLogSink, subject: QLogSubject, now: Instant) {
    self.sink = sink
    start = now
    json.append(0x1e)
    json.beginObject()
    json.member("file_schema", "urn:ietf:params:qlog:file:sequential")
    json.member("serialization_format", "application/qlog+json-seq")
    json.member("title", "CloudBridge")
    json.key("trace")
    json.beginObject()
    json.key("vantage_point")
    json.beginObject()
    json.member("type", subject.role == .client ? "client" : "server")
    json.endObject()
    json.key("event_schemas")
    json.beginArray()
    // Implementations of a draft name its number.
    json.value("urn:ietf:params:qlog:events:quic-13")
    json.endArray()
    json.key("common_fields")
    json.beginObject()
    json.member("group_id", subject.originalDestinationID)
    json.member("time_format", "relative_to_epoch")
    json.key("reference_time")
    json.beginObject()
    json.member("clock_type", "monotonic")
    json.member("epoch", "unknown")
    if let time = sink.wallClockTime { json.member("wall_clock_time", time) }
    json.endObject()
    json.endObject()
    json.endObject()
    json.endObject()
    send()
  }

  deinit { sink.flush() }

  func flush() { sink.flush() }

  private func send() {
    json.append(0x0a)
    json.bytes.withUnsafeBytes { sink.write($0) }
    json.clear()
  }

  /// Writes one event; `body` adds the members of its data.
  func event(_ name: StaticString, at now: Instant, _ body: (inout JSONText) -> Void) {
    json.append(0x1e)
    json.beginObject()
    json.member("time", now - start)
    json.member("name", "quic:\(name)")
    if tuple > 0 { json.member("tuple", String(tuple)) }
    json.key("data")
    json.beginObject()
    body(&json)
    json.endObject()
    json.endObject()
    send()
  }

  /// Another path is taken: what follows is about it.
  func assignTuple(_ path: Path, at now: Instant) {
    tuple += 1
    let id = String(tuple)
    event("tuple_assigned", at: now) {
      $0.member("tuple_id", id)
      $0.endpoint("tuple_local", path.local)
      $0.endpoint("tuple_remote", path.remote)
    }
  }
}

/// What a trace has said of the connection's state.
struct QLogState {
  var drops = PacketDrops()
  var path: Path?
  var hasParameters = false
  var metrics: Metrics?
  var congestion: StaticString?
  var ecn: ECNValidation.State?
  var mtu = 0
  var peerID: ConnectionID?
  var hasKeys = InlineArray<3, Bool>(repeating: false)
  var readGeneration: UInt64 = 0
  var writeGeneration: UInt64 = 0
  var version: Version?
  var hasRestored = false
  /// The connection's states that have been said, by bits, and the last of them.
  var states: UInt16 = 0
  var state: StaticString?
  var spin = false
  var streams: [UInt64: StreamSides] = [:]

  struct StreamSides: Equatable {
    var sending = StreamState.idle
    var receiving = StreamState.idle
  }

  /// The draft's BaseStreamStates.
  enum StreamState: String { case idle, open, closed }

  struct Metrics: Equatable {
    var minimum, smoothed, latest, variance: Interval
    var probeTimeouts: Int
    var window, inFlight: UInt64
  }
}

extension JSONText {
  /// A TupleEndpointInfo.
  mutating func endpoint(_ name: StaticString, _ address: SocketAddress) {
    key(name)
    beginObject()
    if address.ip.isIPv4 {
      member("ip_v4", address.ip.description)
      member("port_v4", UInt64(address.port))
    } else {
      member("ip_v6", address.ip.description)
      member("port_v6", UInt64(address.port))
    }
    endObject()
  }
}
