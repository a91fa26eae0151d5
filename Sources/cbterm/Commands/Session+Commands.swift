import CBClient
import Foundation
import Settings
import Synchronization
import Wire

extension Session {
  func perform(_ command: Command, json: Bool) async throws(ClientError) -> Answer {
    switch command {
    case .login: return try await login()
    case .logout: return try await logout()
    case .whoami:
      let account = try await currentEngine().whoami()
      return Answer(account) { AccountRendering.lines(account, $0) }
    case .discover: return try await discover()
    case .connect(let pop): return try await connect(pop)
    case .disconnect: return try await disconnect()
    case .status:
      let status = try await currentEngine().status()
      shared.names.withLock { $0.tunnels = status.tunnels.map(\.name) }
      return Answer(status) { StatusRendering.lines(status, $0, now: Date()) }
    case .tunnelAdd(let request): return try await addTunnel(request)
    case .tunnelList:
      let tunnels = try await currentEngine().listTunnels()
      shared.names.withLock { $0.tunnels = tunnels.map(\.name) }
      return Answer(tunnels) { format in
        tunnels.isEmpty ? ["No tunnels."] : TunnelRendering.table(tunnels).lines(for: format)
      }
    case .tunnelRemove(let name): return try await removeTunnel(name)
    case .ping(let host, let count): return try await ping(host, count: count, json: json)
    case .get(let url, let output, let headOnly):
      return try await get(url, output: output, headOnly: headOnly, json: json)
    case .profileList: return profileList()
    case .profileShow(let name): return try profileShow(name)
    case .profileUse(let name): return try await profileUse(name)
    case .log(let lines, let follow): return try await log(lines: lines, follow: follow, json: json)
    case .wait(let duration): return try await wait(duration)
    case .help(let name):
      let specifications = try Help.specifications(name)
      return Answer(specifications.map(Help.Entry.init)) { Help.lines(specifications, $0) }
    case .quit:
      quit()
      return Answer()
    }
  }

  // MARK: - Signing in

  private func login() async throws(ClientError) -> Answer {
    let engine = try currentEngine()
    screen.progress("Asking the issuer")
    let screen = self.screen
    let account = try await engine.login { step in
      switch step {
      case .contactingIssuer(let issuer): screen.progress("Asking \(issuer)")
      case .userCode(let code):
        for line in LoginRendering.lines(code, screen.noteFormat) { screen.note(line) }
        screen.progress("Waiting for the approval")
      case .waiting(let reason): screen.progress("Waiting for the approval (\(reason))")
      }
    }
    return Answer(account) { ["Signed in as \(($0.style)(AccountRendering.name(account), .strong))."] }
  }

  private func logout() async throws(ClientError) -> Answer {
    let result = try await currentEngine().logout()
    return Answer(result) { _ in
      if !result.wasSignedIn { return ["No one was signed in."] }
      return [
        result.revoked ? "Signed out." : "Signed out here; the issuer did not confirm that it revoked the tokens."
      ]
    }
  }

  // MARK: - Connecting

  private func discover() async throws(ClientError) -> Answer {
    let engine = try currentEngine()
    screen.progress("Looking for PoPs")
    let candidates = try await engine.discover()
    var seen: Set<String> = []
    let found = candidates.map(\.name).filter { seen.insert($0).inserted }
    shared.names.withLock { $0.pops = found }
    return Answer(candidates) { DiscoveryRendering.lines(candidates, $0) }
  }

  private func connect(_ pop: String?) async throws(ClientError) -> Answer {
    let engine = try currentEngine()
    screen.progress(pop.map { "Connecting to \($0)" } ?? "Connecting to the nearest PoP")
    let connection = try await engine.connect(pop: pop)
    let status = await engine.status()
    shared.names.withLock {
      if !$0.pops.contains(connection.pop) { $0.pops.append(connection.pop) }
      $0.tunnels = status.tunnels.map(\.name)
    }
    return Answer(connection) { StatusRendering.connected(connection, status.listeners, $0) }
  }

  private func disconnect() async throws(ClientError) -> Answer {
    let engine = try currentEngine()
    screen.progress("Disconnecting")
    try await engine.disconnect()
    return Answer { _ in ["Disconnected."] }
  }

  /// Commands that need a connection make one.
  private func connectedEngine() async throws(ClientError) -> any ClientEngine {
    let engine = try currentEngine()
    if await engine.status().state == .disconnected {
      screen.progress("Connecting to the nearest PoP")
      _ = try await engine.connect(pop: nil)
      screen.progress(nil)
    }
    return engine
  }

  // MARK: - Tunnels

  private func addTunnel(_ request: TunnelRequest) async throws(ClientError) -> Answer {
    let tunnel = try await connectedEngine().addTunnel(request)
    shared.names.withLock { if !$0.tunnels.contains(tunnel.name) { $0.tunnels.append(tunnel.name) } }
    return Answer(tunnel) { format in
      let name = format.style(tunnel.name.printable, .strong)
      let (listen, target) = (tunnel.listen.printable, tunnel.target.printable)
      return ["\(name): \(tunnel.transport.rawValue) \(listen) to \(target)"]
    }
  }

