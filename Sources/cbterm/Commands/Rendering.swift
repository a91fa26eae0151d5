import CBClient
import Foundation
import Settings

enum LoginRendering {
  static func lines(_ code: DeviceCode, _ format: ScreenFormat) -> [String] {
    let style = format.style
    let uri = code.verificationURI.printable
    let user = code.userCode.printable
    guard format.width != nil else {
      let complete = code.verificationURIComplete.map { " (or open \($0.printable))" } ?? ""
      return ["To sign in, open \(uri) and enter the code \(user)\(complete)"]
    }
    var lines = ["", "  To sign in, open", "", "      \(style(uri, .accent))", "", "  and enter the code", ""]
    lines += boxed(user.map(String.init).joined(separator: " "), format).map { "      \($0)" }
    lines.append("")
    // Only an address that carries the code spares the typing; with the plain one the camera still saves some.
    if let symbol = QRCode(Array((code.verificationURIComplete ?? uri).utf8), correction: .low)?.drawn(for: format) {
      lines += ["  or scan"] + [""] + symbol + [""]
    }
    let seconds = max(0, code.expiresAt.timeIntervalSinceNow)
    let end = "The code is good for \(Quantity.elapsed(seconds)). Ctrl-C gives up."
    lines += end.wrapped(to: (format.width ?? 80) - 2).map { "  " + style($0, .dim) }
    lines.append("")
    return lines
  }

  private static func boxed(_ text: String, _ format: ScreenFormat) -> [String] {
    let strong = format.style(text, .strong)
    guard format.isUnicode else { return ["[ \(strong) ]"] }
    let rule = String(repeating: "─", count: text.displayWidth + 4)
    return ["┌\(rule)┐", "│  \(strong)  │", "└\(rule)┘"]
  }
}

enum AccountRendering {
  static func name(_ account: Account) -> String { (account.name ?? account.email ?? account.subject).printable }

  static func lines(_ account: Account, _ format: ScreenFormat) -> [String] {
    var list = FieldList()
    list.add("Name", account.name, .strong)
    list.add("Email", account.email)
    list.add("Subject", account.subject)
    list.add("Organisation", account.organisation)
    list.add("Roles", account.roles.isEmpty ? nil : account.roles.joined(separator: ", "))
    list.add("Issuer", account.issuer)
    let left = account.expiresAt.timeIntervalSinceNow
    let until = left > 0 ? "good for \(Quantity.elapsed(left))" : "expired"
    list.add("Token", "\(until), \(account.renewable ? "renewed by itself" : "not renewable")")
    return list.lines(for: format)
  }
}

enum DiscoveryRendering {
  static func lines(_ candidates: [PoPCandidate], _ format: ScreenFormat) -> [String] {
    guard !candidates.isEmpty else { return ["No PoPs."] }
    var table = Table([
      .init("POP", minimum: 8), .init("ADDRESS", minimum: 12), .init("FROM", minimum: 4),
      .init("RTT", trailing: true, minimum: 8), .init("", minimum: 6),
    ])
    if candidates.allSatisfy({ $0.failure == nil }) { table.columns.removeLast() }
    for candidate in candidates {
      let isUp = candidate.rttMilliseconds != nil
      let row: [Table.Cell] = [
        .init(candidate.name, isUp ? .strong : .dim), .init(candidate.address, isUp ? .plain : .dim),
        .init(candidate.source.rawValue, .dim),
        .init(candidate.rttMilliseconds.map(Quantity.milliseconds) ?? "-", isUp ? .good : .bad),
        .init(candidate.failure ?? "", .bad),
      ]
      table.rows.append(Array(row.prefix(table.columns.count)))
    }
    return table.lines(for: format)
  }
}

enum StatusRendering {
  static func connected(
    _ connection: ConnectionStatus, _ listeners: [ClientStatus.Listener], _ format: ScreenFormat
  ) -> [String] {
    let name = format.style(connection.pop.printable, .strong)
    let rtt = Quantity.milliseconds(connection.smoothedRTTMilliseconds)
    return ["Connected to \(name) (\(connection.address.printable)), RTT \(rtt)."]
      + listeners.map { "\($0.name.printable) proxy on \($0.address.printable)" }
  }

