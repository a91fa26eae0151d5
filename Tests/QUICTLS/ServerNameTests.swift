import QUICTLS
import Testing

/// A server with several certificates shows the one for the name that its client asked for (RFC 6066 §3, RFC 9114 §3.2).
struct ServerNameTests {
  /// For other.example and *.wild.example, signed by itself.
  private static let certificate = """
    -----BEGIN CERTIFICATE-----
    MIIBcTCCARegAwIBAgIUcNlOfhaJgbOKAXx13t6T7nrafDEwCgYIKoZIzj0EAwIw
    GDEWMBQGA1UEAwwNb3RoZXIuZXhhbXBsZTAgFw0yMDAxMDEwMDAwMDBaGA8yMTI2
    MDEwMTAwMDAwMFowGDEWMBQGA1UEAwwNb3RoZXIuZXhhbXBsZTBZMBMGByqGSM49
    AgEGCCqGSM49AwEHA0IABAR7i4Er/EgDRDBDBdo5Qcbsx9mmWcbLa9GwcUCIgY00
    9carHEeOgIdE4QLJSIAuhmQD0qViqdn3pLELrcWKzvSjPTA7MCgGA1UdEQQhMB+C
    DW90aGVyLmV4YW1wbGWCDioud2lsZC5leGFtcGxlMA8GA1UdEwEB/wQFMAMBAf8w
    CgYIKoZIzj0EAwIDSAAwRQIgTnWvW0iK6hIF7rxSpgP+KNBf0hspjalKK+KODvOS
    LOoCIQDsZPoO6tNyFu0ygTvb+ZF0gx/h2cDY0pSpNGu33+Plqg==
    -----END CERTIFICATE-----
    """
  private static let key = """
    -----BEGIN PRIVATE KEY-----
    MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgF7iH9prLF2AXjqsD
    upOUn4rf2wEZkeEKfjTl9qCBzCyhRANCAAQEe4uBK/xIA0QwQwXaOUHG7MfZplnG
    y2vRsHFAiIGNNPXGqxxHjoCHROECyUiALoZkA9KlYqnZ96SxC63Fis70
    -----END PRIVATE KEY-----
    """

  private static func server() throws -> ServerTLSContext {
    let other = try TLSIdentity(certificateChain: Array(certificate.utf8), privateKey: Array(key.utf8))
    return try ServerTLSContext(identity: Contexts.identity(), others: [other], applicationProtocols: ["h3"])
  }

  private static func client(_ authority: String) throws -> ClientTLSContext {
    try Contexts.client(.certificates(Array(authority.utf8)))
  }

  @Test(arguments: [
    ("pop.example", Fixture.authority), ("other.example", certificate), ("OTHER.example", certificate),
    ("a.wild.example", certificate), ("192.0.2.1", Fixture.authority),
  ])
  func theCertificateIsTheNames(name: String, authority: String) throws {
    let (server, client) = try (Self.server(), Self.client(authority))
    for round in 0..<2 {
      var pair = try HandshakePair(client, server, name: name)
      try pair.run()
      #expect(pair.client.isComplete && pair.server.isComplete)
      #expect(pair.client.isResumed == (round == 1))
    }
  }

  /// A name of which there is no certificate gets the first, and its client will not have it.
  @Test(arguments: ["elsewhere.example", "b.a.wild.example", "wild.example"])
  func aStrangeNameGetsTheFirst(name: String) throws {
    var pair = try HandshakePair(Self.client(Fixture.authority + "\n" + Self.certificate), Self.server(), name: name)
    #expect(throws: (any Error).self) { try pair.run() }
    #expect(!pair.client.isComplete)
    #expect(pair.server.requestedServerName == name)
  }

  /// One client, both names, each with the certificate that was issued for it.
  @Test func eachConnectionHasItsOwn() throws {
    let (server, client) = try (Self.server(), Self.client(Fixture.authority + "\n" + Self.certificate))
    var leaves: Set<[UInt8]> = []
    for name in ["pop.example", "other.example", "pop.example"] {
      var pair = try HandshakePair(client, server, name: name)
      try pair.run()
      leaves.insert(pair.client.peerCertificates[0])
    }
    #expect(leaves.count == 2)
  }
}
