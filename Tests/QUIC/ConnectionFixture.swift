import PacketCrypto
import QUIC
import QUICTLS

/// A self-signed certificate for pop.example, and TLS contexts around it. For tests alone.
enum ConnectionFixture {
  static let certificate = """
    -----BEGIN CERTIFICATE-----
    MIIBmzCCAUGgAwIBAgIUWjrk5JPzKUzK1bE6xR8xj7kJl6UwCgYIKoZIzj0EAwIw
    FjEUMBIGA1UEAwwLcG9wLmV4YW1wbGUwIBcNMjYxMTIzMTYwOTI5WhgPMjEyNjEw
    MzAxNjA5MjlaMBYxFDASBgNVBAMMC3BvcC5leGFtcGxlMFkwEwYHKoZIzj0CAQYI
    KoZIzj0DAQcDQgAEZNfP6IfQv6pjxT7XRBdHJmSsi8UXXnk3w8xIySi20a2CReqN
    WPvmwlhTCFrqaC/PO6+UD7/PK1n2YWdeQ5zUmqNrMGkwHQYDVR0OBBYEFAvD5lDg
    W3vjRwCT3QrMJQqL9JDGMB8GA1UdIwQYMBaAFAvD5lDgW3vjRwCT3QrMJQqL9JDG
    MA8GA1UdEwEB/wQFMAMBAf8wFgYDVR0RBA8wDYILcG9wLmV4YW1wbGUwCgYIKoZI
    zj0EAwIDSAAwRQIgHUxcSqv6ouheTFFhgB5E+3foMt5jAq/LWmnhkJCHnfQCIQD1
    UcAJXe8n197SvjRGi64OWr8Y+bMzWFyq8GVDObGy5Q==
    -----END CERTIFICATE-----
    """
  static let key = """
    -----BEGIN PRIVATE KEY-----
    MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgiN9/ziz0wGcB/FRd
    DsMLQG5sH2uqr/Wr4hQjBMIpYDyhRANCAARk18/oh9C/qmPFPtdEF0cmZKyLxRde
    eTfDzEjJKLbRrYJF6o1Y++bCWFMIWupoL887r5QPv88rWfZhZ15DnNSa
    -----END PRIVATE KEY-----
    """

  static func server(
    _ protocols: [String] = ["h3"], earlyDataContext: [UInt8]? = nil
  ) throws -> ServerTLSContext {
    try ServerTLSContext(
      identity: identity(), applicationProtocols: protocols, earlyDataContext: earlyDataContext)
  }

  static func client(
    _ protocols: [String] = ["h3"], offersEarlyData: Bool = false,
    cipherSuites: [CipherSuite] = CipherSuite.allCases
  ) throws -> ClientTLSContext {
    try ClientTLSContext(
      trust: .certificates(Array(certificate.utf8)), applicationProtocols: protocols,
      offersEarlyData: offersEarlyData, cipherSuites: cipherSuites)
  }

  private static func identity() throws -> TLSIdentity {
    try TLSIdentity(certificateChain: Array(certificate.utf8), privateKey: Array(key.utf8))
  }
}
