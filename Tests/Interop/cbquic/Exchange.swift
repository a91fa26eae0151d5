import Foundation
import QUIC
import QUICTLS
import Wire

/// HTTP as one of its versions carries files over a connection.
protocol FileTransfer: AnyObject {
  func handle(_ event: QUIC.Event, on connection: inout QUIC.Connection)
}

/// One connection, with the files that pass over it.
final class Exchange {
  var connection: QUIC.Connection
  let files: Files
  private let tls: TLSHandshake
  private let http: any FileTransfer
  private(set) var closeReason: CloseReason?
  private(set) var issued: [ConnectionID] = []
  private(set) var retired: [ConnectionID] = []

  init(_ connection: consuming QUIC.Connection, tls: TLSHandshake, files: Files, options: Options) {
    let role = connection.role
    self.connection = connection
    self.tls = tls
    self.files = files
    http =
      switch options.alpn {
      case .hq: HTTP09(role: role, files: files)
      case .h3:
        HTTP3Transfer(
          role: role, files: files, tls: tls, authority: options.name, greaseSeed: SystemEntropy.shared.nextUInt64())
      }
  }

  func takeRoutes() -> (issued: [ConnectionID], retired: [ConnectionID]) {
    defer { (issued, retired) = ([], []) }
    return (issued, retired)
  }

  /// Lets the application act on what happened.
  func run() {
    while let event = connection.nextEvent() {
      switch event {
      case .closed(let reason): closeReason = reason
      case .connectionIDIssued(let id): issued.append(id)
      case .connectionIDRetired(let id): retired.append(id)
      default: break
      }
      http.handle(event, on: &connection)
    }
  }

  /// What was seen, as one line of JSON.
  func summary(ecn: [Int]) -> String {
    let statistics = connection.statistics
    let early: String =
      switch tls.earlyData {
      case .notOffered: "not offered"
      case .offered: "offered"
      case .accepted: "accepted"
      case .rejected: "rejected"
      }
    let fields: [String: Any] = [
      "role": "\(connection.role)", "version": "\(connection.version)", "complete": connection.isHandshakeComplete,
      "resumed": connection.isResumed, "earlyData": early, "cipher": tls.cipherSuiteName ?? "",
      "group": tls.keyExchangeGroup ?? "", "alpn": tls.applicationProtocol ?? "",
      "keyUpdates": statistics.keyUpdates, "migrations": statistics.migrations, "sent": statistics.packetsSent,
      "received": statistics.packetsReceived, "lost": statistics.packetsLost, "dropped": statistics.drops.total,
      "stored": files.stored, "bytes": files.bytesReceived, "ecn": ecn, "closed": closeReason.map { "\($0)" } ?? "",
    ]
    guard let data = try? JSONSerialization.data(withJSONObject: fields, options: [.sortedKeys]) else { return "{}" }
    return String(decoding: data, as: UTF8.self)
  }
}
