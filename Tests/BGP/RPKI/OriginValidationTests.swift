import Testing
import Wire

@testable import BGP

/// What a cache would say.
func payload(_ text: String, upTo longest: Int? = nil, _ number: UInt32) throws -> ROAPayload {
  try #require(ROAPayload(try prefix(text), maximumLength: longest, autonomousSystem: number))
}

@Suite("Origin validation (RFC 6811)")
struct OriginValidationTests {
  @Test func validInvalidAndNotFound() throws {
    var table = OriginTable()
    for one in [
      try payload("10.0.0.0/16", upTo: 24, 65_001), try payload("10.0.0.0/16", 65_002), try payload("10.1.0.0/16", 0),
      try payload("2001:db8::/32", upTo: 48, 65_001),
    ] {
      let isNew = table.insert(one)
      #expect(isNew && table.contains(one))
    }
    func validity(_ text: String, _ origin: UInt32?) throws -> OriginValidity {
      table.validity(of: try prefix(text), origin: origin)
    }
    for (text, origin, expected) in [
      ("10.0.0.0/16", 65_001, .valid), ("10.0.7.0/24", 65_001, .valid), ("10.0.7.0/25", 65_001, .invalid),
      ("10.0.0.0/16", 65_002, .valid), ("10.0.7.0/24", 65_002, .invalid), ("10.0.0.0/16", 65_003, .invalid),
      ("10.0.0.0/16", nil, .invalid), ("10.1.0.0/16", 0, .invalid), ("10.1.0.0/16", 65_001, .invalid),
      ("10.0.0.0/15", 65_001, .notFound), ("192.0.2.0/24", 65_001, .notFound), ("2001:db8:1::/48", 65_001, .valid),
      ("2001:db8:1::/49", 65_001, .invalid), ("2001:db9::/32", nil, .notFound),
    ] as [(String, UInt32?, OriginValidity)] {
      #expect(try validity(text, origin) == expected, "\(text) of \(String(describing: origin))")
    }
    let again = table.insert(try payload("10.0.0.0/16", 65_002))
    #expect(!again && table.count == 4)
    let removed = table.remove(try payload("10.0.0.0/16", upTo: 24, 65_001))
    #expect(removed && table.count == 3)
    #expect(try validity("10.0.0.0/16", 65_001) == .invalid)
    let absent = table.remove(try payload("10.9.0.0/16", 1))
    #expect(!absent)
    #expect(ROAPayload(try prefix("10.0.0.0/16"), maximumLength: 15, autonomousSystem: 1) == nil)
    #expect(ROAPayload(try prefix("10.0.0.0/16"), maximumLength: 33, autonomousSystem: 1) == nil)
  }

  @Test func theOriginOfAPath() {
    #expect(ASPath([1, 2, 3]).origin(localAS: 9) == 3 && ASPath().origin(localAS: 9) == 9)
    #expect(ASPath([.init([1]), .init(isSet: true, [2, 3])]).origin(localAS: 9) == nil)
  }

  @Test func aPolicyThatAsks() throws {
    let network = try RIBNetwork([.init(autonomousSystem: 65_001), .init(autonomousSystem: 65_002)])
    let policy = Policy(
      "rpki",
      [
        .init("no hijacks", if: [.originValidity(.invalid)], .deny),
        .init("known", if: [.originValidity(.valid)], set: [.localPreference(200)], .permit),
      ], otherwise: .permit)
    network.setPolicy(PeerPolicy(incoming: policy), for: network.peers[0])
    var table = OriginTable()
    table.insert(try payload("10.0.0.0/8", upTo: 24, 9))
    network.setOrigins(table)
    let (good, other) = (try prefix("10.1.0.0/16"), try prefix("192.0.2.0/24"))
    network.announce([good, other], attributes([65_001, 9]), from: 0)
    #expect(network.destination(good)?.routes.first?.attributes.localPreference == 200)
    #expect(network.destination(other)?.routes.first?.attributes.localPreference == nil)
    network.announce([good], attributes([65_001, 8]), from: 0)
    #expect(network.destination(good)?.routes.isEmpty == true)
    // On the way out too, and anew when the table changes.
    let strict = Policy("strict", [.init("known", if: [.originValidity(.valid)], .permit)])
    network.announce([good], attributes([65_001, 9]), from: 0)
    network.setPolicy(PeerPolicy(outgoing: strict), for: network.peers[1])
    network.deliver()
    #expect(Array(network.views[1].routes.keys) == [good])
    network.setOrigins(OriginTable())
    network.deliver()
    #expect(network.views[1].routes.isEmpty)
  }
}