  static func lines(_ status: ClientStatus, _ format: ScreenFormat, now: Date) -> [String] {
    var list = FieldList()
    list.add("Profile", status.profile, .strong)
    let (state, tone) = state(status, now)
    list.add("State", state, tone)
    if let error = status.lastError, status.state != .connected { list.add("Last error", error, .bad) }
    var account = status.account ?? "not signed in"
    if let end = status.tokenExpiresAt, status.account != nil {
      let left = end.timeIntervalSince(now)
      account += left > 0 ? ", token good for \(Quantity.elapsed(left))" : ", token expired"
    }
    list.add("Account", account, status.account == nil ? .warning : .plain)
    if let connection = status.connection {
      if !connection.hasNetwork {
        list.add("From", "no network at present: tunnels wait", .warning)
      } else if let local = connection.localAddress {
        let moves = connection.migrations
        list.add("From", local + (moves == 0 ? "" : moves == 1 ? ", moved once" : ", moved \(moves) times"))
      }
      list.add(
        "Path",
        "RTT \(Quantity.milliseconds(connection.smoothedRTTMilliseconds)) "
          + "(least \(Quantity.milliseconds(connection.minimumRTTMilliseconds))), MTU \(connection.mtuBytes), "
          + "\(connection.congestion), window \(Quantity.bytes(UInt64(max(0, connection.congestionWindowBytes))))")
      list.add(
        "Traffic",
        "\(Quantity.bytes(connection.bytesSent)) sent, \(Quantity.bytes(connection.bytesReceived)) received, "
          + "\(connection.packetsLost) packets lost")
      let resumption = connection.resumption == .none ? nil : connection.resumption.rawValue
      let security = [connection.keyExchange, connection.cipher, resumption].compactMap { $0 }
      if !security.isEmpty { list.add("Security", security.joined(separator: ", ")) }
    }
    for listener in status.listeners {
      list.add("\(listener.name.uppercased()) proxy", "\(listener.address), \(listener.openConnections) open")
    }
    let tunnels = status.tunnels.isEmpty ? [] : [""] + TunnelRendering.table(status.tunnels).lines(for: format)
    return list.lines(for: format) + tunnels
  }

  private static func state(_ status: ClientStatus, _ now: Date) -> (String, Style.Tone) {
    switch status.state {
    case .disconnected: return ("disconnected", .dim)
    case .connecting: return ("connecting", .warning)
    case .reconnecting: return ("reconnecting", .warning)
    case .disconnecting: return ("disconnecting", .dim)
    case .connected:
      guard let connection = status.connection else { return ("connected", .good) }
      let time = Quantity.elapsed(now.timeIntervalSince(connection.connectedAt))
      return ("connected to \(connection.pop) (\(connection.address)) for \(time)", .good)
    }
  }
}

enum TunnelRendering {
  static func table(_ tunnels: [TunnelStatus]) -> Table {
    var table = Table([
      .init("TUNNEL", minimum: 6), .init("TYPE", minimum: 4), .init("LISTEN", minimum: 15),
      .init("TARGET", minimum: 12), .init("STATE", minimum: 5), .init("FLOWS", trailing: true, minimum: 5),
      .init("SENT", trailing: true, minimum: 8), .init("RECEIVED", trailing: true, minimum: 8),
    ])
    for tunnel in tunnels {
      let tone: Style.Tone =
        switch tunnel.state {
        case .open: .good
        case .opening, .waiting: .warning
        case .closed: .dim
        }
      table.rows.append([
        .init(tunnel.name, .strong), .init(tunnel.transport.rawValue), .init(tunnel.listen), .init(tunnel.target),
        .init(tunnel.state.rawValue, tone), .init(String(tunnel.openFlows)), .init(Quantity.bytes(tunnel.bytesSent)),
        .init(Quantity.bytes(tunnel.bytesReceived)),
      ])
    }
    return table
  }
}

enum PingRendering {
  static func reply(_ reply: PingReply, _ format: ScreenFormat) -> String {
    let time = Quantity.milliseconds(reply.rttMilliseconds)
    return "\(format.style(String(reply.sequence), .dim))  \(reply.target.printable)  \(time)"
  }

  static func summary(sent: Int, _ replies: [PingReply]) -> [String] {
    let rtts = replies.map(\.rttMilliseconds)
    let loss = sent == 0 ? 0 : max(0, sent - replies.count) * 100 / sent
    var line = "\(sent) sent, \(replies.count) answered, \(loss) % lost"
    if let least = rtts.min(), let most = rtts.max() {
      let mean = rtts.reduce(0, +) / Double(rtts.count)
      let times = [least, mean, most].map(Quantity.milliseconds).joined(separator: " / ")
      line += "; least / mean / most \(times)"
    }
    return [line]
  }
}

