import Foundation
import Testing
import Wire

@testable import BGP

/// The error codes and subcodes that there are, each with what makes us send it.
struct ErrorTableRow: Sendable, CustomTestStringConvertible {
  enum Sending: Sendable {
    /// At messages of ``HostileTests/table``, which plays them.
    case message
    /// Here.
    case stimulus(String, @Sendable (SessionPair) -> Void)
    /// Elsewhere, at what a session alone does not see.
    case elsewhere(String, test: String)
    case never(String)
  }

  var code: UInt8
  var subcode: UInt8
  /// As the registry has it; empty for a code without subcodes.
  var name: String
  var source: String
  var sending: Sending

  init(_ code: UInt8, _ subcode: UInt8, _ name: String, _ source: String, _ sending: Sending) {
    self.code = code
    self.subcode = subcode
    self.name = name
    self.source = source
    self.sending = sending
  }

  var testDescription: String { "\(code)/\(subcode)" }
  var notification: NotificationMessage { NotificationMessage(.init(rawValue: code), subcode: subcode) }

  static let codes: [UInt8: String] = [
    1: "Message Header Error", 2: "OPEN Message Error", 3: "UPDATE Message Error", 4: "Hold Timer Expired",
    5: "Finite State Machine Error", 6: "Cease", 7: "ROUTE-REFRESH Message Error", 8: "Send Hold Timer Expired",
  ]

  static let rows: [ErrorTableRow] = [
    .init(1, 1, "Connection Not Synchronized", "RFC 4271 §6.1", .message),
    .init(1, 2, "Bad Message Length", "RFC 4271 §6.1", .message),
    .init(1, 3, "Bad Message Type", "RFC 4271 §6.1", .message),
    .init(2, 0, "", "RFC 4271 §6.2", .message),
    .init(2, 1, "Unsupported Version Number", "RFC 4271 §6.2", .message),
    .init(2, 2, "Bad Peer AS", "RFC 4271 §6.2", .message),
    .init(2, 3, "Bad BGP Identifier", "RFC 6286 §2.2", .message),
    .init(2, 4, "Unsupported Optional Parameter", "RFC 4271 §6.2", .message),
    .init(2, 5, "subcode 5", "RFC 4271 App. A", .never("deprecated")),
    .init(2, 6, "Unacceptable Hold Time", "RFC 4271 §6.2", .message),
    .init(2, 7, "Unsupported Capability", "RFC 5492 §5", .message),
    .init(2, 11, "Role Mismatch", "RFC 9234 §4.2", .message),
    .init(3, 1, "Malformed Attribute List", "RFC 4271 §6.3", .message),
    .init(3, 2, "Unrecognized Well-known Attribute", "RFC 4271 §6.3", .message),
    .init(
      3, 3, "Missing Well-known Attribute", "RFC 4271 §6.3",
      .never("RFC 7606 §3 d: the prefixes count as withdrawn, and the log says this")),
    .init(
      3, 4, "Attribute Flags Error", "RFC 4271 §6.3", .stimulus(withoutPrefix) { $0.inject(attribute(0x80, 1, [0])) }),
    .init(
      3, 5, "Attribute Length Error", "RFC 4271 §6.3", .stimulus(withoutPrefix) { $0.inject(attribute(0x80, 4, [0])) }),
    .init(
      3, 6, "Invalid ORIGIN Attribute", "RFC 4271 §6.3",
      .stimulus(withoutPrefix) { $0.inject(attribute(0x40, 1, [3])) }),
    .init(3, 7, "subcode 7", "RFC 4271 App. A", .never("deprecated: AS Routing Loop")),
    .init(
      3, 8, "Invalid NEXT_HOP Attribute", "RFC 4271 §6.3",
      .stimulus(withoutPrefix) { $0.inject(attribute(0x40, 3, [224, 0, 0, 1])) }),
    .init(3, 9, "Optional Attribute Error", "RFC 7606 §7.11", .message),
    .init(3, 10, "Invalid Network Field", "RFC 4271 §6.3", .message),
    .init(
      3, 11, "Malformed AS_PATH", "RFC 4271 §6.3",
      .stimulus(withoutPrefix) { $0.inject(attribute(0x40, 2, [9, 1, 0, 0, 0, 1])) }),
    .init(
      4, 0, "", "RFC 4271 §6.5",
      .stimulus("nothing comes for the hold time") { pair in
        pair.isBlackHole = true
        pair.run(for: .seconds(91))
      }),
    .init(
      5, 0, "", "RFC 4271 §6.6",
      .elsewhere("an event that is no message, out of its turn", test: "FiniteStateMachineTests")),
    .init(5, 1, "Receive Unexpected Message in OpenSent State", "RFC 6608 §3", .message),
    .init(5, 2, "Receive Unexpected Message in OpenConfirm State", "RFC 6608 §3", .message),
    .init(5, 3, "Receive Unexpected Message in Established State", "RFC 6608 §3", .message),
    .init(
      6, 1, "Maximum Number of Prefixes Reached", "RFC 4486 §4",
      .elsewhere(
        "more routes than maximumPrefixes", test: "test_bgp_bird.py::test_too_many_prefixes_end_the_session")),
    .init(6, 2, "Administrative Shutdown", "RFC 4486 §4, RFC 9003", .stimulus("the PoP stops") { $0.stop(.a, "bye") }),
    .init(6, 3, "Peer De-configured", "RFC 4486 §4", .never("neighbors change with a restart, which is 6/2")),
    .init(6, 4, "Administrative Reset", "RFC 4486 §4, RFC 9003", .never("no order resets a session")),
    .init(
      6, 5, "Connection Rejected", "RFC 4486 §4",
      .elsewhere(
        "someone connects who is no neighbor; who is one, and held in Idle, gets a TCP reset and no word",
        test: "test_bgp_traps.py::test_a_stranger_is_told_that_it_is_one")),
    .init(6, 6, "Other Configuration Change", "RFC 4486 §4", .never("settings change with a restart, which is 6/2")),
    .init(
      6, 7, "Connection Collision Resolution", "RFC 4486 §4",
      .elsewhere("the lost one of two connections", test: "ErrorTableTests/theLostConnectionOfACollisionIsTold")),
    .init(6, 8, "Out of Resources", "RFC 4486 §4", .never("memory is bounded by maximumPrefixes, which is 6/1")),
    .init(
      6, 9, "Hard Reset", "RFC 8538 §3.1",
      .elsewhere(
        "any Cease, where grace would survive it (N on both sides)",
        test: "SessionRestartTests/aStopForGoodEndsTheGrace")),
    .init(
      6, 10, "BFD Down", "RFC 9384 §2",
      .stimulus("BFD or the link says that the path is dead") { pair in pair.stopAutomatically(.a, .cease(.bfdDown)) }),
    .init(7, 1, "Invalid Message Length", "RFC 7313 §5", .message),
    .init(
      8, 0, "", "RFC 9687 §3.2",
      .elsewhere(
        "the peer reads nothing for the send hold time",
        test: "test_bgp_bird.py::test_a_router_that_reads_nothing_is_given_up")),
  ]

