import Wire

@testable import BGP

/// Headers, OPEN, NOTIFICATION and ROUTE-REFRESH messages, and messages out of their turn.
extension HostileMessage {
  static let headersAndOpens: [HostileMessage] = headers + opens + optionalParameters + outOfTurn + afterOpen

  private static let headers: [HostileMessage] = {
    var all: [HostileMessage] = []
    func add(
      _ name: String, _ source: String, _ octets: [UInt8], _ answer: NotificationMessage, _ stage: Stage = .openSent,
      _ peering: Peering = .external
    ) {
      all.append(
        .init(name: name, source: source, stage: stage, peering: peering, octets: octets, answer: .notification(answer))
      )
    }
    let section = "RFC 4271 §6.1"
    let open = Peering.external.open.serialized
    add("marker of zeros", section, Array(repeating: 0, count: 16) + open[16...], .connectionNotSynchronized)
    add("first octet of the marker wrong", section, [0xfe] + open[1...], .connectionNotSynchronized)
    add("last octet of the marker wrong", section, open[..<15] + [0x7f] + open[16...], .connectionNotSynchronized)
    add(
      "an HTTP request", section, Array("GET / HTTP/1.1\r\nHost: example.net\r\n\r\n".utf8), .connectionNotSynchronized)
    for length in [0, 1, 18, 4_097, 65_535] {
      let wrong = message(1, [], length: length)
      add("length \(length)", section, wrong, .badMessageLength(UInt16(length)))
    }
    add("OPEN of 28 octets", section, message(1, Array(repeating: 0, count: 9)), .badMessageLength(28))
    for type in [0, 6, 77, 255] as [UInt8] { add("type \(type)", section, message(type, []), .badMessageType(type)) }
    add("KEEPALIVE of 20 octets", section, message(4, [0]), .badMessageLength(20), .openConfirm)
    add("KEEPALIVE of 20 octets, established", section, message(4, [0]), .badMessageLength(20), .established)
    add("UPDATE of 22 octets", section, message(2, [0, 0, 0]), .badMessageLength(22), .established)
    add("NOTIFICATION of 20 octets", section, message(3, [6]), .badMessageLength(20), .established)
    add("type 77, established", section, message(77, [1, 2]), .badMessageType(77), .established)
    add(
      "marker of zeros, established", section, Array(repeating: 0, count: 23), .connectionNotSynchronized, .established)
    let long = message(2, updateBody(withdrawn: Array(repeating: 0, count: 5_000)))
    add("UPDATE of 5,023 octets, not negotiated", "RFC 8654 §4", long, .badMessageLength(5_023), .established)
    all.append(
      .init(
        name: "UPDATE of 5,023 octets, negotiated", source: "RFC 8654 §4", stage: .established, peering: .extended,
        octets: long, answer: .ignores))
    add(
      "KEEPALIVE of 5,000 octets, negotiated", "RFC 8654 §3", message(4, Array(repeating: 0, count: 4_981)),
      .badMessageLength(5_000), .established, .extended)
    return all
  }()

  /// An OPEN by its octets: version, AS, hold time, identifier, then the length of the parameters and these.
  private static func open(
    version: UInt8 = 4, number: UInt16 = 65_001, hold: UInt16 = 90, id: [UInt8] = [10, 0, 0, 2], length: UInt8? = nil,
    _ parameters: [UInt8]
  ) -> [UInt8] {
    var body: [UInt8] = [version]
    for word in [number, hold] { body += [UInt8(word >> 8), UInt8(word & 0xff)] }
    body += id
    body.append(length ?? UInt8(parameters.count))
    return message(1, body + parameters)
  }

  /// Capabilities in one parameter.
  private static func capabilities(_ all: [UInt8]...) -> [UInt8] {
    let joined = Array(all.joined())
    return [2, UInt8(joined.count)] + joined
  }

  private static let ipv4: [UInt8] = [1, 4, 0, 1, 0, 1]
  private static let four: [UInt8] = [65, 4, 0, 0, 0xfd, 0xe9]

