public import QUIC
public import Settings
public import Wire

/// One deployment to connect to: where its PoPs are, who signs users in, and what to open locally.
public struct Profile: Hashable, Sendable {
  public var name: String
  public var description: String?
  /// The file it came from.
  public var file: String
  public var pop: PoP
  public var identity: Identity
  public var transport: Transport
  public var proxy: Proxy
  public var dns: DNS
  public var reconnect: Reconnect
  public var tunnels: [TunnelRequest]

  public struct PoP: Hashable, Sendable {
    /// Nil where only ``addresses`` are given.
    public var domain: String?
    public var addresses: [HostPort]
    public var port: UInt16
    /// The CONNECT-UDP URI template (RFC 9298 §3); nil is the well-known one at the server name.
    public var template: String?
    public var serverName: String?
    public var trust: Trust
    /// Nil: a PoP that asks for a certificate gets none.
    public var clientCertificate: ClientCertificate?
  }

  /// PEM files.
  public struct ClientCertificate: Hashable, Sendable {
    public var certificateFile: String
    public var privateKeyFile: String
  }

  public struct Trust: Hashable, Sendable {
    /// A PEM file; an absolute path, or one from the working directory.
    public var caFile: String?
    public var systemRoots: Bool
    /// Base64 of SHA-256 values of SubjectPublicKeyInfo; if any, the chain must hold one.
    public var pins: [String]
  }

  public struct Identity: Hashable, Sendable {
    public var issuer: String
    public var clientID: String
    public var scopes: [String]
  }

  public struct Transport: Hashable, Sendable {
    public var congestion: CongestionAlgorithm
    public var handshakeTimeout: Interval
    public var idleTimeout: Interval
    /// Nil sends no keep-alives.
    public var keepAlive: Interval?
    /// UDP payloads in bytes.
    public var initialMTU: Int
    public var maximumMTU: Int
    /// Where each connection's qlog is written; nil writes none.
    public var qlogDirectory: String?
  }

  public struct Proxy: Hashable, Sendable {
    /// Nil when proxies are off.
    public var socks: SocketAddress?
    public var http: SocketAddress?
  }

  public struct DNS: Hashable, Sendable {
    /// Empty: the system's own.
    public var servers: [SocketAddress]
  }

  public struct Reconnect: Hashable, Sendable {
    public var initialDelay: Interval
    public var maxDelay: Interval
  }

  /// A host, by name or address, and a port.
  public struct HostPort: Hashable, Sendable, CustomStringConvertible {
    /// IPv6 without brackets.
    public var host: String
    public var port: UInt16

    public init(host: String, port: UInt16) {
      self.host = host
      self.port = port
    }

    /// Parses `host:port`, `192.0.2.1:443` or `[2001:db8::1]:443`.
    public init?(_ text: String) {
      guard let (host, port) = ValueKind.hostPort(text) else { return nil }
      self.init(host: host, port: port)
    }

    public var description: String { host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)" }
  }

  /// The name that the PoP's certificate is checked against, for a candidate on `host`.
  public func serverName(for host: String) -> String { pop.serverName ?? pop.domain ?? host }

  /// The CONNECT-UDP template to expand, for a candidate on `host`.
  public func connectUDPTemplate(for host: String) -> String {
    if let template = pop.template { return template }
    let name = serverName(for: host)
    let authority = name.contains(":") ? "[\(name)]" : name
    let port = pop.port == 443 ? "" : ":\(pop.port)"
    return "https://\(authority)\(port)/.well-known/masque/udp/{target_host}/{target_port}/"
  }
}

extension Profile {
  /// Reads a profile.
  ///
  /// - Parameters:
  ///   - flags: values by dotted path, which win over all else.
  ///   - environment: `CBR_*` win over the file.
  /// - Throws: every fault, with file and line, variable or flag, key, and the nearest valid key.
  public init(
    path: String, flags: [(path: String, value: String, flag: String)] = [], environment: [String: String]
  ) throws(SettingsError) {
    let file = try SettingsFile(path: path, schema: Self.schema)
    let settings = try ResolvedSettings(schema: Self.schema, file: file, flags: flags, environment: environment)
    try self.init(settings, path: path)
  }

