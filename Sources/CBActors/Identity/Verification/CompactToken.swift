import CSodium

/// A JWS in compact serialization (RFC 7515 §3.1), taken apart but not believed.
struct CompactToken {
  let bytes: [UInt8]

  init(_ bytes: [UInt8]) { self.bytes = bytes }

  struct Parts {
    /// Header and payload as they were signed, with the dot between them.
    let signed: ArraySlice<UInt8>
    let encodedHeader: ArraySlice<UInt8>
    let encodedPayload: ArraySlice<UInt8>
    let signature: [UInt8]

    func header() throws(TokenRefusal) -> JSONValue {
      guard let json = CompactToken.object(encodedHeader) else { throw .malformed("the header is not a JSON object") }
      return json
    }

    func payload() -> JSONValue? { CompactToken.object(encodedPayload) }
  }

  func parts() throws(TokenRefusal) -> Parts {
    let segments = bytes.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false)
    // An encrypted token says so in its header; counting dots alone would misname a damaged one.
    if let header = segments.first.flatMap(CompactToken.object), header["enc"] != nil { throw .opaque }
    guard segments.count > 1 else { throw bytes.isEmpty ? .malformed("the token is empty") : .opaque }
    guard segments.count == 3 else { throw .malformed("\(segments.count) segments instead of three") }
    guard let signature = Base64URL.decode(segments[2]) else { throw .malformed("the signature is not base64url") }
    return Parts(
      signed: bytes[..<segments[1].endIndex], encodedHeader: segments[0], encodedPayload: segments[1],
      signature: signature)
  }

  var fingerprint: String {
    var hash = [UInt8](repeating: 0, count: 32)
    _ = crypto_generichash(&hash, hash.count, bytes, UInt64(bytes.count), nil, 0)
    return hash.prefix(8).map { byte in
      let digits = String(byte, radix: 16)
      return digits.count == 1 ? "0" + digits : digits
    }.joined()
  }

  private static func object(_ encoded: ArraySlice<UInt8>) -> JSONValue? {
    guard let bytes = Base64URL.decode(encoded), let json = JSONValue(parsing: bytes), json.object != nil else {
      return nil
    }
    return json
  }
}
