public import Foundation

/// The steps of a device-flow sign-in, as they happen.
public enum LoginProgress: Hashable, Codable, Sendable {
  case contactingIssuer(String)
  /// Show these to the user; the engine is polling from now on.
  case userCode(DeviceCode)
  /// The issuer asked for slower polling (RFC 8628 §3.5), or a poll failed and is tried again.
  case waiting(reason: String)
}

/// What the user needs to approve a sign-in on another device (RFC 8628 §3.2).
public struct DeviceCode: Hashable, Codable, Sendable {
  public var userCode: String
  public var verificationURI: String
  /// The same with the code inside: what a QR code should carry.
  public var verificationURIComplete: String?
  public var expiresAt: Date

  public init(userCode: String, verificationURI: String, verificationURIComplete: String?, expiresAt: Date) {
    self.userCode = userCode
    self.verificationURI = verificationURI
    self.verificationURIComplete = verificationURIComplete
    self.expiresAt = expiresAt
  }
}

public struct Account: Hashable, Codable, Sendable {
  public var subject: String
  public var name: String?
  public var email: String?
  public var organisation: String?
  public var roles: [String]
  public var issuer: String
  /// When the access token ends; the engine renews it before that where the issuer allows.
  public var expiresAt: Date
  /// Whether a refresh token is stored.
  public var renewable: Bool

  public init(
    subject: String, name: String? = nil, email: String? = nil, organisation: String? = nil, roles: [String] = [],
    issuer: String, expiresAt: Date, renewable: Bool
  ) {
    self.subject = subject
    self.name = name
    self.email = email
    self.organisation = organisation
    self.roles = roles
    self.issuer = issuer
    self.expiresAt = expiresAt
    self.renewable = renewable
  }
}

public struct LogoutResult: Hashable, Codable, Sendable {
  /// Whether there was anything to forget.
  public var wasSignedIn: Bool
  /// Whether the issuer confirmed the revocation (RFC 7009). The local tokens are gone in any case.
  public var revoked: Bool

  public init(wasSignedIn: Bool, revoked: Bool) {
    self.wasSignedIn = wasSignedIn
    self.revoked = revoked
  }
}
