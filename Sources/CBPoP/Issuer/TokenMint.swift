import Crypto
import CryptoExtras
import Foundation
import Identity
import Wire

/// The development issuer's signing key: made at start, or an ES256 key kept in a file so that a sign-in
/// outlives a restart.
struct TokenMint: Sendable {
  private enum Key: Sendable {
    case es256(P256.Signing.PrivateKey)
    case edDSA(Curve25519.Signing.PrivateKey)
    case rs256(_RSA.Signing.PrivateKey)
  }

  private let key: Key
  private let keyID: String

  /// Reads the key from a PEM file, or makes one and keeps it there with mode 0600.
  init(keyFile: URL) throws {
    let key: P256.Signing.PrivateKey
    if let kept = try? P256.Signing.PrivateKey(pemRepresentation: String(contentsOf: keyFile, encoding: .utf8)) {
      key = kept
    } else {
      key = P256.Signing.PrivateKey()
      try DevelopmentCertificate.write(key.pemRepresentation, to: keyFile, mode: 0o600)
    }
    self.key = .es256(key)
    keyID = Base64URL.encode(Array(SHA256.hash(data: key.publicKey.rawRepresentation).prefix(9)))
  }

  init(_ algorithm: DevIssuer.SigningAlgorithm, entropy: any EntropySource) throws {
    keyID = Base64URL.encode(entropy.bytes(9))
    switch algorithm {
    case .es256: key = .es256(P256.Signing.PrivateKey())
    case .edDSA: key = .edDSA(Curve25519.Signing.PrivateKey())
    case .rs256: key = .rs256(try _RSA.Signing.PrivateKey(keySize: .bits2048))
    }
  }

  var algorithm: String {
    switch key {
    case .es256: "ES256"
    case .edDSA: "EdDSA"
    case .rs256: "RS256"
    }
  }

  /// The public key as a key set (RFC 7517 §5).
  func keySet() throws -> JSONValue {
    var members: [String: JSONValue] = [
      "kid": .string(keyID), "use": .string("sig"), "alg": .string(algorithm),
    ]
    switch key {
    case .es256(let key):
      let point = key.publicKey.rawRepresentation
      members["kty"] = .string("EC")
      members["crv"] = .string("P-256")
      members["x"] = .string(Base64URL.encode(point.prefix(32)))
      members["y"] = .string(Base64URL.encode(point.suffix(32)))
    case .edDSA(let key):
      members["kty"] = .string("OKP")
      members["crv"] = .string("Ed25519")
      members["x"] = .string(Base64URL.encode(key.publicKey.rawRepresentation))
    case .rs256(let key):
      let primitives = try key.publicKey.getKeyPrimitives()
      members["kty"] = .string("RSA")
      members["n"] = .string(Base64URL.encode(primitives.modulus))
      members["e"] = .string(Base64URL.encode(primitives.publicExponent))
    }
    return .object(["keys": .array([.object(members)])])
  }

  /// Signs claims as a JWS in compact serialization (RFC 7515 §3.1).
  func sign(_ claims: [String: JSONValue], type: String) throws -> String {
    let header = JSONValue.object(["alg": .string(algorithm), "kid": .string(keyID), "typ": .string(type)])
    let signed =
      Base64URL.encode(header.serialized) + "." + Base64URL.encode(JSONValue.object(claims).serialized)
    let data = Data(signed.utf8)
    let signature: Data =
      switch key {
      case .es256(let key): try key.signature(for: data).rawRepresentation
      case .edDSA(let key): try key.signature(for: data)
      case .rs256(let key):
        try key.signature(for: SHA256.hash(data: data), padding: .insecurePKCS1v1_5).rawRepresentation
      }
    return signed + "." + Base64URL.encode(signature)
  }
}
