import QUIC
public import Settings
import Wire

extension PoPSettings {
  /// Every key of the PoP's settings. `deploy/cbpop.yaml` is made from this (a test keeps the two equal).
  public static let schema = Schema([
    .value("name", .identifier, default: "pop", "What clients and logs call this PoP, such as fra1."),
    .list(
      "listen", .socketAddress, default: ["0.0.0.0:443"],
      "UDP addresses to take QUIC connections on. [::]:443 takes IPv6."),
    .section(
      "tls", "The PoP's certificate.",
      [
        .value(
          "certificateFile", .path, example: "/etc/cloudbridge/tls/fullchain.pem",
          "The chain as PEM, the PoP's own first. Relative to this file."),
        .value(
          "privateKeyFile", .path, example: "/etc/cloudbridge/tls/key.pem",
          "Its private key as PEM. Must not be readable by others."),
        .value(
          "clientCertificates", .choice(["off", "optional", "required"]), default: "off",
          "Whether clients are asked for certificates of their own. One that is shown must lead to clientAuthorities."),
        .value(
          "clientAuthorities", .path, example: "/etc/cloudbridge/tls/clients-ca.pem",
          "Who may issue clients' certificates, as PEM. Relative to this file."),
        .value(
          "secretFile", .path, example: "/etc/cloudbridge/tls/secret",
          "A secret of 32 random bytes or more, from which the keys of session tickets and address tokens follow. With it "
            + "they outlive a restart, and PoPs that share it take each other's. Without it, tickets end with the process. "
            + "Must not be readable by others."),
        .value(
          "ticketLifetime", .duration(.seconds(60)...(.seconds(7 * 86_400))), default: "24h",
          "How long tickets and tokens are good, and how long a key makes them before the next one does."),
      ]),
    .section(
      "identity", "Whose tokens open tunnels.",
      [
        .sections(
          "profiles",
          example: [
            [
              "name": "zitadel", "issuer": "https://login.example.net", "audience": "123456789012345678",
              "algorithms": "RS256,ES256,EdDSA",
            ]
          ],
          "Trust profiles. A token is judged by the one whose issuer it names, and by no other.", trustProfileKeys)
      ]),
    policySection,
    limitsSection,
    transportSection,
    .section(
      "dns", "How the PoP resolves the targets of tunnels.",
      [.resolvers]),
    bgpSection,
    .section(
      "control", "Where cbpop's own commands, such as cbpop bgp show, ask the running PoP.",
      [
        .value(
          "socket", .path, default: "/run/cloudbridge/cbpop.sock",
          "A Unix socket that only the PoP's user may open. Relative to this file.")
      ]),
    .section(
      "pages", "What the PoP serves to anyone.",
      [
        .value(
          "directory", .path, example: "/var/www/cloudbridge",
          "Its files are read at start, at most 64 MiB, and served over HTTP/3 without a token: index.html for its "
            + "directory, nothing whose name begins with a dot. Relative to this file.")
      ]),
    .section(
      "dev", "What --dev opens on loopback addresses, for trying things out on one machine.",
      [
        .value("domain", .host, default: "cloudbridge.test", "The PoP's domain in --dev."),
        .value(
          "issuerAddress", .loopbackAddress(anyPort: true), default: "127.0.0.1:8081",
          "The embedded issuer (OpenID Connect, device flow)."),
        .value(
          "dnsAddress", .loopbackAddress(anyPort: true), default: "127.0.0.1:5300",
          "The embedded DNS server, which answers for the domain."),
      ]),
  ])

  private static let trustProfileKeys: [Schema.Key] = [
    .value("name", .identifier, required: true, "For logs and counters."),
    .value("issuer", .text, required: true, "The exact iss claim."),
    .list("audience", .text, required: true, "One of these must be in the aud claim."),
    .list(
      "algorithms", .choice(algorithms), default: ["RS256", "ES256", "EdDSA"],
      "The only signatures taken. HS256 stands alone and needs hmacSecretFile."),
    .value(
      "jwksURL", .secureURL, example: "https://login.example.net/oauth/v2/keys",
      "Where the issuer's keys are. Without it, OpenID Connect discovery at the issuer says."),
    .value(
      "hmacSecretFile", .path, example: "/etc/cloudbridge/hmac.key",
      "The shared secret of HS256, at least 32 bytes. Must not be readable by others."),
    .list("requiredScopes", .text, "Scopes that a token must all carry."),
    .list("requiredRoles", .text, "Roles that a token must all carry."),
    .value("clockSkew", .duration(.zero...(.seconds(300))), default: "30s", "Tolerance for exp, nbf and iat."),
  ]