  private static let opens: [HostileMessage] = {
    var all: [HostileMessage] = []
    func add(
      _ name: String, _ source: String, _ octets: [UInt8], _ answer: NotificationMessage?,
      _ peering: Peering = .external
    ) {
      all.append(
        .init(
          name: name, source: source, stage: .openSent, peering: peering, octets: octets,
          answer: answer.map { .notification($0) } ?? .takes))
    }
    let section = "RFC 4271 §6.2"
    let usual = capabilities(ipv4, four)
    for version in [0, 3, 5, 255] as [UInt8] {
      add("version \(version)", section, open(version: version, usual), .unsupportedVersion)
    }
    add("another AS", section, open(number: 65_002, capabilities(ipv4, [65, 4, 0, 0, 0xfd, 0xea])), .badPeerAS)
    add("another AS, no capabilities", section, open(number: 65_002, []), .badPeerAS)
    add("AS 0", "RFC 7607 §2", open(number: 0, capabilities(ipv4, [65, 4, 0, 0, 0, 0])), .badPeerAS)
    add("AS 0 in the capability alone", "RFC 7607 §2", open(capabilities(ipv4, [65, 4, 0, 0, 0, 0])), .badPeerAS)
    add("AS_TRANS and no capability", "RFC 6793 §9", open(number: 23_456, capabilities(ipv4)), .badPeerAS)
    add(
      "another AS in the capability alone", "RFC 6793 §4.1", open(capabilities(ipv4, [65, 4, 0, 0, 0, 9])), .badPeerAS)
    for seconds in [1, 2] as [UInt16] {
      add("hold time \(seconds)", section, open(hold: seconds, usual), .unacceptableHoldTime)
    }
    add("hold time 0", "RFC 4271 §4.2", open(hold: 0, usual), nil)
    add("hold time 65535", "RFC 4271 §4.2", open(hold: .max, usual), nil)
    add("identifier 0.0.0.0", "RFC 6286 §2.2", open(id: [0, 0, 0, 0], usual), .badBGPIdentifier)
    add("identifier 224.0.0.1", "RFC 6286 §2.1", open(id: [224, 0, 0, 1], usual), nil)
    add("our identifier, from outside", "RFC 6286 §2.1", open(id: [10, 0, 0, 1], usual), nil)
    add(
      "our identifier, from inside", "RFC 6286 §2.2",
      open(number: 64_512, id: [10, 0, 0, 1], capabilities(ipv4, [65, 4, 0, 0, 0xfc, 0])), .badBGPIdentifier, .internal)
    add("the wrong role", "RFC 9234 §4.2", open(capabilities(ipv4, four, [9, 1, 3])), .roleMismatch, .role)
    add("two roles", "RFC 9234 §4.2", open(capabilities(ipv4, four, [9, 1, 0], [9, 1, 4])), .roleMismatch, .role)
    add("no role where one is asked for", "RFC 9234 §4.2", open(usual), .roleMismatch, .role)
    add("the same role twice", "RFC 9234 §4.2", open(capabilities(ipv4, four, [9, 1, 0], [9, 1, 0])), nil, .role)
    return all
  }()

  private static let optionalParameters: [HostileMessage] = {
    var all: [HostileMessage] = []
    func add(_ name: String, _ source: String, _ octets: [UInt8], _ answer: NotificationMessage?) {
      all.append(
        .init(
          name: name, source: source, stage: .openSent, peering: .external, octets: octets,
          answer: answer.map { .notification($0) } ?? .takes))
    }
    let section = "RFC 4271 §6.2"
    let usual = capabilities(ipv4, four)
    add("parameters longer than the message", section, open(length: 40, usual), .malformedOpen)
    add("parameters shorter than the message", section, open(length: 4, usual), .malformedOpen)
    add("parameters that are not there", section, open(length: 0, usual), .malformedOpen)
    add("a parameter that runs out", section, open([2, 40] + ipv4), .malformedOpen)
    add("half a parameter's header", section, open(usual + [2]), .malformedOpen)
    add("parameter 1, authentication", section, open([1, 2, 0, 0]), .unsupportedOptionalParameter)
    add("parameter 99", section, open(usual + [99, 0]), .unsupportedOptionalParameter)
    add("a parameter without capabilities", "RFC 5492 §4", open(usual + [2, 0]), nil)
    add("no parameters", "RFC 4271 §4.2", open([]), nil)
    add("a capability that runs out", "RFC 5492 §4", open([2, 4, 1, 9, 0, 1]), .malformedOpen)
    add("half a capability's header", "RFC 5492 §4", open(capabilities(ipv4, four, [1])), .malformedOpen)
    add("multiprotocol of 3 octets", "RFC 4760 §8", open(capabilities([1, 3, 0, 1, 1], four)), .malformedOpen)
    add("multiprotocol of 5 octets", "RFC 4760 §8", open(capabilities([1, 5, 0, 1, 0, 1, 0], four)), .malformedOpen)
    add("four-octet AS of 2 octets", "RFC 6793 §3", open(capabilities(ipv4, [65, 2, 0xfd, 0xe9])), .malformedOpen)
    add("ADD-PATH of 3 octets", "RFC 7911 §4", open(capabilities(ipv4, four, [69, 3, 0, 1, 1])), .malformedOpen)
    add("ADD-PATH of mode 9", "RFC 7911 §4", open(capabilities(ipv4, four, [69, 4, 0, 1, 1, 9])), nil)
    add(
      "graceful restart of 3 octets", "RFC 4724 §3", open(capabilities(ipv4, four, [64, 3, 0, 0, 0])), .malformedOpen)
    add("route refresh of 1 octet", "RFC 2918 §2", open(capabilities(ipv4, four, [2, 1, 0])), .malformedOpen)
    add("an unknown capability", "RFC 5492 §3", open(capabilities(ipv4, four, [200, 3, 1, 2, 3])), nil)
    add("a capability three times", "RFC 5492 §4", open(capabilities(ipv4, ipv4, four, ipv4)), nil)
    add(
      "no family that we speak", "RFC 5492 §5", open(capabilities([1, 4, 0, 25, 0, 65], four)),
      .unsupportedCapability(ipv4 + [1, 4, 0, 2, 0, 1]))
    add("parameters in the long form", "RFC 9072 §2", open(length: 255, [255, 0, 15, 2, 0, 12] + ipv4 + four), nil)
    add(
      "parameters in the long form, too long", "RFC 9072 §2", open(length: 255, [255, 0, 99, 2, 0, 12] + ipv4 + four),
      .malformedOpen)
    return all
  }()

