import PacketCrypto
import QUIC

@testable import QUICTLS

/// What a client keeps of the connections that it had: the latest ticket and token.
final class Wallet {
  struct Ticket {
    var number: UInt64
    var version: Version
    /// The server's transport parameters of that connection (RFC 9000 §7.4.1).
    var parameters: [UInt8]
  }

  var ticket: Ticket?
  var token: [UInt8] = []
  var offersEarlyData = false

  /// A ticket is used once (RFC 8446 §C.4).
  func takeTicket() -> Ticket? {
    defer { ticket = nil }
    return ticket
  }

  /// RFC 9000 §8.1.3: so is a token.
  func takeToken() -> [UInt8] {
    defer { token = [] }
    return token
  }
}

/// The tickets that the servers of one service have given, with the register that lets each one's early data in once.
final class TicketBook {
  private struct Entry {
    var version: Version
    /// What its early data goes by.
    var context: [UInt8]
  }

  private var entries: [UInt64: Entry] = [:]
  private let replays = ReplayRegister(limit: 1 << 20) { 0 }
  /// What early data goes by now: the limits of the server that is being asked.
  var context: [UInt8] = []
  /// Takes early data whatever its limits were: right only where none was lowered.
  var ignoresContext = false
  private(set) var resumed = 0
  private(set) var earlyDataAdmitted = 0
  var earlyDataReplayed: UInt64 { replays.refused }

  func give(version: Version) -> UInt64 {
    let number = UInt64(entries.count) &* 0x9e37_79b9_7f4a_7c15 | 1 << 63
    entries[number] = Entry(version: version, context: context)
    return number
  }

  func judge(_ number: UInt64, version: Version, hasEarlyData: Bool) -> (isGood: Bool, admitsEarlyData: Bool) {
    guard let entry = entries[number], entry.version == version else { return (false, false) }
    resumed += 1
    guard hasEarlyData, ignoresContext || entry.context == context else { return (true, false) }
    let isFirst = withUnsafeBytes(of: number) { replays.admit($0) }
    if isFirst { earlyDataAdmitted += 1 }
    return (true, isFirst)
  }
}