  private func removeTunnel(_ name: String) async throws(ClientError) -> Answer {
    let tunnel = try await currentEngine().removeTunnel(named: name)
    shared.names.withLock { $0.tunnels.removeAll { $0 == name } }
    return Answer(tunnel) { _ in
      [
        "Removed \(tunnel.name.printable); it sent \(Quantity.bytes(tunnel.bytesSent)) and received "
          + "\(Quantity.bytes(tunnel.bytesReceived))."
      ]
    }
  }

  // MARK: - Ping

  private struct PingResult: Encodable, Sendable {
    var target: String
    var sent: Int
    var replies: [PingReply]
    var lossPercent: Double
  }

  private func ping(_ host: String?, count: Int, json: Bool) async throws(ClientError) -> Answer {
    let engine = try await connectedEngine()
    var replies: [PingReply] = []
    var sent = 0
    var failure: ClientError?
    probing: while count == 0 || sent < count {
      if sent > 0 {
        do { try await Task.sleep(for: .seconds(1)) } catch { break probing }
      }
      sent += 1
      let format = screen.format
      do throws(ClientError) {
        let reply = try await engine.ping(host: host, sequence: sent)
        // A series without end keeps the last thousand for its summary.
        if replies.count == 1000 { replies.removeFirst() }
        replies.append(reply)
        if !json { screen.out([PingRendering.reply(reply, format)]) }
      } catch {
        if error.kind == .cancelled {
          sent -= 1
          break probing
        }
        failure = error
        // Only silence is worth another try: a refusal or a wrong name will not change by asking again.
        guard error.kind == .connectionLost || error.kind == .failure else { throw error }
        if !json { screen.note(screen.noteFormat.style("\(sent)", .dim) + "  \(error.message.printable)") }
      }
    }
    let result = PingResult(
      target: replies.first?.target ?? host ?? "PoP", sent: sent, replies: replies,
      lossPercent: sent == 0 ? 0 : Double(max(0, sent - replies.count)) * 100 / Double(sent))
    if Task.isCancelled {
      if !json { screen.out(PingRendering.summary(sent: sent, replies)) }
      throw ClientError(.cancelled, "the ping was cancelled")
    }
    if replies.isEmpty { throw failure ?? ClientError(.connectionLost, "no probe was answered") }
    let rtts = replies
    let probes = sent
    return Answer(result) { _ in PingRendering.summary(sent: probes, rtts) }
  }

  // MARK: - Profiles

  private struct ProfileListing: Encodable, Sendable {
    var inUse: String?
    var profiles: [ProfileLibrary.Entry]
  }

  private func profileList() -> Answer {
    let entries = library.entries()
    let current = profileName.map(ProfileLibrary.displayName)
    shared.names.withLock { $0.profiles = entries.map(\.name) }
    let folders = library.folders
    return Answer(ProfileListing(inUse: current, profiles: entries)) {
      ProfileRendering.list(entries, current: current, folders: folders, $0)
    }
  }

  private struct ProfileView: Encodable, Sendable {
    struct Setting: Encodable, Sendable { var key, value, origin: String }
    var name: String
    var file: String
    var settings: [Setting]
  }

  private func profileShow(_ name: String?) throws(ClientError) -> Answer {
    let name = name ?? profileName
    let profile = try loadProfile(name)
    let settings = try configured {
      () throws(SettingsError) in try library.settings(name ?? "", flags: options.settings)
    }
    let view = ProfileView(
      name: profile.name, file: profile.file,
      settings: settings.map { .init(key: $0.path, value: $0.text, origin: $0.origin.description) })
    return Answer(view) { ProfileRendering.settings(settings, file: profile.file, $0) }
  }

  private func profileUse(_ name: String) async throws(ClientError) -> Answer {
    let profile = try loadProfile(name)
    if name != profileName { try await use(profile, named: name) }
    // A profile given by its path is for this run: another run may not find it there.
    if !name.contains("/") { try library.remember(profile.name) }
    return Answer(["name": profile.name, "file": profile.file]) { _ in ["Using \(profile.name) (\(profile.file))."] }
  }

  private func configured<Value>(_ body: () throws(SettingsError) -> Value) throws(ClientError) -> Value {
    do throws(SettingsError) {
      return try body()
    } catch {
      throw ClientError(.configuration, error.description)
    }
  }

  // MARK: - Log and wait

  private func log(lines: Int, follow: Bool, json: Bool) async throws(ClientError) -> Answer {
    for await line in try currentEngine().log(tail: lines, follow: follow) {
      screen.out(json ? CommandDocument.text(of: line) : LogRendering.line(line, screen.format) + "\n")
    }
    if Task.isCancelled { throw ClientError(.cancelled, "the log was cancelled") }
    return Answer()
  }

  private func wait(_ duration: Interval?) async throws(ClientError) -> Answer {
    let limit = duration.map { Duration.nanoseconds($0.nanoseconds) } ?? .seconds(100 * 365 * 86_400)
    do {
      try await Task.sleep(for: limit)
    } catch {
      throw ClientError(.cancelled, "the wait was cancelled")
    }
    return Answer()
  }
}
