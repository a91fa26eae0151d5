import Wire

@testable import BGP

/// UPDATE messages, by RFC 4271 §6.3 as RFC 7606 revises it.
extension HostileMessage {
  static let updates: [HostileMessage] = structure + flags + lengths + values + multiprotocol

  /// What the families of cases below add to.
  private struct Table {
    var all: [HostileMessage] = []

    mutating func add(
      _ name: String, _ source: String, _ body: [UInt8], _ answer: Answer, _ peering: Peering = .external,
      six: Bool = false
    ) {
      all.append(
        .init(
          name: name, source: source, stage: .established, peering: peering, octets: message(2, body), answer: answer,
          isIPv6: six))
    }

    /// A good route with an attribute more, or in the place of the one of its type.
    mutating func add(
      _ name: String, _ source: String, attribute: [UInt8], _ answer: Answer, _ peering: Peering = .external
    ) {
      var attributes: [UInt8] = []
      var isReplaced = false
      let good = [origin, peering.path(2), nextHop] + (peering == .internal ? [[0x40, 5, 4, 0, 0, 0, 100]] : [])
      for one in good {
        attributes += one[1] == attribute[1] ? attribute : one
        isReplaced = isReplaced || one[1] == attribute[1]
      }
      add(name, source, updateBody(attributes + (isReplaced ? [] : attribute), nlri: nlri), answer, peering)
    }
  }

  private static func reset(_ notification: NotificationMessage) -> Answer { .notification(notification) }

  private static let structure: [HostileMessage] = {
    var table = Table()
    let good = Peering.external.attributes(2)
    let path = Peering.external.path(2)
    let list = reset(.malformedAttributeList)
    table.add("withdrawn routes longer than the message", "RFC 7606 §3 b", [0, 9, 8, 10], list)
    table.add("attributes longer than the message", "RFC 7606 §3 b", [0, 0, 0, 99] + good, list)
    table.add(
      "attributes longer than the message by one", "RFC 7606 §3 b", [0, 0, 0, UInt8(good.count + 1)] + good, list)
    let field = reset(.invalidNetworkField)
    table.add("withdrawn prefix of 33 bits", "RFC 7606 §5.3", updateBody(withdrawn: [33, 10, 0, 0, 0, 0]), field)
    table.add("withdrawn prefix that runs out", "RFC 7606 §5.3", updateBody(withdrawn: [24, 10, 0]), field)
    table.add("prefix of 33 bits", "RFC 7606 §5.3", updateBody(good, nlri: [33, 203, 0, 113, 0, 0]), field)
    table.add(
      "prefix of 255 bits", "RFC 7606 §5.3", updateBody(good, nlri: [255] + Array(repeating: 1, count: 32)), field)
    table.add("prefix that runs out", "RFC 7606 §5.3", updateBody(good, nlri: nlri + [24, 10, 0]), field)
    table.add("bits behind a prefix", "RFC 4271 §4.3", updateBody(good, nlri: nlri + [20, 10, 1, 0xff]), .takes)
    table.add(
      "an attribute that runs out", "RFC 7606 §4", updateBody(good + [0x80, 4, 9, 0, 0], nlri: nlri), .withdraws)
    table.add("one octet of an attribute", "RFC 7606 §4", updateBody(good + [0x80], nlri: nlri), .withdraws)
    table.add("two octets of an attribute", "RFC 7606 §4", updateBody(good + [0x80, 4], nlri: nlri), .withdraws)
    table.add(
      "half an extended length", "RFC 7606 §4", updateBody(good + [0x90, 4, 0], nlri: nlri), .withdraws)
    table.add("no attributes", "RFC 7606 §3 d", updateBody(nlri: nlri), .withdraws)
    table.add("no ORIGIN", "RFC 7606 §3 d", updateBody(path + nextHop, nlri: nlri), .withdraws)
    table.add("no AS_PATH", "RFC 7606 §3 d", updateBody(origin + nextHop, nlri: nlri), .withdraws)
    table.add("no NEXT_HOP", "RFC 7606 §3 d", updateBody(origin + path, nlri: nlri), .withdraws)
    table.add("ORIGIN twice", "RFC 7606 §3 g", updateBody(good + attribute(0x40, 1, [2]), nlri: nlri), .discards)
    table.add("AS_PATH twice", "RFC 7606 §3 g", updateBody(good + Peering.external.path(3), nlri: nlri), .discards)
    table.add(
      "MED twice, the second malformed", "RFC 7606 §3 g",
      updateBody(good + attribute(0x80, 4, [0, 0, 0, 1]) + attribute(0x80, 4, [1]), nlri: nlri), .discards)
    let unknown = attribute(0xc0, 99, [1, 2])
    table.add(
      "an unknown attribute twice", "RFC 7606 §3 g", updateBody(good + unknown + unknown, nlri: nlri), .discards)
    table.add("MP_REACH_NLRI twice", "RFC 7606 §3 g", updateBody(reach() + reach() + origin + path), list, six: true)
    let unreach = attribute(0x80, 15, [0, 2, 1])
    table.add("MP_UNREACH_NLRI twice", "RFC 7606 §3 g", updateBody(unreach + unreach), list, six: true)
    let wrong = attribute(0x80, 4, [0, 0, 1])
    table.add(
      "a malformed MED and no prefix", "RFC 7606 §5.2", updateBody(good + wrong), reset(.attributeLengthError(wrong)))
    table.add("attributes and no prefix", "RFC 4271 §4.3", updateBody(good), .ignores)
    table.add(
      "a prefix both withdrawn and advertised", "RFC 4271 §4.3", updateBody(withdrawn: nlri, good, nlri: nlri), .takes)
    table.add("attributes in disorder", "RFC 4271 §5", updateBody(nextHop + path + origin, nlri: nlri), .takes)
    return table.all
  }()