  /// RFC 4271 §8.2.2, with the subcodes of RFC 6608.
  private static let outOfTurn: [HostileMessage] = {
    var all: [HostileMessage] = []
    func add(_ name: String, _ stage: Stage, _ octets: [UInt8], _ answer: Answer, _ source: String = "RFC 6608 §4") {
      all.append(.init(name: name, source: source, stage: stage, peering: .external, octets: octets, answer: answer))
    }
    func error(_ state: NotificationMessage.UnexpectedMessage) -> Answer {
      .notification(.finiteStateMachineError(state))
    }
    let update = message(2, updateBody(Peering.external.attributes(2), nlri: nlri))
    let refresh = RouteRefreshMessage(.ipv4Unicast).serialized
    let open = Peering.external.open.serialized
    add("KEEPALIVE before the OPEN", .openSent, MessageHeader.keepalive, error(.inOpenSent))
    add("UPDATE before the OPEN", .openSent, update, error(.inOpenSent))
    add("ROUTE-REFRESH before the OPEN", .openSent, refresh, error(.inOpenSent))
    add("NOTIFICATION before the OPEN", .openSent, message(3, [6, 5]), error(.inOpenSent), "RFC 4271 §8.2.2")
    add("NOTIFICATION of our version before the OPEN", .openSent, message(3, [2, 1, 0, 3]), .closes, "RFC 4271 §8.2.2")
    add("UPDATE before the KEEPALIVE", .openConfirm, update, error(.inOpenConfirm))
    add("ROUTE-REFRESH before the KEEPALIVE", .openConfirm, refresh, error(.inOpenConfirm))
    add("a second OPEN before the KEEPALIVE", .openConfirm, open, error(.inOpenConfirm))
    add("NOTIFICATION before the KEEPALIVE", .openConfirm, message(3, [6, 5]), .closes, "RFC 4271 §8.2.2")
    add("OPEN, established", .established, open, error(.inEstablished))
    return all
  }()

  /// NOTIFICATION and ROUTE-REFRESH of an established session.
  private static let afterOpen: [HostileMessage] = {
    var all: [HostileMessage] = []
    func add(_ name: String, _ source: String, _ octets: [UInt8], _ answer: Answer) {
      all.append(
        .init(name: name, source: source, stage: .established, peering: .external, octets: octets, answer: answer))
    }
    let section = "RFC 4271 §6.4"
    add("NOTIFICATION of code 0", section, message(3, [0, 0]), .closes)
    add("NOTIFICATION of code 99", section, message(3, [99, 77]), .closes)
    add("NOTIFICATION of a long text", section, message(3, [6, 2, 255] + Array(repeating: 65, count: 9)), .closes)
    add("NOTIFICATION of no UTF-8", "RFC 9003 §2", message(3, [6, 2, 3, 0xff, 0xfe, 0xfd]), .closes)
    add("NOTIFICATION full of data", section, message(3, [3, 1] + Array(repeating: 0xee, count: 4_075)), .closes)
    func wrong(_ body: [UInt8]) -> Answer { .notification(.invalidRouteRefreshLength(message(5, body))) }
    add("ROUTE-REFRESH of 22 octets", "RFC 7313 §5", message(5, [0, 1, 1]), wrong([0, 1, 1]))
    add("ROUTE-REFRESH of 24 octets", "RFC 7313 §5", message(5, [0, 1, 2, 1, 0]), wrong([0, 1, 2, 1, 0]))
    add("ROUTE-REFRESH of another family", "RFC 2918 §4", message(5, [0, 25, 0, 65]), .ignores)
    add("ROUTE-REFRESH of subtype 77", "RFC 7313 §5", message(5, [0, 1, 77, 1]), .ignores)
    add("the end of a refresh that did not begin", "RFC 7313 §4", message(5, [0, 1, 2, 1]), .ignores)
    return all
  }()
}
