import Crypto
import Foundation
import Identity
import PacketCrypto
import QUIC
import QUICTLS
import Wire

/// The keys of a PoP besides that of its certificate: all follow from files, so that they outlive the process.
struct ServiceKeys {
  /// Sealed by a secret that PoPs may share, or, without one, for this process alone.
  let tickets: TicketKeys
  let addressTokens: AddressTokens
  /// RFC 9000 §10.3.2 wants it to outlive the process. RFC 9000 §21.11 forbids that two PoPs have the same: a packet that
  /// an attacker sends to the wrong one would be answered with the reset that ends the connection at the other.
  let statelessReset: [UInt8]

  /// - Parameters:
  ///   - name: the PoP's, unlike those of others that have the same TLS key.
  ///   - timeOfDay: what to add to an instant of `clock` to have the time since 1970, by which PoPs that share a secret
  ///     change keys together.
  init(
    _ settings: PoPSettings.Tickets, name: String, privateKeyFile: String, timeOfDay: Interval,
    clock: @escaping @Sendable () -> Instant
  ) throws {
    let certificateKey = try Self.tlsKey(privateKeyFile)
    statelessReset = Self.derive("cloudbridge stateless reset \(name)", from: certificateKey) { Array($0) }
    let shared = try settings.secretFile.map { file in
      let secret = try Secret(file: file)
      guard secret.count >= SealingKeys.leastSecretLength else {
        throw SecretFileError.tooShort(file, least: SealingKeys.leastSecretLength)
      }
      return secret.withBytes { SymmetricKey(data: $0) }
    }
    addressTokens = AddressTokens(
      secret: Self.derive("cloudbridge address tokens", from: shared ?? certificateKey) { AuthenticationKey($0) },
      lifetime: settings.lifetime, clockOffset: timeOfDay)
    let lifetime = settings.lifetime.nanoseconds / 1_000_000_000
    let now: @Sendable () -> Int64 = { (clock() + timeOfDay).nanoseconds / 1_000_000_000 }
    tickets =
      if let shared {
        TicketKeys(
          secret: Self.derive("cloudbridge session tickets", from: shared) { AuthenticationKey($0) },
          lifetime: lifetime, now: now)
      } else {
        TicketKeys(lifetime: lifetime, now: now)
      }
  }

  private static func tlsKey(_ file: String) throws -> SymmetricKey {
    var data = try Data(contentsOf: URL(fileURLWithPath: file))
    defer { data.resetBytes(in: data.indices) }
    return SymmetricKey(data: data)
  }

  /// HKDF (RFC 5869); the bytes lent are erased afterwards.
  private static func derive<Result>(
    _ use: String, from secret: SymmetricKey, _ body: (UnsafeRawBufferPointer) -> Result
  ) -> Result {
    HKDF<SHA256>.deriveKey(inputKeyMaterial: secret, info: Data(use.utf8), outputByteCount: 32).withUnsafeBytes(body)
  }
}
