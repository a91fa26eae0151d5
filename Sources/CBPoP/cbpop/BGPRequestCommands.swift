import ArgumentParser
import CBPoP
import Wire

extension BGPCommand {
  struct Announce: ParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Announce a prefix to all neighbors, besides those of the settings.",
      discussion: "Announced again, it is changed. It ends with --for, by cbpop bgp withdraw, or when the PoP stops.")
    @Argument(help: "A prefix, or an address for it alone.") var prefix: String
    @OptionGroup var lifetime: Lifetime
    @OptionGroup var communities: Communities
    @Option(help: ArgumentHelp("MULTI_EXIT_DISC.", valueName: "number")) var med: UInt32?
    @Option(help: ArgumentHelp("The next hop. Without it, each session's own.", valueName: "address"))
    var nextHop: String?
    @OptionGroup var place: Place

    func run() throws {
      var order = RoutingOrder(.announce, prefix)
      order.lifetime = lifetime.duration
      order.communities = communities.community
      order.multiExitDisc = med
      order.nextHop = nextHop
      try place.follow(order)
    }
  }

  struct Blackhole: ParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Have neighbors drop what is bound for a prefix (RFC 7999).",
      discussion: """
        It is announced with the communities BLACKHOLE and NO_EXPORT, and ends by itself: after --for, or \
        bgp.requests.lifetime. With bgp.kernel.on, this machine drops the packets, too.
        """)
    @Argument(help: "A prefix, or an address for it alone.") var prefix: String
    @OptionGroup var lifetime: Lifetime
    @OptionGroup var communities: Communities
    @OptionGroup var place: Place

    func run() throws {
      var order = RoutingOrder(.blackhole, prefix)
      order.lifetime = lifetime.duration
      order.communities = communities.community
      try place.follow(order)
    }
  }

  struct Withdraw: ParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Take back what was announced, or blackholed, by request.")
    @Argument(help: "The prefix.") var prefix: String
    @OptionGroup var place: Place

    func run() throws { try place.follow(RoutingOrder(.withdraw, prefix)) }
  }

  struct Flowspec: ParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Give neighbors flow specifications (RFC 8955).",
      discussion: "They go to neighbors with flowspec4 or flowspec6 among their families.",
      subcommands: [Add.self, Remove.self])

    struct Add: ParsableCommand {
      static let configuration = CommandConfiguration(
        abstract: "Add a rule, or change what becomes of its traffic.",
        discussion: """
          A rule is keywords, each with one word: dst, src, proto, port, dport, sport, icmp-type, icmp-code, tcp-flags, \
          length, dscp, fragment and flow-label. In a word a comma is OR and & is AND: 'dst 198.51.100.7/32 proto udp \
          dport 53,1000-2000 length >=1400'. It ends by itself: after --for, or bgp.requests.lifetime.
          """)
      @Argument(help: "The rule, in quotes.") var rule: String
      @Option(
        parsing: .singleValue,
        help: ArgumentHelp(
          "drop, accept, 'rate-limit N' (octets/s), 'rate-limit Npps', 'mark DSCP', 'redirect AS:N', sample or continue. "
            + "May be repeated.", valueName: "action"))
      var action: [String] = ["drop"]
      @OptionGroup var lifetime: Lifetime
      @OptionGroup var place: Place

      func run() throws {
        var order = RoutingOrder(.addRule, rule)
        order.lifetime = lifetime.duration
        order.actions = action.joined(separator: ",")
        try place.follow(order)
      }
    }

    struct Remove: ParsableCommand {
      static let configuration = CommandConfiguration(abstract: "Take a rule of this PoP's own back.")
      @Argument(help: "The rule, in quotes, as cbpop bgp show flowspec prints it.") var rule: String
      @OptionGroup var place: Place

      func run() throws { try place.follow(RoutingOrder(.removeRule, rule)) }
    }
  }

  struct Requests: ParsableCommand {
    static let configuration = CommandConfiguration(abstract: "What is announced by request, and how long still.")
    @OptionGroup var place: Place

    func run() throws {
      guard let views = try place.ask(.requests, as: RequestView.self) else { return }
      if !views.isEmpty { print(LookingGlassText.table(views)) }
    }
  }
}

struct Lifetime: ParsableArguments {
  @Option(
    name: .customLong("for"), help: ArgumentHelp("Take it back by itself after this time.", valueName: "10m"))
  var duration: String?
}

struct Communities: ParsableArguments {
  @Option(
    parsing: .singleValue,
    help: ArgumentHelp("A community, such as 64512:1 or 64512:1:2. May be repeated.", valueName: "community"))
  var community: [String] = []
}

extension Place {
  /// Has the order followed, and prints what came of it.
  func follow(_ order: RoutingOrder) throws {
    guard let views = try ask(.order(order), as: RequestView.self), !views.isEmpty else { return }
    print(LookingGlassText.table(views))
  }
}

extension LookingGlassText {
  static func table(_ requests: [RequestView]) -> String {
    let rows = requests.map { request in
      let left = request.secondsLeft.map { time($0) } ?? "no end"
      var details = request.communities
      if let med = request.multiExitDisc { details.append("MED \(med)") }
      if let hop = request.nextHop { details.append("next hop \(hop)") }
      let with = request.actions ?? (details.isEmpty ? "-" : details.joined(separator: " "))
      return [request.kind, left, request.subject, with]
    }
    return columns([["KIND", "LEFT", "WHAT", "WITH"]] + rows)
  }
}
