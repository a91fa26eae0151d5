import CBActors
import Foundation
import Identity
import MASQUE
import PacketCrypto
import QUIC
import QUICTLS
import Settings
import Wire

// What the settings mean to the modules that do the work.

extension PoPSettings.Transport {
  /// Of the processors that this process may use.
  var ringCount: Int { rings > 0 ? rings : min(ProcessInfo.processInfo.activeProcessorCount, RingShare.maximumCount) }
}

extension RoutableServer {
  /// Throws ``RoutingConfiguration/Mistake``, or what is wrong with the key's file.
  convenience init(_ balancing: PoPSettings.LoadBalancing) throws {
    let key = try balancing.keyFile.map { file in
      let secret = try Secret(file: file)
      guard let key = ValueKind.bytes(secret.exposed), key.count == 16 else { throw SecretFileError.noKey(file) }
      return key
    }
    try self.init(
      RoutingConfiguration(
        identifier: balancing.configID, serverIDLength: balancing.serverID.count,
        nonceLength: balancing.nonceLength, key: key),
      serverID: balancing.serverID, entropy: SystemEntropy.shared)
  }
}

extension QUIC.Configuration {
  init(_ transport: PoPSettings.Transport) {
    self = .tunnels
    maxIdleTimeout = transport.idleTimeout
    handshakeTimeout = transport.handshakeTimeout
    maximumMTU = transport.maximumMTU
    preferredAddresses = transport.preferredAddresses
    versions = transport.versions.map { $0 == .v1 ? .v1 : .v2 }
    congestion = transport.congestion
  }
}

extension QUIC.Endpoint<HTTP3Session>.RetryPolicy {
  init(_ retry: PoPSettings.Transport.Retry) {
    self =
      switch retry {
      case .never: .never
      case .always: .always
      case .underLoad: .underLoad(halfOpen: 1_000)
      }
  }
}

extension ClientAuthentication {
  init(_ certificates: PoPSettings.ClientCertificates) {
    self =
      switch certificates {
      case .off: .none
      case .optional(let file): .optional(.certificateFiles(file))
      case .required(let file): .required(.certificateFiles(file))
      }
  }
}

extension TargetPolicy {
  init(_ settings: PoPSettings) {
    let own = (settings.listen + settings.transport.preferredAddresses).compactMap {
      IPPrefix($0.ip, length: $0.ip.bitWidth)
    }
    .filter { !$0.address.isUnspecified && !$0.address.isLoopback }
    var openings = settings.policy.allowPrefixes.map { TargetPolicy.Opening($0) }
    if settings.policy.allowPrivate {
      openings += ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7"]
        .compactMap { IPPrefix($0) }.map { TargetPolicy.Opening($0) }
    }
    self.init(
      ownAddresses: own, deniedPrefixes: settings.policy.denyPrefixes, openings: openings,
      ports: settings.policy.ports.isEmpty ? [1...65_535] : settings.policy.ports)
  }
}

extension Identity.TrustProfile {
  /// Throws ``Identity/TrustProfile/Mistake``, or the error of a secret's file that cannot be read.
  init(_ profile: PoPSettings.TrustProfile) throws {
    let source: KeySource
    if let file = profile.hmacSecretFile {
      source = .sharedSecret(try Secret(file: file))
    } else if let url = profile.jwksURL {
      source = .jwks(try EndpointURL(url))
    } else {
      source = .discovery
    }
    try self.init(
      issuer: profile.issuer, audiences: Set(profile.audience),
      algorithms: Set(profile.algorithms.compactMap { SignatureAlgorithm(rawValue: $0) }), keySource: source,
      clockSkew: Int(profile.clockSkew.seconds), requiredScopes: Set(profile.requiredScopes),
      requiredRoles: Set(profile.requiredRoles))
  }
}

extension Secret {
  /// Reads a secret that others must not be able to read; one line feed at its end is not part of it.
  convenience init(file path: String) throws {
    let attributes = try FileManager.default.attributesOfItem(atPath: path)
    if let mode = attributes[.posixPermissions] as? Int, mode & 0o077 != 0 {
      throw SecretFileError.readableByOthers(path, mode)
    }
    var data = try Data(contentsOf: URL(fileURLWithPath: path))
    defer { data.resetBytes(in: data.indices) }
    var bytes = Array(data)
    if bytes.last == 0x0a { bytes.removeLast() }
    self.init(bytes)
    for index in bytes.indices { bytes[index] = 0 }
  }
}

/// Why a file with a secret is not used.
public enum SecretFileError: Error, Hashable, Sendable, CustomStringConvertible {
  case readableByOthers(String, Int)
  case noKey(String)
  case noPassword(String)
  case tooShort(String, least: Int)
  public var description: String {
    switch self {
    case .tooShort(let path, let least): "\(path) holds less than \(least) bytes"
    case .noPassword(let path): "\(path) does not hold a password of 1 to 80 bytes"
    case .noKey(let path): "\(path) does not hold 32 hexadecimal digits"
    case .readableByOthers(let path, let mode):
      "\(path) can be read by others (mode \(String(mode, radix: 8))): chmod 600 \(path)"
    }
  }
}

extension IPPrefix {
  /// A prefix, or an address for it alone.
  init?(settingsText text: String) {
    guard let prefix = IPPrefix(text) ?? IPAddress(text).flatMap({ IPPrefix($0, length: $0.bitWidth) }) else {
      return nil
    }
    self = prefix
  }
}
