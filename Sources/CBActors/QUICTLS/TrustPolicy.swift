/// Whom an endpoint believes to be its peer. The fields narrow each other.
///
/// With anchors (`system` or `certificates`), the peer's chain must lead to one of them, be in date, and be issued for
/// the name asked for. With `pinnedPublicKeys` as well, one of the keys in that chain must be among them. With pins and
/// no anchors, the pinned key of the leaf alone proves the peer, whatever else its certificate says.
public struct TrustPolicy: Hashable, Sendable {
  /// Trust the certificate authorities of the operating system.
  public var system: Bool
  /// Further anchors: PEM, one or more certificates in each element.
  public var certificates: [[UInt8]]
  /// Further anchors: PEM files, read when the context is built.
  public var certificateFiles: [String]
  /// SHA-256 digests (32 bytes) of SubjectPublicKeyInfo.
  public var pinnedPublicKeys: [[UInt8]]

  public init(
    system: Bool = false, certificates: [[UInt8]] = [], certificateFiles: [String] = [],
    pinnedPublicKeys: [[UInt8]] = []
  ) {
    self.system = system
    self.certificates = certificates
    self.certificateFiles = certificateFiles
    self.pinnedPublicKeys = pinnedPublicKeys
  }

  public static let system = TrustPolicy(system: true)
  public static func certificates(_ pem: [UInt8]...) -> TrustPolicy { TrustPolicy(certificates: pem) }
  public static func certificateFiles(_ paths: String...) -> TrustPolicy { TrustPolicy(certificateFiles: paths) }
  public static func pinnedPublicKeys(_ pins: [UInt8]...) -> TrustPolicy { TrustPolicy(pinnedPublicKeys: pins) }

  /// Where Debian and its relatives keep the system's authorities.
  public static let systemBundlePath = "/etc/ssl/certs/ca-certificates.crt"

  var hasAnchors: Bool { system || !certificates.isEmpty || !certificateFiles.isEmpty }
}
