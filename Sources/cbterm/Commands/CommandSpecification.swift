/// What a command looks like: the one source for its parsing, its help and its completion.
struct CommandSpecification: Sendable {
  /// What stands in a place, as completion needs to know.
  enum Place: Equatable, Sendable {
    case pop, tunnel, profile, command, file, free
    case oneOf([String])
  }

  struct Positional: Sendable {
    var name: String
    var place: Place
    var isOptional = false

    init(_ name: String, _ place: Place = .free, optional: Bool = false) {
      self.name = name
      self.place = place
      isOptional = optional
    }
  }

  struct Option: Sendable {
    var flag: String
    /// The value's name; nil for a flag that stands alone.
    var value: String?
    var place: Place = .free
    var summary: String

    init(_ flag: String, value: String? = nil, place: Place = .free, _ summary: String) {
      self.flag = flag
      self.value = value
      self.place = place
      self.summary = summary
    }
  }

  /// One or two words: `status`, `tunnel add`.
  var name: String
  var summary: String
  var details = ""
  var positionals: [Positional] = []
  var options: [Option] = []

  var words: [String] { name.split(separator: " ").map(String.init) }

  /// Such as `ping [HOST] [-c COUNT]`.
  var synopsis: String {
    var parts = [name]
    parts += positionals.map { $0.isOptional ? "[\($0.name)]" : $0.name }
    parts += options.map { option in "[\(option.flag)\(option.value.map { " \($0)" } ?? "")]" }
    return parts.joined(separator: " ")
  }

  static func named(_ name: String) -> CommandSpecification? { all.first { $0.name == name } }

  /// The first words, each once, in the order of the help.
  static let firstWords: [String] = all.map { $0.words[0] }.reduce(into: []) { if !$0.contains($1) { $0.append($1) } }

  /// The second words that may follow a first one; empty for plain commands.
  static func subcommands(of first: String) -> [String] {
    all.map(\.words).filter { $0.count == 2 && $0[0] == first }.map { $0[1] }
  }

  static let all: [CommandSpecification] = [
    .init(
      name: "login", summary: "sign in on another device",
      details: "Shows a code and an address to approve it at, with a QR code where there is room for one."),
    .init(name: "logout", summary: "revoke and forget the stored tokens"),
    .init(name: "whoami", summary: "show who is signed in"),
    .init(name: "discover", summary: "find the profile's PoPs and measure them"),
    .init(
      name: "connect", summary: "connect to the nearest PoP, or the one named",
      details: "Opens the profile's proxies and tunnels too. A lost connection comes back by itself.",
      positionals: [.init("POP", .pop, optional: true)]),
    .init(name: "disconnect", summary: "close the connection and its tunnels"),
    .init(name: "status", summary: "show the connection, the proxies and the tunnels"),
    .init(
      name: "tunnel add", summary: "forward a local port through the PoP",
      details: "LISTEN is a port or a loopback address:port; TARGET is host:port, resolved by the PoP.",
      positionals: [.init("TYPE", .oneOf(["udp", "tcp"])), .init("LISTEN"), .init("TARGET")],
      options: [.init("-n", value: "NAME", "what to call it")]),
    .init(name: "tunnel list", summary: "list the forwarded ports"),
    .init(
      name: "tunnel remove", summary: "close a forwarded port", positionals: [.init("NAME", .tunnel)]),
    .init(
      name: "ping", summary: "measure the round trip to the PoP, or through it to a host",
      details: "HOST may carry a port (host:port); what is measured then is the opening of a tunnel to it.",
      positionals: [.init("HOST", optional: true)],
      options: [.init("-c", value: "COUNT", "how many probes (4; 0 goes on until Ctrl-C)")]),
    .init(
      name: "get", summary: "fetch a URL through the PoP",
      positionals: [.init("URL")],
      options: [
        .init("-o", value: "FILE", place: .file, "write the body to a file"),
        .init("-I", "only ask for the head, and show it"),
      ]),
    .init(name: "profile list", summary: "list the profiles"),
    .init(
      name: "profile show", summary: "show every setting of a profile, and where it comes from",
      positionals: [.init("NAME", .profile, optional: true)]),
    .init(
      name: "profile use", summary: "change to another profile, now and in later runs",
      positionals: [.init("NAME", .profile)]),
    .init(
      name: "log", summary: "show the client's log",
      options: [.init("-n", value: "LINES", "how many lines (20)"), .init("-f", "go on with new lines until Ctrl-C")]),
    .init(
      name: "wait", summary: "stay, until Ctrl-C or for a time such as 30s",
      details: "For scripts that use the proxies meanwhile: cbterm -c 'connect; wait'.",
      positionals: [.init("DURATION", optional: true)]),
    .init(
      name: "help", summary: "explain the commands, or one of them",
      positionals: [.init("COMMAND", .command, optional: true)]),
    .init(name: "quit", summary: "disconnect and leave"),
  ]
}