  init(_ settings: ResolvedSettings, path: String) throws(SettingsError) {
    let stem = ProfileLibrary.name(ofFile: path)
    name = stem
    file = path
    description = settings.text("description")
    pop = PoP(
      domain: settings.text("pop.domain"), addresses: settings.list("pop.addresses").compactMap(HostPort.init),
      port: UInt16(clamping: settings.integer("pop.port")), template: settings.text("pop.template"),
      serverName: settings.text("pop.serverName"),
      trust: Trust(
        caFile: settings.path("pop.trust.caFile"), systemRoots: settings.boolean("pop.trust.systemRoots"),
        pins: settings.list("pop.trust.pins")))
    if let certificate = settings.path("pop.clientCertificate.certificateFile"),
      let key = settings.path("pop.clientCertificate.privateKeyFile")
    {
      pop.clientCertificate = ClientCertificate(certificateFile: certificate, privateKeyFile: key)
    }
    identity = Identity(
      issuer: settings.text("identity.issuer") ?? "", clientID: settings.text("identity.clientID") ?? "",
      scopes: settings.list("identity.scopes"))
    let keepAlive = settings.interval("transport.keepAlive")
    transport = Transport(
      congestion: settings.congestion,
      handshakeTimeout: settings.interval("transport.handshakeTimeout"),
      idleTimeout: settings.interval("transport.idleTimeout"),
      keepAlive: keepAlive == .zero ? nil : keepAlive, initialMTU: settings.integer("transport.initialMTU"),
      maximumMTU: settings.integer("transport.maximumMTU"), qlogDirectory: settings.path("transport.qlogDirectory"))
    let proxies = settings.boolean("proxy.enabled")
    proxy = Proxy(
      socks: proxies ? settings.text("proxy.socks").flatMap(SocketAddress.init) : nil,
      http: proxies ? settings.text("proxy.http").flatMap(SocketAddress.init) : nil)
    dns = DNS(servers: settings.list("dns.servers").compactMap { SocketAddress($0) })
    reconnect = Reconnect(
      initialDelay: settings.interval("reconnect.initialDelay"),
      maxDelay: settings.interval("reconnect.maxDelay"))
    tunnels = (0..<settings.sectionCount("tunnels")).compactMap { index in
      guard let name = settings.text("tunnels[\(index)].name"), let listen = settings.text("tunnels[\(index)].listen"),
        let transport = settings.text("tunnels[\(index)].type").flatMap(TunnelTransport.init),
        let target = settings.text("tunnels[\(index)].target")
      else { return nil }
      return TunnelRequest(name: name, transport: transport, listen: listen, target: target)
    }
    let problems = inconsistencies(settings, stem: stem)
    guard problems.isEmpty else { throw SettingsError(problems) }
  }

  /// What is right by itself and wrong together.
  private func inconsistencies(_ settings: ResolvedSettings, stem: String) -> [SettingsError.Problem] {
    var problems: [SettingsError.Problem] = []
    if let given = settings.text("name"), given != stem {
      problems.append(settings.problem("name", "'\(given)' is not the file's own name '\(stem)'"))
    }
    if pop.domain == nil, pop.addresses.isEmpty {
      problems.append(.init(.file(file, line: nil), key: "pop", "needs a domain or addresses"))
    }
    if !pop.trust.systemRoots, pop.trust.caFile == nil, pop.trust.pins.isEmpty {
      problems.append(
        settings.problem("pop.trust.systemRoots", "is false, and neither caFile nor pins says what to trust"))
    }
    let files = ["certificateFile", "privateKeyFile"].map { "pop.clientCertificate.\($0)" }
    for (one, other) in [(files[0], files[1]), (files[1], files[0])]
    where settings.path(one) != nil && settings.path(other) == nil {
      problems.append(settings.problem(one, "stands without \(other.split(separator: ".").last ?? "")"))
    }
    if let keepAlive = transport.keepAlive, keepAlive >= transport.idleTimeout {
      problems.append(
        settings.problem(
          "transport.keepAlive",
          "\(keepAlive.settingsText) is not less than idleTimeout (\(transport.idleTimeout.settingsText))"))
    }
    if transport.maximumMTU < transport.initialMTU {
      problems.append(settings.problem("transport.maximumMTU", "is less than initialMTU (\(transport.initialMTU))"))
    }
    if reconnect.maxDelay < reconnect.initialDelay {
      problems.append(
        settings.problem(
          "reconnect.maxDelay", "is less than initialDelay (\(reconnect.initialDelay.settingsText))"))
    }
    var names: Set<String> = []
    var listeners = Set([proxy.socks, proxy.http].compactMap { $0 }.filter { $0.port != 0 }.map { "tcp \($0)" })
    if let socks = proxy.socks, socks == proxy.http, socks.port != 0 {
      problems.append(settings.problem("proxy.http", "is the same address as proxy.socks"))
    }
    for (index, tunnel) in tunnels.enumerated() {
      if let name = tunnel.name, !names.insert(name).inserted {
        problems.append(settings.problem("tunnels[\(index)].name", "'\(name)' is taken by an earlier tunnel"))
      }
      if !tunnel.listen.hasSuffix(":0"), !listeners.insert("\(tunnel.transport) \(tunnel.listen)").inserted {
        problems.append(settings.problem("tunnels[\(index)].listen", "\(tunnel.listen) is taken already"))
      }
    }
    return problems
  }
}
