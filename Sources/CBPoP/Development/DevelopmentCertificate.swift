import Crypto
public import Foundation
import SwiftASN1
import X509

/// The certificate of a PoP started with `--dev`: a private CA and a leaf for loopback, made at first
/// start and kept, so that a client that trusts the CA keeps trusting it across restarts.
public struct DevelopmentCertificate: Sendable {
  public let certificateAuthorityFile: URL
  public let chainFile: URL
  public let keyFile: URL

  /// Loads the files under `directory`, or makes them: P-256 keys, the CA valid for a year, the leaf for 90 days.
  /// A leaf that has less than a day left, or lacks one of `names`, is made anew.
  ///
  /// - Parameter names: the DNS names that the leaf must carry; the loopback addresses are always in it.
  public init(directory: URL, names: [String], now: Date) throws {
    certificateAuthorityFile = directory.appendingPathComponent("ca.pem")
    chainFile = directory.appendingPathComponent("pop.pem")
    keyFile = directory.appendingPathComponent("pop-key.pem")
    let authorityKeyFile = directory.appendingPathComponent("ca-key.pem")
    try FileManager.default.createDirectory(
      at: directory, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])

    if let leaf = try? Certificate(pemEncoded: String(contentsOf: chainFile, encoding: .utf8)),
      leaf.notValidAfter.timeIntervalSince(now) > 86_400,
      let alternatives = try? leaf.extensions.subjectAlternativeNames,
      names.allSatisfy({ alternatives.contains(.dnsName($0)) }),
      FileManager.default.fileExists(atPath: keyFile.path),
      let authority = try? Certificate(pemEncoded: String(contentsOf: certificateAuthorityFile, encoding: .utf8)),
      authority.publicKey.isValidSignature(leaf.signature, for: leaf)
    {
      return
    }

    let (authority, authorityKey) = try Self.authority(
      certificateFile: certificateAuthorityFile, keyFile: authorityKeyFile, now: now)
    let key = P256.Signing.PrivateKey()
    let loopback: [GeneralName] = [
      .ipAddress(ASN1OctetString(contentBytes: [127, 0, 0, 1])),
      .ipAddress(ASN1OctetString(contentBytes: ArraySlice([UInt8](repeating: 0, count: 15) + [1]))),
    ]
    let leaf = try Certificate(
      version: .v3, serialNumber: Certificate.SerialNumber(), publicKey: .init(key.publicKey),
      notValidBefore: now.addingTimeInterval(-300), notValidAfter: now.addingTimeInterval(90 * 86_400),
      issuer: authority.subject,
      subject: DistinguishedName { CommonName(names.first ?? "localhost") },
      signatureAlgorithm: .ecdsaWithSHA256,
      extensions: Certificate.Extensions {
        Critical(BasicConstraints.notCertificateAuthority)
        KeyUsage(digitalSignature: true)
        try ExtendedKeyUsage([.serverAuth])
        SubjectAlternativeNames(names.map { .dnsName($0) } + loopback)
      },
      issuerPrivateKey: authorityKey)
    try Self.write(key.pemRepresentation, to: keyFile, mode: 0o600)
    try Self.write(leaf.serializeAsPEM().pemString + "\n", to: chainFile, mode: 0o644)
  }

  private static func authority(
    certificateFile: URL, keyFile: URL, now: Date
  ) throws -> (Certificate, Certificate.PrivateKey) {
    if let certificate = try? Certificate(pemEncoded: String(contentsOf: certificateFile, encoding: .utf8)),
      let key = try? P256.Signing.PrivateKey(pemRepresentation: String(contentsOf: keyFile, encoding: .utf8)),
      certificate.notValidAfter.timeIntervalSince(now) > 90 * 86_400,
      certificate.publicKey == .init(key.publicKey)
    {
      return (certificate, .init(key))
    }
    let key = P256.Signing.PrivateKey()
    let name = try DistinguishedName { CommonName("CloudBridge development CA") }
    let certificate = try Certificate(
      version: .v3, serialNumber: Certificate.SerialNumber(), publicKey: .init(key.publicKey),
      notValidBefore: now.addingTimeInterval(-300), notValidAfter: now.addingTimeInterval(365 * 86_400),
      issuer: name, subject: name, signatureAlgorithm: .ecdsaWithSHA256,
      extensions: Certificate.Extensions {
        Critical(BasicConstraints.isCertificateAuthority(maxPathLength: 0))
        Critical(KeyUsage(keyCertSign: true, cRLSign: true))
      },
      issuerPrivateKey: .init(key))
    try write(key.pemRepresentation, to: keyFile, mode: 0o600)
    try write(certificate.serializeAsPEM().pemString + "\n", to: certificateFile, mode: 0o644)
    return (certificate, .init(key))
  }

  /// Writes beside the file and renames, so that no reader sees half a file or a key that others can read.
  static func write(_ text: String, to file: URL, mode: Int) throws {
    let temporary = file.appendingPathExtension("new")
    try? FileManager.default.removeItem(at: temporary)
    guard
      FileManager.default.createFile(
        atPath: temporary.path, contents: Data(text.utf8), attributes: [.posixPermissions: mode])
    else { throw CocoaError(.fileWriteUnknown, userInfo: [NSFilePathErrorKey: temporary.path]) }
    guard rename(temporary.path, file.path) == 0 else {
      throw CocoaError(.fileWriteUnknown, userInfo: [NSFilePathErrorKey: file.path])
    }
  }
}
