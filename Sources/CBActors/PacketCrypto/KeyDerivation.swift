internal import CNIOBoringSSL

/// HKDF (RFC 5869) as TLS 1.3 uses it (RFC 8446 §7.1).
public enum KeyDerivation {
  /// HKDF-Extract.
  public static func extract(
    salt: UnsafeRawBufferPointer, inputKeyMaterial: UnsafeRawBufferPointer, hash: HashFunction
  ) -> TrafficSecret {
    withUnsafeTemporaryAllocation(byteCount: hash.digestLength, alignment: 8) { output in
      var length = 0
      let done = HKDF_extract(
        output.baseAddress, &length, hash.digest, inputKeyMaterial.baseAddress, inputKeyMaterial.count,
        salt.baseAddress, salt.count)
      // BoringSSL fails here only when memory is exhausted, and then there is nothing to go on with.
      precondition(done == 1 && length == hash.digestLength, "HKDF-Extract failed")
      let secret = TrafficSecret(UnsafeRawBufferPointer(output))
      OPENSSL_cleanse(output.baseAddress, output.count)
      return secret
    }
  }

  /// HKDF-Expand-Label with an empty context, filling `output` (at most 255 bytes).
  public static func expandLabel(
    _ secret: UnsafeRawBufferPointer, _ label: StaticString, hash: HashFunction,
    into output: UnsafeMutableRawBufferPointer
  ) {
    precondition(output.count <= 255)
    // struct HkdfLabel { uint16 length; opaque label<7..255> = "tls13 " + Label; opaque context<0..255>; }
    let prefix: StaticString = "tls13 "
    let labelLength = prefix.utf8CodeUnitCount + label.utf8CodeUnitCount
    withUnsafeTemporaryAllocation(byteCount: 2 + 1 + labelLength + 1, alignment: 1) { info in
      info[0] = 0
      info[1] = UInt8(output.count)
      info[2] = UInt8(labelLength)
      var end = 3
      for part in [prefix, label] {
        let size = part.utf8CodeUnitCount
        (info.baseAddress! + end).copyMemory(from: part.utf8Start, byteCount: size)
        end += size
      }
      info[end] = 0
      let done = HKDF_expand(
        output.baseAddress, output.count, hash.digest, secret.baseAddress, secret.count, info.baseAddress, info.count)
      precondition(done == 1, "HKDF-Expand failed")
    }
  }

  /// HKDF-Expand-Label to a new secret of the hash's length.
  public static func expandLabel(
    _ secret: TrafficSecret, _ label: StaticString, hash: HashFunction
  ) -> TrafficSecret {
    withUnsafeTemporaryAllocation(byteCount: hash.digestLength, alignment: 8) { output in
      secret.withUnsafeBytes { expandLabel($0, label, hash: hash, into: output) }
      let derived = TrafficSecret(UnsafeRawBufferPointer(output))
      OPENSSL_cleanse(output.baseAddress, output.count)
      return derived
    }
  }
}

extension HashFunction {
  var digest: OpaquePointer { self == .sha256 ? EVP_sha256() : EVP_sha384() }
}

/// The secrets that protect Initial packets, known to anyone who sees the client's first packet
/// (RFC 9001 §5.2).
public struct InitialSecrets {
  public let client: TrafficSecret
  public let server: TrafficSecret

  /// - Parameter destinationConnectionID: of the client's first Initial packet, or of its first
  ///   Initial packet after a Retry.
  public init(version: Version = .v1, destinationConnectionID: UnsafeRawBufferPointer) {
    let initial = version.initialSalt.withUnsafeBytes {
      KeyDerivation.extract(salt: $0, inputKeyMaterial: destinationConnectionID, hash: .sha256)
    }
    client = KeyDerivation.expandLabel(initial, "client in", hash: .sha256)
    server = KeyDerivation.expandLabel(initial, "server in", hash: .sha256)
  }

  /// The suite of every Initial packet (RFC 9001 §5.2).
  public static let suite = CipherSuite.aes128GCM
}

extension TrafficSecret {
  /// The secret that follows this one after a key update (RFC 9001 §6.1).
  public func nextGeneration(suite: CipherSuite, version: Version = .v1) -> TrafficSecret {
    KeyDerivation.expandLabel(self, version.keyUpdateLabel, hash: suite.hash)
  }
}
