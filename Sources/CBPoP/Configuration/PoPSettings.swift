public import QUIC
public import Settings
public import Wire

/// The settings of a Point of Presence: flags over `CBR_*` variables over a YAML file over defaults.
public struct PoPSettings: Hashable, Sendable {
  public var name: String
  public var listen: [SocketAddress]
  /// Nil where neither file is named, as `--dev` makes its own.
  public var tls: TLS?
  public var clientCertificates: ClientCertificates
  public var tickets: Tickets
  public var trustProfiles: [TrustProfile]
  public var policy: Policy
  public var limits: Limits
  public var transport: Transport
  /// Empty: the system's own.
  public var dnsServers: [SocketAddress]
  public var bgp: BGP
  /// Where operators ask.
  public var controlSocket: String
  /// The directory whose files are served to anyone; nil serves none.
  public var pagesDirectory: String?
  public var dev: Dev

  public struct TLS: Hashable, Sendable {
    public var certificateFile: String
    public var privateKeyFile: String
  }

  /// The keys of what clients are given to come back with: session tickets and address tokens.
  public struct Tickets: Hashable, Sendable {
    /// Nil: tickets are good for this process alone.
    public var secretFile: String?
    public var lifetime: Interval
  }

  /// Whether clients are asked for certificates, and who may have issued them.
  public enum ClientCertificates: Hashable, Sendable {
    case off
    case optional(authoritiesFile: String)
    case required(authoritiesFile: String)
  }

  public struct TrustProfile: Hashable, Sendable {
    public var name: String
    public var issuer: String
    public var audience: [String]
    /// As JOSE names them (RFC 7518 §3.1, RFC 8037).
    public var algorithms: [String]
    /// Nil: by OpenID Connect discovery.
    public var jwksURL: String?
    /// Present exactly when ``algorithms`` is `HS256`.
    public var hmacSecretFile: String?
    public var requiredScopes: [String]
    public var requiredRoles: [String]
    public var clockSkew: Interval
  }

  /// Where tunnels may lead; `denyPrefixes` win over `allowPrefixes`, and those over the built-in refusals.
  public struct Policy: Hashable, Sendable {
    public var allowPrivate: Bool
    public var allowPrefixes: [IPPrefix]
    public var denyPrefixes: [IPPrefix]
    /// Empty: all of them.
    public var ports: [ClosedRange<UInt16>]
  }

  public struct Limits: Hashable, Sendable {
    public var connections: Int
    public var tunnels: Int
    public var tunnelsPerUser: Int
    public var udpIdleTimeout: Interval
    public var tcpIdleTimeout: Interval
    public var connectTimeout: Interval
    public var signInTimeout: Interval
    public var drainTimeout: Interval
  }

  public struct Transport: Hashable, Sendable {
    public enum Retry: String, Hashable, Sendable { case never, always, underLoad = "under-load" }
    public enum QUICVersion: String, Hashable, Sendable { case v1, v2 }
    /// 0: one for each processor.
    public var rings: Int
    /// At most one of each family.
    public var preferredAddresses: [SocketAddress]
    public var versions: [QUICVersion]
    public var congestion: CongestionAlgorithm
    public var idleTimeout: Interval
    public var handshakeTimeout: Interval
    /// The largest UDP payload in bytes.
    public var maximumMTU: Int
    public var retry: Retry
    /// Where each connection's qlog is written; nil writes none.
    public var qlogDirectory: String?
    /// Nil: connection IDs are random.
    public var loadBalancing: LoadBalancing?
  }

  /// draft-ietf-quic-load-balancers.
  public struct LoadBalancing: Hashable, Sendable {
    public var serverID: [UInt8]
    public var nonceLength: Int
    public var configID: UInt8
    public var keyFile: String?
  }

  public struct Dev: Hashable, Sendable {
    public var domain: String
    public var issuerAddress: SocketAddress
    public var dnsAddress: SocketAddress
  }
}

extension PoPSettings {
  /// Reads the settings.
  ///
  /// - Parameters:
  ///   - path: the YAML file; nil goes by flags, environment and defaults alone.
  ///   - flags: values by dotted path, which win over all else.
  ///   - isDev: `--dev` brings its own certificate and issuer, so that neither is missed.
  /// - Throws: every fault, with file and line, variable or flag, key, and the nearest valid key.
  public init(
    path: String?, flags: [(path: String, value: String, flag: String)] = [], environment: [String: String],
    isDev: Bool = false
  ) throws(SettingsError) {
    var file: SettingsFile?
    if let path { file = try SettingsFile(path: path, schema: Self.schema) }
    let settings = try ResolvedSettings(schema: Self.schema, file: file, flags: flags, environment: environment)
    try self.init(settings, source: file.map { .file($0.path, line: nil) } ?? .defaultValue, isDev: isDev)
  }