  private static let withoutPrefix = "such an attribute with no prefix to withdraw (RFC 7606 §5.2)"
}

extension SessionPair {
  /// Side b sends an UPDATE of these attributes alone.
  fileprivate func inject(_ attributes: [UInt8]) { inject(message(2, updateBody(attributes)), from: .b) }
}

@Suite("Every error code and subcode")
struct ErrorTableTests {
  private func pair(_ change: (inout PeerConfiguration) -> Void = { _ in }) -> SessionPair {
    var a = SessionPair.configuration(.a)
    a.isPassive = true
    change(&a)
    let pair = SessionPair(a, SessionPair.configuration(.b))
    pair.start(.a)
    pair.start(.b)
    #expect(pair.run(for: .seconds(5)) { $0.isEstablished })
    return pair
  }

  @Test(arguments: ErrorTableRow.rows) func isSentWhereItsSectionSays(row: ErrorTableRow) {
    let played = HostileTests.table.filter {
      guard case .notification(let answer) = $0.answer else { return false }
      return answer.code.rawValue == row.code && answer.subcode == row.subcode
    }
    switch row.sending {
    case .message: #expect(!played.isEmpty)
    case .stimulus(_, let act):
      let pair = pair()
      act(pair)
      pair.run(for: .milliseconds(50))
      let sent = pair.notificationsSent(.a)
      #expect(sent.map(\.code.rawValue) == [row.code] && sent.map(\.subcode) == [row.subcode])
      #expect(pair.causes(.a) == sent.map { .sent($0) } && !pair.isEstablished)
      if !pair.isBlackHole { #expect(pair.causes(.b) == sent.map { .received($0) }) }
    case .elsewhere: break
    case .never: #expect(played.isEmpty)
    }
  }

  /// Whatever comes is the end of the session, and stands in the log by its name.
  @Test(arguments: ErrorTableRow.rows) func isReadAndToldByItsName(row: ErrorTableRow) {
    let pair = pair()
    pair.inject(row.notification.serialized, from: .b)
    pair.run(for: .milliseconds(50))
    #expect(pair.causes(.a) == [.received(row.notification)])
    #expect(pair.notificationsSent(.a).isEmpty, "RFC 4271 §6.4: a NOTIFICATION is not answered")
    let code = ErrorTableRow.codes[row.code] ?? ""
    #expect("\(row.notification)" == (row.name.isEmpty ? code : "\(code): \(row.name)"))
    #expect(pair[.a].lastCause.map { "\($0)" } == "received \(row.notification)")
    #expect(pair.run(for: .seconds(200)) { $0.isEstablished }, "and it is tried again")
  }

  @Test func codesThatNobodyHasGivenAreReadToo() {
    for code in [0, 9, 255] as [UInt8] {
      let pair = pair()
      let strange = NotificationMessage(.init(rawValue: code), subcode: 200, data: [1, 2, 3])
      pair.inject(strange.serialized, from: .b)
      pair.run(for: .milliseconds(50))
      #expect(pair.causes(.a) == [.received(strange)] && "\(strange)" == "Error \(code): subcode 200")
    }
  }

  @Test func theLostConnectionOfACollisionIsTold() {
    let pair = SessionPair(SessionPair.configuration(.a), SessionPair.configuration(.b))
    pair.start(.a)
    pair.start(.b)
    #expect(pair.run(for: .seconds(5)) { $0.isEstablished })
    pair.run(for: .seconds(1))
    let sent = pair.notificationsSent(.a) + pair.notificationsSent(.b)
    #expect(!sent.isEmpty && sent.allSatisfy { $0 == .cease(.collisionResolution) })
  }

  @Test func strangersBeyondSoManyASecondHearNothing() {
    var rejections = ConnectionRejections()
    func told(at milliseconds: Int64) -> Int {
      (0..<100).count { _ in rejections.next(now: .zero + .milliseconds(milliseconds)) != nil }
    }
    #expect([0, 999, 1_000, 1_500, 9_000].map(told) == [10, 0, 10, 0, 10])
    #expect(rejections.next(now: .zero + .seconds(20)) == NotificationMessage.cease(.connectionRejected).serialized)
  }

  // MARK: Written down

  private static let file = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
    .deletingLastPathComponent().appendingPathComponent("docs/bgp-errors.md")

  /// `CBR_WRITE_BGP_ERRORS=1` writes it anew.
  @Test func theTableIsWrittenDown() throws {
    if ProcessInfo.processInfo.environment["CBR_WRITE_BGP_ERRORS"] != nil {
      try Self.document.write(to: Self.file, atomically: true, encoding: .utf8)
    }
    #expect(try String(contentsOf: Self.file, encoding: .utf8) == Self.document, "run with CBR_WRITE_BGP_ERRORS=1")
  }

  private static var document: String {
    let lines = ErrorTableRow.rows.map { row -> String in
      let (when, test) =
        switch row.sending {
        case .message:
          ("at messages of `docs/bgp-hostile.md`", "HostileTests")
        case .stimulus(let when, _): (when, "ErrorTableTests")
        case .elsewhere(let when, let test): (when, test)
        case .never(let why): ("never: \(why)", "ErrorTableTests")
        }
      let name = [ErrorTableRow.codes[row.code] ?? "", row.name].filter { !$0.isEmpty }.joined(separator: ": ")
      return "| \(row.code)/\(row.subcode) | \(name) | \(row.source) | \(when) | \(test) |"
    }
    return """
      # Every error of BGP, and when we send it

      Made by `CBR_WRITE_BGP_ERRORS=1` and the filter `ErrorTable` from the table in `Tests/BGP/ErrorTableTests.swift`, which
      checks each row: that what is named makes us send it, and that it is read, ends the session and is told by its name
      when it comes. Where both sides keep routes through a NOTIFICATION (RFC 8538), a Cease goes within a Hard Reset, and
      any other leaves the routes.

      | error | name | after | we send it | test |
      |---|---|---|---|---|
      \(lines.joined(separator: "\n"))

      """
  }
}
