public import FoundationEssentials

/// Who a verified token speaks for, and until when.
public struct VerifiedIdentity: Sendable, Equatable {
  public struct Organisation: Sendable, Hashable {
    public let id: String
    public let name: String?
    public let primaryDomain: String?
  }

  /// `sub`: unique and never reassigned within the issuer.
  public let subject: String
  public let issuer: String
  public let audience: [String]
  /// The application that asked for the token (`client_id`, else `azp`).
  public let clientID: String?
  /// The user's name where the token carries one; safe to print.
  public let name: String?
  public let email: String?
  public let scopes: Set<String>
  public let roles: Set<String>
  /// For each role, the ids of the organisations that granted it; empty where the token does not say.
  public let roleOrganisations: [String: Set<String>]
  /// The organisation the user belongs to (`urn:zitadel:iam:user:resourceowner:*`).
  public let organisation: Organisation?
  /// `jti`, where the issuer names its tokens.
  public let tokenID: String?
  public let issuedAt: Date?
  public let expiresAt: Date
  /// The first eight bytes of the token's hash, in hexadecimal: tells tokens apart in a log and says
  /// nothing else of them.
  public let tokenFingerprint: String
}

extension VerifiedIdentity {
  /// Reads claims whose signature, issuer and times are already accepted.
  init(
    claims: JSONValue, subject: String, issuer: String, audience: [String], issuedAt: Date?, expiresAt: Date,
    projectID: String?, fingerprint: String
  ) {
    self.subject = subject
    self.issuer = issuer
    self.audience = audience
    self.issuedAt = issuedAt
    self.expiresAt = expiresAt
    tokenFingerprint = fingerprint
    tokenID = claims["jti"]?.string
    clientID = claims["client_id"]?.string ?? claims["azp"]?.string
    name = (claims["name"]?.string ?? claims["preferred_username"]?.string)?.displayable(limit: 200)
    email = claims["email"]?.string?.displayable(limit: 254)
    scopes =
      if let text = claims["scope"]?.string {
        Set(text.split(separator: " ").map(String.init))
      } else {
        Set(claims["scope"]?.strings ?? claims["scp"]?.strings ?? [])
      }
    var granted: [String: Set<String>] = [:]
    VerifiedIdentity.addRoles(claims["urn:zitadel:iam:org:project:roles"], to: &granted)
    if let projectID {
      VerifiedIdentity.addRoles(claims["urn:zitadel:iam:org:project:\(projectID):roles"], to: &granted)
    }
    roleOrganisations = granted
    roles = Set(granted.keys)
    let owner = "urn:zitadel:iam:user:resourceowner:"
    organisation = claims[owner + "id"]?.string.map {
      Organisation(
        id: $0, name: claims[owner + "name"]?.string?.displayable(limit: 200),
        primaryDomain: claims[owner + "primary_domain"]?.string?.displayable(limit: 254))
    }
  }

  /// Roles come as `{"role": {"orgId": "domain"}}`; the documentation shows an array of such objects,
  /// and other issuers send names alone.
  private static func addRoles(_ claim: JSONValue?, to granted: inout [String: Set<String>]) {
    switch claim {
    case .object(let roles):
      for (role, organisations) in roles {
        granted[role, default: []].formUnion(organisations.object?.keys.map { $0 } ?? [])
      }
    case .array(let entries):
      for entry in entries {
        if let name = entry.string {
          granted[name, default: []].formUnion([])
        } else if entry.object != nil {
          addRoles(entry, to: &granted)
        }
      }
    default: break
    }
  }
}