  /// Where the PoP of these settings is asked; the rest of them may be incomplete.
  public static func controlSocket(path: String?, environment: [String: String]) throws(SettingsError) -> String {
    var file: SettingsFile?
    if let path { file = try SettingsFile(path: path, schema: Self.schema) }
    let settings = try ResolvedSettings(schema: Self.schema, file: file, flags: [], environment: environment)
    return settings.path("control.socket") ?? ""
  }

  init(_ settings: ResolvedSettings, source: SettingsOrigin, isDev: Bool) throws(SettingsError) {
    var problems: [SettingsError.Problem] = []
    name = settings.text("name") ?? "pop"
    listen = settings.list("listen").compactMap { SocketAddress($0) }
    switch (settings.path("tls.certificateFile"), settings.path("tls.privateKeyFile")) {
    case (let certificate?, let key?): tls = TLS(certificateFile: certificate, privateKeyFile: key)
    case (nil, nil):
      tls = nil
      if !isDev { problems.append(.init(source, key: "tls", "needs certificateFile and privateKeyFile")) }
    case (nil, _):
      tls = nil
      problems.append(settings.problem("tls.privateKeyFile", "stands without certificateFile"))
    case (_, nil):
      tls = nil
      problems.append(settings.problem("tls.certificateFile", "stands without privateKeyFile"))
    }
    switch (settings.text("tls.clientCertificates"), settings.path("tls.clientAuthorities")) {
    case ("optional", let file?): clientCertificates = .optional(authoritiesFile: file)
    case ("required", let file?): clientCertificates = .required(authoritiesFile: file)
    case ("optional", nil), ("required", nil):
      clientCertificates = .off
      problems.append(settings.problem("tls.clientCertificates", "needs clientAuthorities"))
    case (_, let file):
      clientCertificates = .off
      if file != nil { problems.append(settings.problem("tls.clientAuthorities", "is for clientCertificates alone")) }
    }
    tickets = Tickets(
      secretFile: settings.path("tls.secretFile"), lifetime: settings.interval("tls.ticketLifetime"))
    trustProfiles = (0..<settings.sectionCount("identity.profiles")).map { TrustProfile(settings, index: $0) }
    policy = Policy(settings)
    limits = Limits(settings)
    transport = Transport(settings)
    pagesDirectory = settings.path("pages.directory")
    dnsServers = settings.list("dns.servers").compactMap { SocketAddress($0) }
    bgp = BGP(settings, &problems)
    controlSocket = settings.path("control.socket") ?? ""
    let loopback = SocketAddress(.v4(.loopback), port: 0)
    dev = Dev(
      domain: settings.text("dev.domain") ?? "cloudbridge.test",
      issuerAddress: settings.text("dev.issuerAddress").flatMap { SocketAddress($0) } ?? loopback,
      dnsAddress: settings.text("dev.dnsAddress").flatMap { SocketAddress($0) } ?? loopback)

    if listen.isEmpty { problems.append(settings.problem("listen", "names no address")) }
    if Set(listen).count < listen.count { problems.append(settings.problem("listen", "names an address twice")) }
    problems += loadBalancingProblems(settings)
    problems += bgp.problems(settings)
    for isIPv4 in [true, false] where transport.preferredAddresses.count(where: { $0.ip.isIPv4 == isIPv4 }) > 1 {
      problems.append(
        settings.problem("transport.preferredAddresses", "names two \(isIPv4 ? "IPv4" : "IPv6") addresses"))
    }
    if transport.versions.isEmpty { problems.append(settings.problem("transport.versions", "is empty")) }
    if trustProfiles.isEmpty, !isDev {
      problems.append(.init(source, key: "identity.profiles", "is empty: no token would ever be accepted"))
    }
    problems += trustProblems(settings)
    guard problems.isEmpty else { throw SettingsError(problems) }
  }

  private func loadBalancingProblems(_ settings: ResolvedSettings) -> [SettingsError.Problem] {
    guard let balancing = transport.loadBalancing else {
      guard settings.path("transport.loadBalancing.keyFile") != nil else { return [] }
      return [settings.problem("transport.loadBalancing.keyFile", "stands without serverID")]
    }
    let length = balancing.serverID.count + balancing.nonceLength
    guard length > 19 else { return [] }
    return [
      settings.problem(
        "transport.loadBalancing.nonceLength",
        "with a serverID of \(balancing.serverID.count) bytes makes \(length); a connection ID has room for 19")
    ]
  }

