import JWTKit

/// A key set (RFC 7517 §5), read key by key: one that is strange, weak or for another use is left
/// out and the rest serve.
struct JSONWebKeySet: Sendable {
  static let sizeLimit = 256 * 1024
  /// Keys beyond this many are left out; an issuer has two to five.
  static let countLimit = 64

  /// One public key, ready for each algorithm that may use it.
  struct Key: Sendable {
    let identifier: String?
    let verifiers: [SignatureAlgorithm: any JWTAlgorithm]
  }

  let keys: [Key]
  /// How many keys were left out.
  let skipped: Int

  enum Lookup: Sendable {
    case found(any JWTAlgorithm)
    case mismatch
    case unknown
  }

  /// Nil when `document` is no key set at all.
  init?(document: [UInt8]) async {
    guard document.count <= JSONWebKeySet.sizeLimit,
      let members = JSONValue(parsing: document)?["keys"]?.array
    else { return nil }
    var keys: [Key] = []
    var skipped = max(0, members.count - JSONWebKeySet.countLimit)
    for member in members.prefix(JSONWebKeySet.countLimit) {
      if let key = await Key(member) { keys.append(key) } else { skipped += 1 }
    }
    self.keys = keys
    self.skipped = skipped
  }

  /// The key of this name for this algorithm.
  ///
  /// A token without a `kid` is matched only when exactly one key could have signed it (OpenID
  /// Connect Core §10.1 demands a `kid` where there are several).
  func find(_ identifier: String?, _ algorithm: SignatureAlgorithm) -> Lookup {
    guard let identifier else {
      let fitting = keys.compactMap { $0.verifiers[algorithm] }
      return fitting.count == 1 ? .found(fitting[0]) : .unknown
    }
    let named = keys.filter { $0.identifier == identifier }
    if let verifier = named.lazy.compactMap({ $0.verifiers[algorithm] }).first { return .found(verifier) }
    return named.isEmpty ? .unknown : .mismatch
  }
}

extension JSONWebKeySet.Key {
  /// Nil for a key that signs no token we could check: another type or use, too weak, or malformed.
  init?(_ json: JSONValue) async {
    // RFC 7517 §4.2, §4.3: a key for encryption is not one for signatures.
    if let use = json["use"]?.string, use != "sig" { return nil }
    if let operations = json["key_ops"]?.strings, !operations.contains("verify") { return nil }
    guard let candidates = JSONWebKeySet.Key.candidates(json) else { return nil }
    var algorithms = candidates.algorithms
    if let declared = json["alg"]?.string {
      algorithms = algorithms.filter { $0.rawValue == declared }
    }
    var verifiers: [SignatureAlgorithm: any JWTAlgorithm] = [:]
    for algorithm in algorithms {
      // A collection of one: jwt-kit falls back to a default key where the named one is missing, so
      // there must be no other to fall back to.
      let collection = JWTKeyCollection()
      var key = candidates.key
      key.keyIdentifier = "k"
      key.algorithm = JWK.Algorithm(rawValue: algorithm.rawValue)
      guard (try? await collection.add(jwk: key)) != nil,
        let verifier = try? await collection.getKey(for: "k", alg: algorithm.rawValue),
        verifier.name == algorithm.rawValue
      else { continue }
      verifiers[algorithm] = verifier
    }
    guard !verifiers.isEmpty else { return nil }
    identifier = json["kid"]?.string
    self.verifiers = verifiers
  }

  /// The public half of a key and the algorithms its type allows. Private members are not read.
  private static func candidates(_ json: JSONValue) -> (key: JWK, algorithms: [SignatureAlgorithm])? {
    func bytes(_ name: String, _ count: Int? = nil) -> (text: String, bytes: [UInt8])? {
      guard let text = json[name]?.string, let bytes = Base64URL.decode(text.utf8), !bytes.isEmpty else { return nil }
      if let count, bytes.count != count { return nil }
      return (text, bytes)
    }
    switch json["kty"]?.string {
    case "RSA":
      guard let modulus = bytes("n"), let exponent = bytes("e") else { return nil }
      // RFC 7518 §3.3: 2048 bits at least. At most 8192, as checking a longer one costs too much.
      guard (2048...8192).contains(bitWidth(modulus.bytes)) else { return nil }
      let key = JWK.rsa(nil, identifier: nil, modulus: modulus.text, exponent: exponent.text)
      return (key, [.rs256, .rs384, .rs512])
    case "EC":
      let curve: (ECDSACurve, Int, SignatureAlgorithm)
      switch json["crv"]?.string {
      case "P-256": curve = (.p256, 32, .es256)
      case "P-384": curve = (.p384, 48, .es384)
      case "P-521": curve = (.p521, 66, .es512)
      default: return nil
      }
      guard let x = bytes("x", curve.1), let y = bytes("y", curve.1) else { return nil }
      return (JWK.ecdsa(nil, identifier: nil, x: x.text, y: y.text, curve: curve.0), [curve.2])
    case "OKP":
      guard json["crv"]?.string == "Ed25519", let x = bytes("x", 32) else { return nil }
      return (JWK.octetKeyPair(nil, identifier: nil, x: x.text, y: nil, curve: .ed25519), [.edDSA])
    default:
      return nil
    }
  }

  private static func bitWidth(_ bigEndian: [UInt8]) -> Int {
    let significant = bigEndian.drop { $0 == 0 }
    guard let first = significant.first else { return 0 }
    return significant.count * 8 - first.leadingZeroBitCount
  }
}
