public import BGP

/// Flow specifications as a table of nftables (`inet`) of their own: what to feed to `nft -f -` for each change, and what
/// of its counters is whose.
///
/// A change is one transaction. Chains are written anew, as the order of the rules counts (RFC 8955 §5.1); counters and
/// rate limits are objects of their own, and stay as long as their rule.
public struct FlowspecRuleset: Sendable {
  public struct Configuration: Hashable, Sendable {
    public var table = "cloudbridge_flowspec"
    /// What comes in there is filtered; empty for all but the loopback.
    public var interfaces: [String] = []

    public init() {}
  }

  struct Entry: Sendable {
    var number: Int
    var actions: FlowspecActions
    var match: Result<FlowspecMatch, FlowspecObstacle>
  }

  private typealias Line = (text: String, rule: FlowspecRule?)

  public let configuration: Configuration
  private(set) var entries: [FlowspecRule: Entry] = [:]
  private var lastNumber = 0
  /// What the kernel has, as of the last transaction that was written.
  private var written: [Int: FlowspecActions] = [:]
  /// By its lines, whose rule each is.
  private var owners: [FlowspecRule?] = []

  public init(_ configuration: Configuration = .init()) { self.configuration = configuration }

  // MARK: Rules in

  public mutating func apply(_ event: FlowspecEvent) {
    switch event {
    case .remove(let rule): entries[rule] = nil
    case .install(let rule, let actions):
      // Other actions have other counters and limits.
      if entries[rule]?.actions == actions { return }
      lastNumber += 1
      let match: Result<FlowspecMatch, FlowspecObstacle>
      do throws(FlowspecObstacle) {
        if actions.redirect != nil { throw .redirects }
        match = .success(try FlowspecMatch(rule))
      } catch {
        match = .failure(error)
      }
      entries[rule] = Entry(number: lastNumber, actions: actions, match: match)
    }
  }

  /// Why a rule cannot be enforced; nil where it can.
  public func obstacle(_ rule: FlowspecRule) -> FlowspecObstacle? {
    if case .failure(let obstacle)? = entries[rule]?.match { return obstacle }
    return nil
  }

  public var isEmpty: Bool { entries.isEmpty }

  // MARK: Text out

  /// Has the kernel do as the rules say now.
  ///
  /// - Parameter anew: makes the table, in place of one of its name that may be there.
  public mutating func transaction(anew: Bool) -> String {
    var lines: [Line] = anew ? beginning() : []
    if anew { written = [:] }
    let table = configuration.table
    lines += ["ipv4", "ipv6"].map { ("flush chain inet \(table) \($0)", nil) }
    let wanted = entries.compactMap { rule, entry in (try? entry.match.get()).map { (rule, entry, $0) } }
    let numbers = Set(wanted.map(\.1.number))
    for (number, actions) in written.sorted(by: { $0.key < $1.key }) where !numbers.contains(number) {
      lines += Self.objects(number, actions).map { ("delete \($0.kind) inet \(table) \($0.name)", nil) }
    }
    var now: [Int: FlowspecActions] = [:]
    for (rule, entry, match) in wanted.sorted(by: { $0.0 < $1.0 }) {
      now[entry.number] = entry.actions
      if written[entry.number] == nil {
        lines += Self.objects(entry.number, entry.actions).map {
          ("add \($0.kind) inet \(table) \($0.name)" + ($0.body.isEmpty ? "" : " { \($0.body) }"), rule)
        }
      }
      let isIPv4 = rule.family == .ipv4Flowspec
      let head = "add rule inet \(table) \(isIPv4 ? "ipv4" : "ipv6") "
      for alternative in match.alternatives {
        lines += Self.statements(entry, isIPv4: isIPv4).map {
          (head + (alternative.isEmpty ? "" : alternative + " ") + $0, rule)
        }
      }
    }
    written = now
    owners = lines.map(\.rule)
    return Self.text(lines)
  }

  private func beginning() -> [Line] {
    let table = configuration.table
    let interfaces = configuration.interfaces.map { "\"\($0)\"" }.joined(separator: ", ")
    return [
      "add table inet \(table)", "delete table inet \(table)", "add table inet \(table)",
      "add chain inet \(table) ipv4", "add chain inet \(table) ipv6",
      // Before the kernel puts fragments together, so that they can be told apart.
      "add chain inet \(table) prerouting { type filter hook prerouting priority -450; policy accept; }",
      "add rule inet \(table) prerouting "
        + (interfaces.isEmpty ? "iifname \"lo\" accept" : "iifname != { \(interfaces) } accept"),
      "add rule inet \(table) prerouting meta nfproto vmap { ipv4 : goto ipv4, ipv6 : goto ipv6 }",
    ].map { ($0, nil) }
  }

