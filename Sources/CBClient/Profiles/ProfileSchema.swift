public import Settings
import Wire

extension Profile {
  /// Every key of a profile. `profiles/example.yaml` is made from this (a test keeps the two equal).
  public static let schema = Schema([
    .value(
      "name", .identifier, example: "example",
      "The profile's name. It is the file's own name without .yaml; if it stands here it must be the same."),
    .value("description", .text, example: "Example deployment", "A line for `profile list`."),
    popSection,
    identitySection,
    transportSection,
    .section(
      "proxy", "Local entry points, on loopback addresses alone. Port 0 lets the kernel choose.",
      [
        .value("enabled", .boolean, default: "true", "Whether to open them at all."),
        .value(
          "socks", .loopbackAddress(anyPort: true), default: "127.0.0.1:1080",
          "SOCKS5 (CONNECT and UDP ASSOCIATE)."),
        .value(
          "http", .loopbackAddress(anyPort: true), default: "127.0.0.1:8118",
          "HTTP CONNECT proxy."),
      ]),
    .section(
      "dns", "How PoPs are found.",
      [.resolvers]),
    .section(
      "reconnect", "After a connection is lost, attempts follow with exponential back-off and jitter.",
      [
        .value(
          "initialDelay", .duration(.milliseconds(10)...(.seconds(60))), default: "250ms",
          "Before the first attempt."),
        .value(
          "maxDelay", .duration(.milliseconds(10)...(.seconds(3600))), default: "30s",
          "The longest pause between two attempts."),
      ]),
    .sections(
      "tunnels",
      example: [
        ["name": "resolver", "type": "udp", "listen": "127.0.0.1:5353", "target": "dns.example.net:53"],
        ["name": "web", "type": "tcp", "listen": "127.0.0.1:8080", "target": "intranet.example.net:80"],
      ],
      "Ports forwarded through the PoP as soon as it is connected.",
      [
        .value("name", .identifier, required: true, "What `tunnel list` and `tunnel remove` call it."),
        .value("type", .choice(["udp", "tcp"]), required: true, "udp is CONNECT-UDP (RFC 9298), tcp is CONNECT."),
        .value(
          "listen", .loopbackAddress(anyPort: true), required: true, "A loopback address:port. Port 0: any free one."),
        .value("target", .hostPort, required: true, "host:port, resolved by the PoP."),
      ]),
  ])

  private static let popSection = Schema.Key.section(
    "pop", "The Points of Presence to connect to: a domain to be resolved, or addresses, or both.",
    [
      .value(
        "domain", .host, example: "pop.example.net", shown: true,
        "Resolved as HTTPS, then SRV (_cloudbridge._udp), then A and AAAA records."),
      .list(
        "addresses", .hostPort, example: ["192.0.2.10:443", "[2001:db8::10]:443"],
        "Candidates as host:port, besides those that the domain gives."),
      .value(
        "port", .integer(1...65535), default: "443",
        "The UDP port where neither an address nor a DNS record names one."),
      .value(
        "template", .uriTemplate(variables: ["target_host", "target_port"]),
        example: "https://pop.example.net/.well-known/masque/udp/{target_host}/{target_port}/",
        "The URI template of CONNECT-UDP (RFC 9298 section 3). The default is the well-known one at the server name."),
      .value(
        "serverName", .host, example: "pop.example.net",
        "The name in the PoP's certificate. The default is the domain, or else the address's host."),
      .section(
        "trust", "What the PoP's certificate must lead to.",
        [
          .value("systemRoots", .boolean, default: "true", "Trust the system's certificate authorities."),
          .value("caFile", .path, example: "ca.pem", "More authorities, as a PEM file. Relative to this file."),
          .list(
            "pins", .sha256, example: ["47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="],
            "SHA-256 of the public key (SubjectPublicKeyInfo), in base64. With any, the chain must hold one of them."),
        ]),
      .section(
        "clientCertificate", "What is shown to a PoP that asks its clients for certificates.",
        [
          .value(
            "certificateFile", .path, example: "me.pem", "The chain as PEM, one's own first. Relative to this file."),
          .value(
            "privateKeyFile", .path, example: "me-key.pem",
            "Its private key as PEM. Must not be readable by others."),
        ]),
    ])

  private static let identitySection = Schema.Key.section(
    "identity", "Who signs users in (OpenID Connect, device flow).",
    [
      .value(
        "issuer", .secureURL, example: "https://login.example.net", required: true,
        "The issuer's URL; its endpoints are discovered. http is for loopback addresses alone."),
      .value("clientID", .text, default: "cbterm", "The public client's identifier at the issuer."),
      .list(
        "scopes", .text, default: ["openid", "profile", "email", "offline_access"],
        "offline_access asks for a refresh token, so that a session outlives the access token."),
    ])

  private static let transportSection = Schema.Key.section(
    "transport", "The QUIC connection.",
    [
      .congestion, .handshakeTimeout, .idleTimeout,
      .value(
        "keepAlive", .duration(.zero...(.seconds(3600))), default: "10s",
        "A PING after so much silence. 0: none. Must be less than idleTimeout."),
      .value(
        "initialMTU", .integer(1200...65527), default: "1200",
        "The UDP payload in bytes to begin with. 1200 passes everywhere (RFC 9000 section 14)."),
      .maximumMTU,
      .qlogDirectory(example: "/tmp/qlog"),
    ])
}
