import BGP
import CBActors
public import Foundation
import Wire

/// A piece of a dump of the tables, on its way to the command that asked: one line of JSON.
public struct DumpPiece: Codable, Hashable, Sendable {
  /// Records of the MRT format, whole ones.
  public var records: Data
  /// Routes so far.
  public var routes: Int
}

/// What is kept of the routing, and who is told of it: one line of JSON.
public struct MonitoringView: Codable, Hashable, Sendable {
  /// Nil where none are written.
  public var dumps: Dumps?
  public var stations: [Station]

  public struct Dumps: Codable, Hashable, Sendable {
    public var directory: String
    /// Seconds; nil for none.
    public var tables: Int?
    public var updates: Int?
    /// Since the PoP began.
    public var files: Int
    public var bytes: Int
    /// Pieces that could not be written.
    public var lost: Int
    public var lastFile: String?
    public var isDumping: Bool
    /// What is wrong now.
    public var troubles: [String]
  }

  public struct Station: Codable, Hashable, Sendable {
    public var name: String
    public var address: String
    public var state: String
    /// In this state.
    public var seconds: Int
    /// Neighbors that it knows to be up.
    public var peers: Int
    /// Of this connection.
    public var messages: UInt64
    public var bytes: UInt64
    /// Bytes that wait for it.
    public var queued: Int
    /// How often it was cut off for being too slow.
    public var cuts: Int
    public var lastTrouble: String?
  }
}

extension MonitoringView.Dumps {
  init(_ status: MRTArchive.Status) {
    self.init(
      directory: status.directory, tables: status.tableInterval.map { Int($0.seconds) },
      updates: status.updateInterval.map { Int($0.seconds) }, files: status.files, bytes: status.octets,
      lost: status.lost, lastFile: status.lastFile, isDumping: status.isDumping, troubles: status.troubles)
  }
}

extension MonitoringView.Station {
  init(_ status: BMPStation.Status, now: Instant) {
    self.init(
      name: status.name, address: "\(status.address)", state: status.state.rawValue,
      seconds: Int((now - status.since).seconds), peers: status.peers, messages: status.messages, bytes: status.octets,
      queued: status.queued, cuts: status.cuts, lastTrouble: status.lastTrouble)
  }
}

extension LookingGlass {
  /// Destinations in a piece.
  private static let piece = 512

  func dump(_ emit: (any Encodable & Sendable) async throws -> Void) async throws {
    var dump = TableDump(timestamp: UInt32(truncatingIfNeeded: Int(Date().timeIntervalSince1970)))
    while !dump.isComplete {
      let next = await speaker.records(of: dump, destinations: Self.piece)
      dump = next.dump
      try await emit(DumpPiece(records: Data(next.octets), routes: dump.routes))
    }
  }
}