  static let algorithms = ["RS256", "RS384", "RS512", "ES256", "ES384", "ES512", "EdDSA", "HS256"]

  private static let policySection = Schema.Key.section(
    "policy",
    "Where tunnels may lead. Loopback, link-local, multicast and the PoP's own addresses are refused unless a "
      + "prefix of allowPrefixes covers them.",
    [
      .value(
        "allowPrivate", .boolean, default: "false",
        "Allow private (RFC 1918, RFC 4193) and shared (RFC 6598) addresses."),
      .list("allowPrefixes", .prefix, example: ["10.20.0.0/16"], "Allowed whatever the rules above say."),
      .list("denyPrefixes", .prefix, example: ["198.51.100.0/24"], "Refused whatever else allows them."),
      .list(
        "ports", .portRange, example: ["53", "80", "443", "8000-8999"],
        "The only target ports allowed. Empty: all of them."),
    ])

  private static let limitsSection = Schema.Key.section(
    "limits", "What one PoP and one user may hold at a time.",
    [
      .value("connections", .integer(1...10_000_000), default: "10000", "QUIC connections."),
      .value("tunnels", .integer(1...10_000_000), default: "100000", "Tunnels of all users."),
      .value("tunnelsPerUser", .integer(1...1_000_000), default: "1000", "Tunnels of one subject."),
      .value(
        "udpIdleTimeout", .duration(.seconds(1)...(.seconds(86_400))), default: "2m",
        "Silence after which a UDP tunnel ends (RFC 4787 asks for two minutes or more)."),
      .value(
        "tcpIdleTimeout", .duration(.seconds(1)...(.seconds(86_400))), default: "15m",
        "Silence after which a TCP tunnel ends."),
      .value(
        "connectTimeout", .duration(.milliseconds(100)...(.seconds(300))), default: "10s",
        "How long opening a TCP connection to a target may take."),
      .value(
        "signInTimeout", .duration(.seconds(1)...(.seconds(300))), default: "10s",
        "How long a connection may stay without a valid token."),
      .value(
        "drainTimeout", .duration(.zero...(.seconds(3600))), default: "10s",
        "How long open tunnels may go on after the order to stop."),
    ])

  private static let transportSection = Schema.Key.section(
    "transport", "The QUIC connections.",
    [
      .value(
        "rings", .integer(0...RingShare.maximumCount), default: "0",
        "Threads that serve connections, each with its own share of them. 0: one for each processor."),
      .list(
        "preferredAddresses", .socketAddress, example: ["198.51.100.7:443"],
        "Where clients go on once connected: this PoP's own unicast address behind an anycast one, at most one of each "
          + "family. Listened on as well (RFC 9000 section 9.6)."),
      .list(
        "versions", .choice(["v1", "v2"]), default: ["v1", "v2"],
        "The versions of QUIC spoken (RFC 9000, RFC 9369). A client that begins with another is told of these."),
      .congestion, .idleTimeout, .handshakeTimeout, .maximumMTU,
      .value(
        "retry", .choice(["never", "always", "under-load"]), default: "under-load",
        "When to make clients prove their address by a Retry packet (RFC 9000 section 8.1.2)."),
      .qlogDirectory(example: "/var/log/cloudbridge/qlog"),
      .section(
        "loadBalancing",
        "Connection IDs that name this PoP to balancers (draft-ietf-quic-load-balancers). All of it must be what the "
          + "balancers are configured with.",
        [
          .value(
            "serverID", .hexadecimal(bytes: 1...11), example: "0a3f01",
            "Which server this is. Without it, connection IDs are random."),
          .value(
            "nonceLength", .integer(RoutableServer.leastNonceLength...18), default: "8",
            "Bytes of each connection ID that make it another one."),
          .value("configID", .integer(0...6), default: "0", "The config rotation bits."),
          .value(
            "keyFile", .path, example: "/etc/cloudbridge/lb.key",
            "An AES-128 key as 32 hexadecimal digits. Without it anyone can read the server ID. Must not be readable by "
              + "others."),
        ]),
    ])
}