  private static let flags: [HostileMessage] = {
    var table = Table()
    let section = "RFC 7606 §3 c"
    let path = Array(Peering.external.path(2)[3...])
    let wrong: [(String, UInt8, UInt8, [UInt8], Peering)] = [
      ("ORIGIN, optional", 0xc0, 1, [0], .external), ("ORIGIN, not transitive", 0, 1, [0], .external),
      ("AS_PATH, optional", 0xc0, 2, path, .external), ("AS_PATH, neither", 0, 2, path, .external),
      ("NEXT_HOP, optional", 0xc0, 3, [10, 0, 0, 2], .external), ("MED, transitive", 0xc0, 4, [0, 0, 0, 1], .external),
      ("MED, well-known", 0x40, 4, [0, 0, 0, 1], .external),
      ("LOCAL_PREF, optional", 0xc0, 5, [0, 0, 0, 1], .internal),
      ("ATOMIC_AGGREGATE, optional", 0xc0, 6, [], .external),
      ("AGGREGATOR, not transitive", 0x80, 7, [0, 0, 0, 1, 10, 0, 0, 1], .external),
      ("COMMUNITIES, not transitive", 0x80, 8, [0, 1, 0, 1], .external),
      ("COMMUNITIES, well-known", 0x40, 8, [0, 1, 0, 1], .external),
      ("ORIGINATOR_ID, transitive", 0xc0, 9, [1, 1, 1, 1], .internal),
      ("CLUSTER_LIST, transitive", 0xc0, 10, [1, 1, 1, 1], .internal),
      ("large communities, not transitive", 0x80, 32, Array(repeating: 1, count: 12), .external),
    ]
    for (name, flags, type, value, peering) in wrong {
      table.add(name, section, attribute: attribute(flags, type, value), .withdraws, peering)
    }
    let six = origin + Peering.external.path(2)
    table.add("MP_REACH_NLRI, transitive", section, updateBody(reach(0xc0) + six), .withdraws, six: true)
    table.add("the low bits set", "RFC 4271 §4.3", attribute: [0x4f, 1, 1, 0], .takes)
    table.add("ORIGIN, partial", section, attribute: [0x60, 1, 1, 0], .takes)
    table.add("an extended length of one octet", "RFC 4271 §4.3", attribute: [0x50, 1, 0, 1, 0], .takes)
    return table.all
  }()

