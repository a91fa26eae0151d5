import Identity
import Testing

@Suite struct EncodingTests {
  @Test func base64URLIsStrict() {
    for count in 0..<40 {
      let bytes = (0..<count).map { UInt8(truncatingIfNeeded: $0 &* 37 &+ 200) }
      let text = Base64URL.encode(bytes)
      #expect(Base64URL.decode(text.utf8) == bytes)
      #expect(!text.contains("="))
    }
    // RFC 4648 §10, less the padding.
    #expect(Base64URL.encode("foobar".utf8) == "Zm9vYmFy")
    #expect(Base64URL.encode("fooba".utf8) == "Zm9vYmE")
    for bad in ["A", "AB=", "AB==", "A+", "A/", "A B", "AB\n", "AAAAA", "AB", "AAB"] {
      #expect(Base64URL.decode(bad.utf8) == nil, "\(bad)")
    }
  }

  @Test func formsRoundTrip() {
    let fields = [(name: "a b", value: "1+2=3&4"), (name: "ü", value: ""), (name: "url", value: "https://x/?y=z")]
    let bytes = FormEncoding.encode(fields)
    #expect(FormEncoding.decode(bytes) == ["a b": "1+2=3&4", "ü": "", "url": "https://x/?y=z"])
    #expect(FormEncoding.decode([UInt8]("flag&x=1".utf8)) == ["flag": "", "x": "1"])
    for bad in ["a=%", "a=%4", "a=%zz", "a=%ff", "a=1&a=2"] {
      #expect(FormEncoding.decode([UInt8](bad.utf8)) == nil, "\(bad)")
    }
    let many = (0..<33).map { "k\($0)=v" }.joined(separator: "&")
    #expect(FormEncoding.decode([UInt8](many.utf8)) == nil)
  }

  @Test func jsonDepthIsBounded() {
    func nested(_ depth: Int) -> [UInt8] {
      [UInt8](repeating: UInt8(ascii: "["), count: depth) + [UInt8](repeating: UInt8(ascii: "]"), count: depth)
    }
    #expect(JSONValue(parsing: nested(32)) != nil)
    #expect(JSONValue(parsing: nested(33)) == nil)
    #expect(JSONValue(parsing: nested(100_000)) == nil)
    // Brackets within strings do not count.
    #expect(JSONValue(parsing: [UInt8]("[\"\(String(repeating: "[", count: 99))\\\"[\"]".utf8)) != nil)
    #expect(JSONValue(parsing: []) == nil)
    #expect(JSONValue(parsing: [UInt8]("{\"a\":1}x".utf8)) == nil)
  }

  @Test func endpointsAreSecureOrLocal() throws {
    for good in [
      "https://issuer.example", "https://issuer.example:8443/x?y", "http://127.0.0.1:9000", "http://127.9.9.9/",
      "http://localhost:1", "http://[::1]:80/a",
    ] { #expect(throws: Never.self, "\(good)") { try EndpointURL(good) } }
    for bad in [
      "http://issuer.example", "http://127.0.0.1.evil.example", "http://localhost.evil.example", "ftp://127.0.0.1",
      "https://", "https:///x", "issuer.example", "https://user:pw@issuer.example", "https://issuer.example/#f", "",
      "http://0.0.0.0", "http://[::2]/", "file:///etc/passwd", "https://" + String(repeating: "a", count: 2048),
    ] { #expect(throws: OAuthFailure.self, "\(bad)") { try EndpointURL(bad) } }
  }

  @Test func secretsDoNotPrint() {
    let secret = Secret("hunter2")
    var dumped = ""
    dump(secret, to: &dumped)
    for text in ["\(secret)", String(reflecting: secret), dumped, "\(TokenResponse(accessToken: secret))"] {
      #expect(!text.contains("hunter2"))
    }
    #expect(secret == Secret([UInt8]("hunter2".utf8)))
    #expect(secret != Secret("hunter3"))
    #expect(secret != Secret(""))
    #expect(Secret("") == Secret(""))
    #expect(secret.exposed == "hunter2")
  }
}
