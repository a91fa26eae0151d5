import CBClient
import Settings

/// What `help` says, from the specifications.
enum Help {
  struct Entry: Encodable, Sendable {
    var synopsis: String
    var summary: String

    init(_ specification: CommandSpecification) {
      synopsis = specification.synopsis
      summary = specification.summary
    }
  }

  /// All, or those whose name or first word is `name`.
  static func specifications(_ name: String?) throws(ClientError) -> [CommandSpecification] {
    guard let name else { return CommandSpecification.all }
    let found = CommandSpecification.all.filter { $0.name == name || $0.words[0] == name }
    guard found.isEmpty else { return found }
    throw ClientError(
      .usage, "there is no command '\(name.printable)'",
      hint: nearest(to: name, in: CommandSpecification.firstWords).map { "did you mean \($0)?" })
  }

  static func lines(_ specifications: [CommandSpecification], _ format: ScreenFormat) -> [String] {
    if specifications.count == CommandSpecification.all.count { return overview(format) }
    return specifications.enumerated().flatMap { index, specification in
      (index > 0 ? [""] : []) + detail(specification, format)
    }
  }

  private static func overview(_ format: ScreenFormat) -> [String] {
    var list = FieldList()
    for specification in CommandSpecification.all {
      let positionals = specification.positionals.map { $0.isOptional ? "[\($0.name)]" : $0.name }
      list.add(([specification.name] + positionals).joined(separator: " "), specification.summary)
    }
    return list.lines(for: format) + [
      "",
      "Commands may stand on one line with ; between them. help COMMAND says more.",
    ]
  }

  private static func detail(_ specification: CommandSpecification, _ format: ScreenFormat) -> [String] {
    var lines = [format.style(specification.synopsis, .strong)]
    lines += "\(specification.summary.prefix(1).uppercased())\(specification.summary.dropFirst())."
      .wrapped(to: format.width ?? 100)
    if !specification.details.isEmpty { lines += specification.details.wrapped(to: format.width ?? 100) }
    var list = FieldList()
    for option in specification.options {
      list.add("  \(option.flag)\(option.value.map { " \($0)" } ?? "")", option.summary)
    }
    return lines + list.lines(for: format)
  }

  /// For `cbterm --help`: the commands and the exit codes.
  static var discussion: String {
    let width = CommandSpecification.all.map(\.name.count).max() ?? 0
    let commands = CommandSpecification.all.map { specification in
      "  " + specification.name + String(repeating: " ", count: width - specification.name.count + 2)
        + specification.summary
    }
    return """
      Without a command, cbterm opens a session, or runs the commands that come on standard input.

      Commands (cbterm help COMMAND says more):
      \(commands.joined(separator: "\n"))

      Data goes to standard output, diagnostics to standard error. A sequence stops at the first command that \
      fails. With --json, each command writes one JSON document on one line: command, ok, and result or error \
      (log writes one document a line of the log).

      Exit codes:
        0  done
        1  failure
        2  usage: an unknown command, option or name
        3  not signed in
        4  no PoP reachable
        5  connection lost, or no answer in time
        6  refused by the PoP's policy or by the issuer
        7  a profile or setting is wrong
        130  cancelled (Ctrl-C)
      """
  }
}