  private static let lengths: [HostileMessage] = {
    var table = Table()
    func add(
      _ name: String, _ section: String, _ flags: UInt8, _ type: UInt8, _ lengths: [Int], _ answer: Answer = .withdraws,
      _ peering: Peering = .external
    ) {
      for length in lengths {
        let wrong = attribute(flags, type, Array(repeating: 1, count: length))
        table.add("\(name) of \(length) octets", section, attribute: wrong, answer, peering)
      }
    }
    add("ORIGIN", "RFC 7606 §7.1", 0x40, 1, [0, 2])
    add("NEXT_HOP", "RFC 7606 §7.3", 0x40, 3, [0, 3, 16])
    add("MED", "RFC 7606 §7.4", 0x80, 4, [0, 3, 5])
    add("LOCAL_PREF, from inside,", "RFC 7606 §7.5", 0x40, 5, [3], .withdraws, .internal)
    add("LOCAL_PREF, from outside,", "RFC 7606 §7.5", 0x40, 5, [3, 4], .discards)
    add("ATOMIC_AGGREGATE", "RFC 7606 §7.6", 0x40, 6, [1], .discards)
    add("AGGREGATOR", "RFC 7606 §7.7", 0xc0, 7, [0, 6, 7, 9], .discards)
    add("COMMUNITIES", "RFC 7606 §7.8", 0xc0, 8, [0, 3, 5])
    add("ORIGINATOR_ID, from outside,", "RFC 7606 §7.9", 0x80, 9, [4], .discards)
    add("ORIGINATOR_ID, from inside,", "RFC 7606 §7.9", 0x80, 9, [3], .withdraws, .internal)
    add("CLUSTER_LIST, from outside,", "RFC 7606 §7.10", 0x80, 10, [4], .discards)
    add("CLUSTER_LIST, from inside,", "RFC 7606 §7.10", 0x80, 10, [0, 3], .withdraws, .internal)
    add("extended communities", "RFC 7606 §7.14", 0xc0, 16, [0, 7])
    add("IPv6 extended communities", "RFC 7606 §7.15", 0xc0, 25, [19])
    add("large communities", "RFC 8092 §5", 0xc0, 32, [0, 11])
    add("ONLY_TO_CUSTOMER", "RFC 9234 §5", 0xc0, 35, [3])
    add("AS4_AGGREGATOR between four-octet speakers", "RFC 6793 §6", 0xc0, 18, [8], .discards)
    table.add(
      "AS4_PATH between four-octet speakers", "RFC 6793 §6", attribute: attribute(0xc0, 17, [2, 1, 0, 0, 0, 9]),
      .discards)
    return table.all
  }()

  private static let values: [HostileMessage] = {
    var table = Table()
    for value in [3, 255] as [UInt8] {
      table.add("ORIGIN \(value)", "RFC 7606 §7.1", attribute: attribute(0x40, 1, [value]), .withdraws)
    }
    let first: [UInt8] = [2, 1, 0, 0, 0xfd, 0xe9]
    let paths: [(String, String, [UInt8])] = [
      ("AS_PATH with a segment of type 0", "RFC 7606 §7.2", first + [0, 1, 0, 0, 0, 2]),
      ("AS_PATH with a segment of type 5", "RFC 7606 §7.2", first + [5, 1, 0, 0, 0, 2]),
      ("AS_PATH with a confederation's sequence", "RFC 5065 §5", first + [3, 1, 0, 0, 0, 2]),
      ("AS_PATH with a confederation's set", "RFC 5065 §5", first + [4, 1, 0, 0, 0, 2]),
      ("AS_PATH with an empty segment", "RFC 7606 §7.2", first + [2, 0]),
      ("AS_PATH that runs out", "RFC 7606 §7.2", first + [2, 9, 0, 0, 0, 2]),
      ("AS_PATH with an octet left", "RFC 7606 §7.2", first + [2]),
      ("AS_PATH with AS 0", "RFC 7607 §2", [2, 2, 0, 0, 0xfd, 0xe9, 0, 0, 0, 0]),
      ("AS_PATH of two-octet numbers", "RFC 7606 §7.2", [2, 2, 0xfd, 0xe9, 0, 2]),
      ("AS_PATH with our own AS", "RFC 4271 §9.1.2", [2, 2, 0, 0, 0xfd, 0xe9, 0, 0, 0xfc, 0]),
      ("AS_PATH that is empty", "RFC 4271 §6.3", []),
      ("AS_PATH that begins with another", "RFC 4271 §6.3", [2, 1, 0, 0, 0xfd, 0xea]),
      ("AS_PATH that begins with a set", "RFC 4271 §6.3", [1, 1, 0, 0, 0xfd, 0xe9]),
    ]
    for (name, source, value) in paths {
      table.add(name, source, attribute: attribute(0x40, 2, value), .withdraws)
    }
    let long = first + [2, 254] + Array(repeating: [0, 0, 0, 2], count: 254).joined()
    table.add("AS_PATH of 255 numbers", "RFC 4271 §4.3", attribute: attribute(0x40, 2, long), .takes)
    for address in [[0, 0, 0, 0], [255, 255, 255, 255], [224, 0, 0, 1], [240, 0, 0, 1]] as [[UInt8]] {
      let text = address.map(String.init).joined(separator: ".")
      table.add("NEXT_HOP \(text)", "RFC 4271 §6.3", attribute: attribute(0x40, 3, address), .withdraws)
    }
    table.add("NEXT_HOP that is ours", "RFC 4271 §6.3", attribute: attribute(0x40, 3, [10, 0, 0, 1]), .withdraws)
    table.add(
      "AGGREGATOR with AS 0", "RFC 7607 §2", attribute: attribute(0xc0, 7, [0, 0, 0, 0, 10, 0, 0, 1]), .discards)
    let wellKnown = attribute(0x40, 99, [1, 2])
    table.add(
      "an unknown well-known attribute", "RFC 4271 §6.3", attribute: wellKnown,
      reset(.unrecognizedWellKnownAttribute(wellKnown)))
    table.add("an unknown optional attribute", "RFC 4271 §9", attribute: attribute(0x80, 99, [1, 2]), .takes)
    table.add("an unknown transitive attribute", "RFC 4271 §9", attribute: attribute(0xc0, 99, [1, 2]), .takes)
    table.add("attribute 0", "RFC 4271 §9", attribute: attribute(0xc0, 0, [1]), .takes)
    table.add("attribute 255", "RFC 4271 §9", attribute: attribute(0xc0, 255, [1]), .takes)
    table.add(
      "no LOCAL_PREF, from inside", "RFC 7606 §3 d",
      updateBody(origin + Peering.internal.path(2) + nextHop, nlri: nlri), .takes, .internal)
    return table.all
  }()

