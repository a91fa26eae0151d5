import CBClient
import Settings
import Wire

/// A command that was understood.
enum Command: Hashable, Sendable {
  case login, logout, whoami, discover
  case connect(pop: String?)
  case disconnect, status
  case tunnelAdd(TunnelRequest)
  case tunnelList
  case tunnelRemove(name: String)
  /// `count` 0 goes on until it is cancelled.
  case ping(host: String?, count: Int)
  case get(url: String, output: String?, headOnly: Bool)
  case profileList
  case profileShow(name: String?)
  case profileUse(name: String)
  case log(lines: Int, follow: Bool)
  case wait(Interval?)
  case help(command: String?)
  case quit
}

/// A command with what it was typed as.
struct ParsedCommand: Sendable {
  var specification: CommandSpecification
  var command: Command
  /// `--json` stood among its words.
  var asksForJSON: Bool

  /// - Throws: ``ClientError/Kind/usage`` with a hint.
  init(_ words: [String]) throws(ClientError) {
    var words = words
    asksForJSON = words.contains("--json")
    words.removeAll { $0 == "--json" }
    guard let first = words.first else { throw ClientError(.usage, "there is no command") }
    specification = try Self.specification(first, second: words.dropFirst().first)
    let rest = words.dropFirst(specification.words.count)
    if rest.contains("--help") {
      command = .help(command: specification.name)
      return
    }
    let arguments = try Arguments(rest, of: specification)
    command = try Self.command(arguments, specification)
  }

  private static func specification(_ first: String, second: String?) throws(ClientError) -> CommandSpecification {
    if let plain = CommandSpecification.named(first) { return plain }
    if first == "exit" { return CommandSpecification.named("quit")! }
    let subcommands = CommandSpecification.subcommands(of: first)
    guard !subcommands.isEmpty else {
      let near = nearest(to: first, in: CommandSpecification.firstWords)
      throw ClientError(
        .usage, "unknown command '\(first.printable)'",
        hint: near.map { "did you mean \($0)?" } ?? "help lists the commands")
    }
    guard let second else {
      throw ClientError(.usage, "\(first) needs one of \(subcommands.joined(separator: ", "))")
    }
    if let found = CommandSpecification.named("\(first) \(second)") { return found }
    let near = nearest(to: second, in: subcommands)
    throw ClientError(
      .usage, "\(first) has no '\(second.printable)'",
      hint: near.map { "did you mean \(first) \($0)?" } ?? "there are \(subcommands.joined(separator: ", "))")
  }

  private static func command(
    _ arguments: Arguments, _ specification: CommandSpecification
  ) throws(ClientError) -> Command {
    switch specification.name {
    case "login": return .login
    case "logout": return .logout
    case "whoami": return .whoami
    case "discover": return .discover
    case "connect": return .connect(pop: arguments["POP"])
    case "disconnect": return .disconnect
    case "status": return .status
    case "tunnel add": return .tunnelAdd(try tunnel(arguments))
    case "tunnel list": return .tunnelList
    case "tunnel remove": return .tunnelRemove(name: arguments["NAME"] ?? "")
    case "ping": return .ping(host: arguments["HOST"], count: try arguments.number("-c", 0...1_000_000) ?? 4)
    case "get":
      return .get(url: try url(arguments["URL"] ?? ""), output: arguments["-o"], headOnly: arguments["-I"] != nil)
    case "profile list": return .profileList
    case "profile show": return .profileShow(name: arguments["NAME"])
    case "profile use": return .profileUse(name: arguments["NAME"] ?? "")
    case "log": return .log(lines: try arguments.number("-n", 0...100_000) ?? 20, follow: arguments["-f"] != nil)
    case "wait":
      guard let text = arguments["DURATION"] else { return .wait(nil) }
      guard let duration = Interval(settingsText: text) else {
        throw ClientError(.usage, "'\(text.printable)' is not a duration such as 30s or 5m")
      }
      return .wait(duration)
    case "help": return .help(command: arguments["COMMAND"])
    default: return .quit
    }
  }

  private static func tunnel(_ arguments: Arguments) throws(ClientError) -> TunnelRequest {
    guard let transport = TunnelTransport(rawValue: arguments["TYPE"] ?? "") else {
      throw ClientError(.usage, "a tunnel's type is udp or tcp, not '\((arguments["TYPE"] ?? "").printable)'")
    }
    var listen = arguments["LISTEN"] ?? ""
    if let port = UInt16(listen) { listen = "127.0.0.1:\(port)" }
    let target = arguments["TARGET"] ?? ""
    if let problem = ValueKind.loopbackAddress(anyPort: true).problem(with: listen) {
      throw ClientError(.usage, "LISTEN: \(problem)")
    }
    if let problem = ValueKind.hostPort.problem(with: target) { throw ClientError(.usage, "TARGET: \(problem)") }
    let name = arguments["-n"]
    if let name, let problem = ValueKind.identifier.problem(with: name) {
      throw ClientError(.usage, "NAME: \(problem)")
    }
    return TunnelRequest(name: name, transport: transport, listen: listen, target: target)
  }

  private static func url(_ text: String) throws(ClientError) -> String {
    if text.hasPrefix("https://") || text.hasPrefix("http://") { return text }
    guard !text.contains("://") else { throw ClientError(.usage, "only http and https URLs can be fetched") }
    return "http://\(text)"
  }
}

/// The words after a command's name, sorted into places.
struct Arguments {
  private var values: [String: String] = [:]

  /// The text of a positional by its name, or of an option by its flag.
  subscript(_ name: String) -> String? { values[name] }

  init(_ words: ArraySlice<String>, of specification: CommandSpecification) throws(ClientError) {
    var positionals = specification.positionals[...]
    var words = words
    var takesOptions = true
    let usage = "usage: \(specification.synopsis)"
    while let word = words.popFirst() {
      if word == "--", takesOptions {
        takesOptions = false
      } else if word.hasPrefix("-"), word.count > 1, takesOptions {
        // -c4 and -o=x are taken too, as most programs do.
        guard let option = specification.options.first(where: { word == $0.flag || word.hasPrefix($0.flag) }),
          word == option.flag || option.value != nil
        else {
          throw ClientError(.usage, "\(specification.name) has no option '\(word.printable)'", hint: usage)
        }
        guard option.value != nil else {
          values[option.flag] = ""
          continue
        }
        var value = word.count > option.flag.count ? String(word.dropFirst(option.flag.count)) : words.popFirst()
        if word.count > option.flag.count, value?.hasPrefix("=") == true { value?.removeFirst() }
        guard let value else { throw ClientError(.usage, "\(option.flag) needs a value", hint: usage) }
        values[option.flag] = value
      } else if let positional = positionals.popFirst() {
        values[positional.name] = word
      } else {
        throw ClientError(.usage, "'\(word.printable)' is one word too many", hint: usage)
      }
    }
    if let missing = positionals.first(where: { !$0.isOptional }) {
      throw ClientError(.usage, "\(missing.name) is missing", hint: usage)
    }
  }

  func number(_ flag: String, _ range: ClosedRange<Int>) throws(ClientError) -> Int? {
    guard let text = values[flag] else { return nil }
    guard let number = Int(text), range.contains(number) else {
      throw ClientError(
        .usage, "\(flag) takes a number from \(range.lowerBound) to \(range.upperBound), not '\(text.printable)'")
    }
    return number
  }
}