  /// Takes the table away, where there is one.
  public var end: String {
    Self.text(["add table inet \(configuration.table)", "delete table inet \(configuration.table)"].map { ($0, nil) })
  }

  private static func text(_ lines: [Line]) -> String { lines.map { $0.text + "\n" }.joined() }

  /// Leaves out the rule that made a transaction fail, so that the others can be had: false where it was none of them.
  ///
  /// - Parameter error: nft's own words, such as `/dev/stdin:3:32-35: Error: Could not process rule: …`.
  public mutating func refuse(_ error: String) -> Bool {
    guard let first = error.split(separator: "\n").first else { return false }
    let parts = first.split(separator: ":", maxSplits: 3)
    guard parts.count == 4, let line = Int(parts[1]), owners.indices.contains(line - 1), let rule = owners[line - 1]
    else { return false }
    entries[rule]?.match = .failure(.refused(parts[3].drop { $0 == " " }.description))
    return true
  }

  // MARK: Actions

  /// `m` counts what matches, `d` what is dropped of it; `b` and `p` limit octets and packets.
  private static func objects(_ number: Int, _ actions: FlowspecActions) -> [(kind: String, name: String, body: String)]
  {
    var objects = [(kind: "counter", name: "m\(number)", body: "")]
    guard !actions.discards else { return objects }
    let (bytes, packets) = (actions.rateBytes.map(whole), actions.ratePackets.map(whole))
    if let bytes { objects.append(("limit", "b\(number)", "rate over \(bytes) bytes/second burst 1500 bytes;")) }
    if let packets { objects.append(("limit", "p\(number)", "rate over \(packets)/second burst \(packets) packets;")) }
    if bytes != nil || packets != nil { objects.append(("counter", "d\(number)", "")) }
    return objects
  }

  /// As nftables has it: a second's worth is let through at once.
  private static func whole(_ rate: Float) -> UInt32 { rate >= 4e9 ? 4_000_000_000 : UInt32(max(1, rate)) }

  /// What is done with the packets of an alternative, one rule of nftables each.
  private static func statements(_ entry: Entry, isIPv4: Bool) -> [String] {
    let (number, actions) = (entry.number, entry.actions)
    let count = "counter name \"m\(number)\""
    if actions.discards { return ["\(count) drop"] }
    var lines: [String] = []
    var head = count + " "
    for (limit, rate) in [("b", actions.rateBytes), ("p", actions.ratePackets)] where rate != nil {
      lines.append("\(head)limit name \"\(limit)\(number)\" counter name \"d\(number)\" drop")
      head = ""
    }
    var rest = head
    if let dscp = actions.dscp { rest += "\(isIPv4 ? "ip" : "ip6") dscp set \(dscp) " }
    // RFC 8955 §7.3: unless it says to go on, the first rule that matches is the last.
    if !actions.goesOn { rest += "accept" }
    if !rest.isEmpty { lines.append(rest.last == " " ? String(rest.dropLast()) : rest) }
    return lines
  }

  // MARK: Counters

  public struct Counts: Hashable, Sendable {
    /// That matched.
    public var packets: UInt64 = 0
    public var octets: UInt64 = 0
    public var droppedPackets: UInt64 = 0

    public init() {}
  }

  /// What a counter of the table says, by the rule it is of.
  ///
  /// - Parameter read: packets and octets of the counter of this name.
  public func counts(_ rule: FlowspecRule, _ read: (String) -> (packets: UInt64, octets: UInt64)?) -> Counts? {
    guard let entry = entries[rule], let matched = read("m\(entry.number)") else { return nil }
    var counts = Counts()
    (counts.packets, counts.octets) = matched
    counts.droppedPackets = entry.actions.discards ? matched.packets : read("d\(entry.number)")?.packets ?? 0
    return counts
  }
}

extension FlowspecActions {
  fileprivate var discards: Bool { rateBytes == 0 || ratePackets == 0 }
}