enum GetRendering {
  static func status(_ head: GetResponse.Head, _ format: ScreenFormat) -> String {
    let tone: Style.Tone = head.status >= 400 ? .bad : head.status >= 300 ? .warning : .good
    return format.style("\(head.status) \(head.reason.printable)", tone)
  }

  static func head(_ head: GetResponse.Head, _ format: ScreenFormat) -> [String] {
    [status(head, format)]
      + head.fields.map { "\(format.style($0.name.printable + ":", .accent)) \($0.value.printable)" }
  }
}

enum ProfileRendering {
  static func list(
    _ entries: [ProfileLibrary.Entry], current: String?, folders: [String], _ format: ScreenFormat
  ) -> [String] {
    guard !entries.isEmpty else { return ["No profiles in \(folders.joined(separator: ", "))."] }
    var table = Table([
      .init("", minimum: 1), .init("PROFILE", minimum: 8), .init("DESCRIPTION", minimum: 12),
      .init("FILE", minimum: 10),
    ])
    for entry in entries {
      let isCurrent = entry.name == current
      table.rows.append([
        .init(isCurrent ? "*" : "", .good), .init(entry.name, isCurrent ? .strong : .plain),
        .init(entry.problem ?? entry.description ?? "", entry.problem == nil ? .plain : .bad),
        .init(entry.path, .dim),
      ])
    }
    return table.lines(for: format)
  }

  static func settings(_ settings: [ResolvedSettings.Effective], file: String, _ format: ScreenFormat) -> [String] {
    var table = Table([.init("KEY", minimum: 12), .init("VALUE", minimum: 12), .init("FROM", minimum: 8)])
    for setting in settings {
      let isDefault = setting.origin == .defaultValue
      var origin = setting.origin.description
      if case .file(file, let line?) = setting.origin { origin = "line \(line)" }
      table.rows.append([
        .init(setting.path), .init(setting.text, isDefault ? .dim : .strong), .init(origin, .dim),
      ])
    }
    return [format.style(file.printable, .dim)] + table.lines(for: format)
  }
}

enum LogRendering {
  static func line(_ line: LogLine, _ format: ScreenFormat) -> String {
    let tone: Style.Tone =
      switch line.level {
      case .trace, .debug: .dim
      case .info, .notice: .plain
      case .warning: .warning
      case .error: .bad
      }
    let level = line.level.rawValue + String(repeating: " ", count: max(0, 7 - line.level.rawValue.count))
    return format.style(Quantity.clock(line.time), .dim) + " " + format.style(level, tone) + " "
      + format.style(line.source.printable, .accent) + " " + line.message.printable
  }
}

enum EventRendering {
  /// The line that tells of an event, or nil where the command that caused it tells of it itself. Events come
  /// on their own way, before or after that command's end: what they mean must not hang on when they come.
  ///
  /// - Parameters:
  ///   - state: the state before the event. Out of a reconnection, changes come by themselves.
  ///   - tunnels: those that are believed open; `tunnel remove` takes its own from the list.
  static func line(
    _ event: ClientEvent, before state: ConnectionState, names tunnels: [String], _ format: ScreenFormat
  ) -> String? {
    func mark(_ tone: Style.Tone) -> String { format.style(format.isUnicode ? "●" : "*", tone) }
    switch event {
    case .stateChanged(.connected, let pop):
      return state == .reconnecting ? "\(mark(.good)) connected to \((pop ?? "the PoP").printable)" : nil
    case .stateChanged(.disconnected, _): return state == .reconnecting ? "\(mark(.dim)) disconnected" : nil
    case .stateChanged, .tunnelOpened: return nil
    case .connectionLost(let reason): return "\(mark(.bad)) connection lost: \(reason.printable)"
    case .moved(let from, let to):
      return "\(mark(.good)) the network has changed: at \(to.printable) now (before: \(from.printable)), tunnels go on"
    case .popLeaving(let pop): return "\(mark(.warning)) \(pop.printable) is going away: new tunnels open elsewhere"
    case .reconnecting(let seconds, let attempt, let reason):
      return "\(mark(.warning)) attempt \(attempt) in \(Quantity.fixed(seconds, 1)) s (\(reason.printable))"
    case .tunnelClosed(let name, let reason):
      return tunnels.contains(name) ? "\(mark(.dim)) tunnel \(name.printable) closed: \(reason.printable)" : nil
    case .flowRefused(let target, let reason):
      return "\(mark(.warning)) \(target.printable) refused: \(reason.printable)"
    case .signInNeeded(let reason): return "\(mark(.warning)) sign in again: \(reason.printable)"
    }
  }
}