  private func trustProblems(_ settings: ResolvedSettings) -> [SettingsError.Problem] {
    var problems: [SettingsError.Problem] = []
    var issuers: Set<String> = []
    var names: Set<String> = []
    for (index, profile) in trustProfiles.enumerated() {
      let path = "identity.profiles[\(index)]"
      if !names.insert(profile.name).inserted {
        problems.append(settings.problem("\(path).name", "'\(profile.name)' is taken by an earlier profile"))
      }
      if !issuers.insert(profile.issuer).inserted {
        problems.append(settings.problem("\(path).issuer", "'\(profile.issuer)' has an earlier profile already"))
      }
      if profile.audience.isEmpty { problems.append(settings.problem("\(path).audience", "is empty")) }
      // A profile fixes one family of algorithms: a token must never choose between a public key and a secret.
      let isShared = profile.algorithms.contains("HS256")
      if isShared, profile.algorithms != ["HS256"] {
        problems.append(settings.problem("\(path).algorithms", "HS256 must stand alone in its profile"))
      }
      if isShared, profile.hmacSecretFile == nil {
        problems.append(settings.problem("\(path).algorithms", "HS256 needs hmacSecretFile"))
      }
      if !isShared, profile.hmacSecretFile != nil {
        problems.append(settings.problem("\(path).hmacSecretFile", "is for algorithms: [HS256] alone"))
      }
      if isShared, profile.jwksURL != nil {
        problems.append(settings.problem("\(path).jwksURL", "has no use with HS256"))
      }
      if profile.algorithms.isEmpty { problems.append(settings.problem("\(path).algorithms", "is empty")) }
      if !isShared, profile.jwksURL == nil, let problem = ValueKind.secureURL.problem(with: profile.issuer) {
        problems.append(settings.problem("\(path).issuer", "cannot be discovered without jwksURL: \(problem)"))
      }
    }
    return problems
  }
}

extension PoPSettings.TrustProfile {
  init(_ settings: ResolvedSettings, index: Int) {
    let path = "identity.profiles[\(index)]"
    name = settings.text("\(path).name") ?? ""
    issuer = settings.text("\(path).issuer") ?? ""
    audience = settings.list("\(path).audience")
    algorithms = settings.list("\(path).algorithms")
    jwksURL = settings.text("\(path).jwksURL")
    hmacSecretFile = settings.path("\(path).hmacSecretFile")
    requiredScopes = settings.list("\(path).requiredScopes")
    requiredRoles = settings.list("\(path).requiredRoles")
    clockSkew = settings.interval("\(path).clockSkew")
  }
}

extension PoPSettings.Policy {
  init(_ settings: ResolvedSettings) {
    func prefixes(_ path: String) -> [IPPrefix] { settings.list(path).compactMap { IPPrefix(settingsText: $0) } }
    allowPrivate = settings.boolean("policy.allowPrivate")
    allowPrefixes = prefixes("policy.allowPrefixes")
    denyPrefixes = prefixes("policy.denyPrefixes")
    ports = settings.list("policy.ports").compactMap(ValueKind.portRange)
  }
}

extension PoPSettings.Limits {
  init(_ settings: ResolvedSettings) {
    connections = settings.integer("limits.connections")
    tunnels = settings.integer("limits.tunnels")
    tunnelsPerUser = settings.integer("limits.tunnelsPerUser")
    udpIdleTimeout = settings.interval("limits.udpIdleTimeout")
    tcpIdleTimeout = settings.interval("limits.tcpIdleTimeout")
    connectTimeout = settings.interval("limits.connectTimeout")
    signInTimeout = settings.interval("limits.signInTimeout")
    drainTimeout = settings.interval("limits.drainTimeout")
  }
}

extension PoPSettings.Transport {
  init(_ settings: ResolvedSettings) {
    rings = settings.integer("transport.rings")
    preferredAddresses = settings.list("transport.preferredAddresses").compactMap { SocketAddress($0) }
    versions = settings.list("transport.versions").compactMap(QUICVersion.init)
    congestion = settings.congestion
    idleTimeout = settings.interval("transport.idleTimeout")
    handshakeTimeout = settings.interval("transport.handshakeTimeout")
    maximumMTU = settings.integer("transport.maximumMTU")
    retry = settings.text("transport.retry").flatMap(Retry.init) ?? .underLoad
    qlogDirectory = settings.path("transport.qlogDirectory")
    if let serverID = settings.text("transport.loadBalancing.serverID").flatMap(ValueKind.bytes) {
      loadBalancing = PoPSettings.LoadBalancing(
        serverID: serverID, nonceLength: settings.integer("transport.loadBalancing.nonceLength"),
        configID: UInt8(settings.integer("transport.loadBalancing.configID")),
        keyFile: settings.path("transport.loadBalancing.keyFile"))
    }
  }
}