  private static let multiprotocol: [HostileMessage] = {
    var table = Table()
    let others = origin + Peering.external.path(2)
    func error(_ attribute: [UInt8]) -> Answer { reset(.optionalAttributeError(attribute)) }
    for length in [0, 4, 15, 17, 24] {
      let wrong = reach(hop: Array(repeating: 0x20, count: length))
      table.add(
        "IPv6 next hop of \(length) octets", "RFC 7606 §7.11", updateBody(wrong + others), error(wrong), six: true)
    }
    for (name, value) in [
      ("MP_REACH_NLRI of 3 octets", [0, 2, 1]), ("MP_REACH_NLRI whose next hop runs out", [0, 2, 1, 16, 0x20, 1]),
      ("MP_REACH_NLRI without the reserved octet", [0, 2, 1, 16] + nextHop6),
    ] as [(String, [UInt8])] {
      let wrong = attribute(0x80, 14, value)
      table.add(name, "RFC 7606 §7.11", updateBody(wrong + others), error(wrong), six: true)
    }
    for (name, bad) in [
      ("IPv6 prefix of 129 bits", [129] + Array(repeating: 1, count: 17)),
      ("IPv6 prefix that runs out", [48, 0x20, 1]),
    ] as [(String, [UInt8])] {
      let wrong = reach(nlri: bad)
      table.add(name, "RFC 7606 §5.3", updateBody(wrong + others), error(wrong), six: true)
      let gone = attribute(0x80, 15, [0, 2, 1] + bad)
      table.add("withdrawn \(name)", "RFC 7606 §5.3", updateBody(gone), error(gone), six: true)
    }
    let short = attribute(0x80, 15, [0, 2])
    table.add("MP_UNREACH_NLRI of 2 octets", "RFC 7606 §7.12", updateBody(short), error(short), six: true)
    let foreign = attribute(0x80, 14, [0, 25, 65, 4, 10, 0, 0, 1, 0, 1, 2, 3])
    table.add("MP_REACH_NLRI of another family", "RFC 4760 §8", updateBody(foreign + others), .ignores, six: true)
    table.add(
      "MP_UNREACH_NLRI of another family", "RFC 4760 §8", updateBody(attribute(0x80, 15, [0, 25, 65, 1, 2, 3])),
      .ignores,
      six: true)
    let none: [UInt8] = Array(repeating: 0, count: 16)
    let group: [UInt8] = [0xff, 2] + Array(repeating: 0, count: 13) + [1]
    table.add("IPv6 next hop ::", "RFC 4271 §6.3", updateBody(reach(hop: none) + others), .withdraws, six: true)
    table.add("IPv6 next hop ff02::1", "RFC 4271 §6.3", updateBody(reach(hop: group) + others), .withdraws, six: true)
    table.add("a reserved octet of 9", "RFC 4760 §3", updateBody(reach(reserved: 9) + others), .takes, six: true)
    table.add(
      "an IPv6 route without ORIGIN", "RFC 7606 §3 d", updateBody(reach() + Peering.external.path(2)), .withdraws,
      six: true)
    table.add("an IPv6 route without AS_PATH", "RFC 7606 §3 d", updateBody(reach() + origin), .withdraws, six: true)
    table.add(
      "an IPv6 route with ORIGIN 9", "RFC 7606 §7.1",
      updateBody(reach() + attribute(0x40, 1, [9]) + Peering.external.path(2)), .withdraws, six: true)
    table.add("MP_REACH_NLRI behind the others", "RFC 7606 §5.1", updateBody(others + reach()), .takes, six: true)
    table.add(
      "an IPv6 route both withdrawn and advertised", "RFC 4760 §4",
      updateBody(attribute(0x80, 15, [0, 2, 1] + nlri6) + others + reach()), .takes, six: true)
    return table.all
  }()
}
