import CBClient
import Testing
import Wire

@testable import cbterm

@Suite struct CommandLineTextTests {
  private func words(_ text: String) -> [[String]] { CommandLineText(text).commands.map { $0.map(\.text) } }

  @Test func wordsAndCommands() {
    #expect(words("connect; status") == [["connect"], ["status"]])
    #expect(words("  get  'a b;c' ; ;\tping\n-c 3 ") == [["get", "a b;c"], ["ping"], ["-c", "3"]])
    #expect(words(#"get "a \"b\" \n" c\ d"#) == [["get", #"a "b" \n"#, "c d"]])
    #expect(words("get ''") == [["get", ""]])
    #expect(words("status # and more; quit\nlog") == [["status"], ["log"]])
    #expect(words("get http://x/#part") == [["get", "http://x/#part"]])
    #expect(words("") == [])
    #expect(words(" ; # only this") == [])
    #expect(words("a\r\nb") == [["a"], ["b"]])
  }

  @Test func whatIsNotClosed() {
    #expect(CommandLineText("get 'x").failure == .unclosedQuote("'"))
    #expect(CommandLineText("get \"x").failure == .unclosedQuote("\""))
    #expect(CommandLineText("get x\\").failure == .trailingBackslash)
    #expect(CommandLineText("get x").failure == nil)
  }

  @Test func whereTheCursorIs() {
    #expect(CommandLineText("status; tun").lastCommand.map(\.text) == ["tun"])
    #expect(CommandLineText("status; tun").endsInWord)
    #expect(!CommandLineText("tunnel ").endsInWord)
    #expect(CommandLineText("status;").lastCommand.isEmpty)
    #expect(CommandLineText("é x").lastCommand.map(\.start) == [0, 3])
  }
}

@Suite struct ParsedCommandTests {
  private func parse(_ text: String) throws(ClientError) -> Command {
    try ParsedCommand(CommandLineText(text).commands[0].map(\.text)).command
  }

  @Test func everyCommand() throws {
    #expect(try parse("login") == .login)
    #expect(try parse("connect") == .connect(pop: nil))
    #expect(try parse("connect fra1") == .connect(pop: "fra1"))
    #expect(
      try parse("tunnel add udp 5353 dns.test:53 -n dns")
        == .tunnelAdd(.init(name: "dns", transport: .udp, listen: "127.0.0.1:5353", target: "dns.test:53")))
    #expect(
      try parse("tunnel add -n=x tcp [::1]:0 [2001:db8::1]:80")
        == .tunnelAdd(.init(name: "x", transport: .tcp, listen: "[::1]:0", target: "[2001:db8::1]:80")))
    #expect(try parse("tunnel remove dns") == .tunnelRemove(name: "dns"))
    #expect(try parse("ping") == .ping(host: nil, count: 4))
    #expect(try parse("ping -c3 a.test") == .ping(host: "a.test", count: 3))
    #expect(try parse("ping a.test -c 0") == .ping(host: "a.test", count: 0))
    #expect(try parse("get a.test/x") == .get(url: "http://a.test/x", output: nil, headOnly: false))
    #expect(try parse("get https://a.test -o f -I") == .get(url: "https://a.test", output: "f", headOnly: true))
    #expect(try parse("get -- -x") == .get(url: "http://-x", output: nil, headOnly: false))
    #expect(try parse("log -f -n 5") == .log(lines: 5, follow: true))
    #expect(try parse("wait 250ms") == .wait(.milliseconds(250)))
    #expect(try parse("profile use x") == .profileUse(name: "x"))
    #expect(try parse("exit") == .quit)
    #expect(try parse("ping --help") == .help(command: "ping"))
    #expect(try ParsedCommand(["status", "--json"]).asksForJSON)
  }

  @Test(arguments: [
    ("conect", "did you mean connect?"), ("tunnel ad", "did you mean tunnel add?"),
    ("frobnicate", "help lists the commands"), ("tunnel", "tunnel needs one of add, list, remove"),
    ("status now", "usage: status"), ("ping -c", "usage: ping [HOST] [-c COUNT]"), ("ping -c x", "-c takes a number"),
    ("ping -q", "has no option '-q'"), ("get", "URL is missing"), ("get ftp://a", "only http and https"),
    ("tunnel add sctp 1 a:1", "udp or tcp"), ("tunnel add udp 0.0.0.0:53 a:1", "not a loopback address"),
    ("tunnel add udp 53 nowhere", "TARGET: expected host:port"), ("wait 5", "not a duration"),
    ("tunnel add udp 53 a:1 -n 'a b'", "NAME: expected a name"), ("log -f5", "has no option"),
  ])
  func mistakesAreExplained(_ text: String, _ explanation: String) {
    do {
      _ = try parse(text)
      Issue.record("\(text) was understood")
    } catch {
      #expect(error.kind == .usage)
      #expect(error.description.contains(explanation), "\(error.description)")
    }
  }

  @Test func everySpecificationParsesAndIsExplained() throws {
    let samples = [
      "POP": "fra1", "NAME": "x", "TYPE": "udp", "LISTEN": "1", "TARGET": "a:1", "HOST": "a", "URL": "http://a",
      "DURATION": "1s", "COMMAND": "get", "FILE": "f", "COUNT": "1", "LINES": "1",
    ]
    for specification in CommandSpecification.all {
      var words = specification.words + specification.positionals.map { samples[$0.name]! }
      for option in specification.options { words += [option.flag] + (option.value.map { [samples[$0]!] } ?? []) }
      #expect(try ParsedCommand(words).specification.name == specification.name)
      #expect(try !Help.lines(Help.specifications(specification.name), .plain).isEmpty)
    }
  }
}

@Suite struct CompletionTests {
  private let names = CompletionNames(
    profiles: ["local", "lab"], pops: ["fra1", "ams1"], tunnels: ["dns", "web", "db"])

  private func complete(_ text: String) -> [String] { Completion(text, names: names).candidates }

  @Test func commandsAndSubcommands() {
    #expect(complete("con") == ["connect"])
    #expect(complete("l") == ["log", "login", "logout"])
    #expect(complete("").count == CommandSpecification.firstWords.count)
    #expect(complete("tunnel ") == ["add", "list", "remove"])
    #expect(complete("profile u") == ["use"])
    #expect(complete("status; dis") == ["disconnect", "discover"])
    #expect(complete("help pi") == ["ping"])
  }

  @Test func namesInTheirPlaces() {
    #expect(complete("connect ") == ["ams1", "fra1"])
    #expect(complete("connect f") == ["fra1"])
    #expect(complete("connect fra1 ") == [])
    #expect(complete("tunnel remove d") == ["db", "dns"])
    #expect(complete("profile use l") == ["lab", "local"])
    #expect(complete("tunnel add ") == ["tcp", "udp"])
    #expect(complete("tunnel add u") == ["udp"])
  }

  @Test func optionsAndFiles() {
    #expect(complete("get -") == ["-I", "-o"])
    #expect(complete("get http://a -I -") == ["-o"])
    #expect(complete("log ") == ["-n", "-f"])
    #expect(Completion("get http://a -o ", names: names).isFile)
    #expect(Completion("get http://a -o /tm", names: names).isFile)
    #expect(complete("nothing ") == [])
    #expect(complete("connect 'fr") == ["fra1"])
  }
}
