import Testing
import Wire

@testable import BGP

@Suite("Messages: header, OPEN, NOTIFICATION, ROUTE-REFRESH")
struct MessageTests {
  // MARK: Header (RFC 4271 §6.1)

  private func header(_ bytes: [UInt8], maximumLength: Int = 4_096) throws(NotificationMessage) -> MessageHeader? {
    try reading(bytes) { bytes throws(NotificationMessage) in try MessageHeader(bytes, maximumLength: maximumLength) }
  }

  private func headerError(_ bytes: [UInt8], maximumLength: Int = 4_096) -> NotificationMessage? {
    notification { () throws(NotificationMessage) in try header(bytes, maximumLength: maximumLength) }
  }

  @Test func aHeaderNeedsItsNineteenOctets() throws {
    for count in 0..<19 { #expect(try header(Array(MessageHeader.keepalive.prefix(count))) == nil) }
    let whole = try #require(try header(MessageHeader.keepalive))
    #expect(whole.type == .keepalive && whole.messageLength == 19)
  }

  @Test(arguments: 0..<16) func aMarkerOctetThatIsNotAllOnes(at index: Int) {
    var bytes = MessageHeader.keepalive
    bytes[index] = 0xfe
    #expect(headerError(bytes) == .connectionNotSynchronized)
  }

  @Test(arguments: [
    (UInt8(4), 18), (4, 20), (4, 0), (1, 28), (2, 22), (3, 20), (2, 4_097), (1, 4_097), (3, 65_535),
  ])
  func aLengthThatItsTypeDoesNotAllow(type: UInt8, length: Int) {
    let error = headerError(message(type, [], length: length))
    #expect(error == .badMessageLength(UInt16(length)))
    #expect(error?.code.rawValue == 1 && error?.subcode == 2)
    #expect(error?.data == [UInt8(length >> 8), UInt8(length & 0xff)])
  }

  @Test func extendedMessagesReachFurtherButNotOpen() throws {
    #expect(headerError(message(2, [], length: 65_535), maximumLength: 65_535) == nil)
    #expect(headerError(message(1, [], length: 4_097), maximumLength: 65_535) == .badMessageLength(4_097))
  }

  @Test(arguments: [UInt8(0), 6, 77, 255]) func aTypeThatIsNotKnown(type: UInt8) {
    #expect(headerError(message(type, [])) == .badMessageType(type))
    #expect(headerError(message(type, []))?.data == [type])
  }

  // MARK: Stream

  /// Whatever the pieces in which the octets come, the messages are the same.
  @Test(arguments: [1, 2, 7, 18, 19, 20, 31, 64, 1_000])
  func messagesAreCutOutOfAnyPieces(size: Int) throws {
    let wanted: [[UInt8]] = [[], [1, 2, 3, 4], [], Array(repeating: 7, count: 500), []]
    let octets = wanted.flatMap { $0.isEmpty ? MessageHeader.keepalive : message(2, $0) }
    let stream = MessageStream()
    var got: [[UInt8]] = []
    for start in stride(from: 0, to: octets.count, by: size) {
      try octets[start..<min(start + size, octets.count)].withUnsafeBytes { piece in
        var rest = piece
        while let message = try stream.next(from: &rest, maximumLength: 4_096) { got.append(Array(message.body)) }
        #expect(rest.isEmpty)
      }
    }
    #expect(got == wanted)
    #expect(stream.pendingCount == 0)
  }

  // MARK: OPEN (RFC 4271 §6.2)

  private func openBody(
    version: UInt8 = 4, number: UInt16 = 64_512, hold: UInt16 = 90, id: [UInt8] = [192, 0, 2, 1],
    parameters: [UInt8] = [0]
  ) -> [UInt8] {
    [version, UInt8(number >> 8), UInt8(number & 0xff), UInt8(hold >> 8), UInt8(hold & 0xff)] + id + parameters
  }

  @Test func anOpenReadsBackAsItWasWritten() throws {
    let capabilities: [Capability] = [
      .multiprotocol(.ipv4Unicast), .multiprotocol(.ipv6Unicast), .routeRefresh, .enhancedRouteRefresh,
      .extendedMessage, .role(.customer),
      .gracefulRestart(
        .init(
          restartTime: 120, families: [.init(.ipv4Unicast, isForwardingPreserved: true)], hasRestarted: true,
          survivesNotification: true)),
      .addPath([.init(.ipv4Unicast, receives: true, sends: false), .init(.ipv6Unicast, receives: true, sends: true)]),
      .unknown(code: 73, value: [1, 2, 3]),
    ]
    let open = OpenMessage(
      autonomousSystem: 4_200_000_000, holdTime: 90, identifier: IPv4Address(192, 0, 2, 1), capabilities: capabilities)
    #expect(open.autonomousSystem == 23_456)
    #expect(open.effectiveAS == 4_200_000_000)
    let bytes = open.serialized
    let again = try bytes.withUnsafeBytes { bytes in
      let header = try #require(try MessageHeader(bytes, maximumLength: 4_096))
      #expect(header.type == .open && header.messageLength == bytes.count)
      return try OpenMessage(body: UnsafeRawBufferPointer(rebasing: bytes[19...]))
    }
    #expect(again == open)
  }

  @Test func optionalParametersMayBeLongerThan255Octets() throws {
    let many = (0..<40).map { Capability.unknown(code: UInt8(100 + $0), value: Array(repeating: 9, count: 20)) }
    let open = OpenMessage(autonomousSystem: 1, holdTime: 0, identifier: .loopback, capabilities: many)
    let bytes = open.serialized
    #expect(bytes[28] == 255 && bytes[29] == 255)
    #expect(try bytes.withUnsafeBytes { try OpenMessage(body: UnsafeRawBufferPointer(rebasing: $0[19...])) } == open)
  }

  @Test func aVersionThatIsNotFour() {
    #expect(openBody(version: 3).openError == .unsupportedVersion)
    #expect(openBody(version: 5).openError?.data == [0, 4])
  }

  @Test func anUnknownOptionalParameter() {
    #expect(openBody(parameters: [3, 1, 1, 0]).openError == .unsupportedOptionalParameter)
  }

  @Test(
    arguments: [
      // Optional parameters that are longer or shorter than their length says.
      [5, 2, 1], [1, 2, 0], [0, 2, 0],
      // A capability that runs out of its parameter.
      [3, 2, 1, 1], [4, 2, 2, 2, 9],
      // Known capabilities of wrong sizes.
      [7, 2, 5, 1, 3, 0, 1, 0], [5, 2, 3, 2, 1, 0], [6, 2, 4, 65, 2, 1, 1], [5, 2, 3, 64, 1, 0], [4, 2, 2, 9, 0],
      [6, 2, 4, 69, 2, 0, 1], [5, 2, 3, 6, 1, 0], [5, 2, 3, 70, 1, 0],
    ] as [[UInt8]])
  func malformedParametersAreUnspecific(parameters: [UInt8]) {
    #expect(openBody(parameters: parameters).openError == .malformedOpen)
  }

  @Test func aTruncatedOpenNeverTraps() {
    let body = openBody(parameters: [8, 2, 6, 65, 4, 0, 0, 0, 1])
    for count in 0..<body.count { #expect(Array(body.prefix(count)).openError != nil) }
  }

  // MARK: NOTIFICATION

  @Test func aShutdownTextIsReadAndWritten() {
    let message = NotificationMessage.cease(.administrativeShutdown, "maintenance, back at 18:00 – ☎ 12")
    #expect(message.shutdownText == "maintenance, back at 18:00 – ☎ 12")
    let again = message.serialized.withUnsafeBytes {
      NotificationMessage(body: UnsafeRawBufferPointer(rebasing: $0[19...]))
    }
    #expect(again == message)
    #expect(again.description == "Cease: Administrative Shutdown (maintenance, back at 18:00 – ☎ 12)")
  }

  @Test func aShutdownTextIsCutBetweenCharacters() {
    let long = String(repeating: "é", count: 200)
    let message = NotificationMessage.cease(.administrativeReset, long)
    #expect(message.data.count == 255 && message.data[0] == 254)
    #expect(message.shutdownText == String(repeating: "é", count: 127))
  }

  @Test(arguments: [[], [0], [5, 65], [2, 0xc3, 0x28]] as [[UInt8]])
  func aShutdownTextThatIsNone(data: [UInt8]) {
    #expect(NotificationMessage(.cease, subcode: 2, data: data).shutdownText == nil)
  }

  @Test func controlCharactersOfAShutdownTextAreNotPassedOn() {
    #expect(NotificationMessage(.cease, subcode: 2, data: [3, 65, 0x1b, 66]).shutdownText == "A?B")
  }

  @Test func errorsAreCalledAsTheTablesCallThem() {
    #expect("\(NotificationMessage.badPeerAS)" == "OPEN Message Error: Bad Peer AS")
    #expect("\(NotificationMessage.holdTimerExpired)" == "Hold Timer Expired")
    #expect("\(NotificationMessage(.updateMessage, subcode: 7))" == "UPDATE Message Error: subcode 7")
    #expect("\(NotificationMessage(.init(rawValue: 99), subcode: 3))" == "Error 99: subcode 3")
    #expect("\(NotificationMessage.cease(.collisionResolution))" == "Cease: Connection Collision Resolution")
  }

  // MARK: ROUTE-REFRESH

  private func routeRefresh(_ body: [UInt8]) throws(NotificationMessage) -> RouteRefreshMessage? {
    try reading(body) { bytes throws(NotificationMessage) in try RouteRefreshMessage(body: bytes) }
  }

  @Test func aRouteRefreshReadsBack() throws {
    for subtype in [RouteRefreshMessage.Subtype.request, .beginning, .end] {
      let message = RouteRefreshMessage(.ipv6Unicast, subtype)
      #expect(try routeRefresh(Array(message.serialized[19...])) == message)
    }
    #expect(try routeRefresh([0, 1, 9, 1]) == nil)
  }

  @Test(arguments: [[], [0, 1, 0], [0, 1, 0, 1, 0]] as [[UInt8]])
  func aRouteRefreshOfAnotherLength(body: [UInt8]) {
    let error = notification { () throws(NotificationMessage) in try routeRefresh(body) }
    #expect(error == .invalidRouteRefreshLength(message(5, body)))
    #expect(error?.code.rawValue == 7 && error?.subcode == 1)
  }
}
