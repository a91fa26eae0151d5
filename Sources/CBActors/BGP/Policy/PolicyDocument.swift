import Wire

/// A piece of a policy file: YAML, or whatever else has lists and keys.
public struct PolicyNode: Sendable {
  public indirect enum Value: Sendable {
    case text(String)
    case list([PolicyNode])
    /// In the order of the file.
    case keys([(key: String, value: PolicyNode)])
  }

  public var value: Value
  /// Counts from 1.
  public var line: Int

  public init(_ value: Value, line: Int) {
    self.value = value
    self.line = line
  }
}

/// What is wrong with a policy file, and where.
public struct PolicyFault: Error, Hashable, Sendable, CustomStringConvertible {
  public var line: Int
  public var message: String
  /// Such as `12: "10.0.0.0/33", character 10: "33" is no length; write 0 to 32`.
  public var description: String { "\(line): \(message)" }
}

/// All faults of a file, so that one attempt shows them.
public struct PolicyFaults: Error, Hashable, Sendable {
  public var faults: [PolicyFault]
}

/// A file of policies and of the prefix lists that they share.
///
/// ```yaml
/// prefixLists:
///   customers: [203.0.113.0/24 le 25, 2001:db8:100::/40 le 48]
/// policies:
///   from-customers:
///     - name: no bogons
///       if: {prefix: 10.0.0.0/8 le 32}
///       then: deny
///     - name: ours
///       if:
///         prefix: customers
///         not: {asPath: "* 666 *"}
///       set: {localPreference: 200, addCommunities: [64512:1]}
///       then: permit
/// ```
///
/// All conditions of a rule must hold; of several values of one, any. The first rule with `then` that holds ends it; one
/// without goes on. What no rule settles is denied.
///
/// | `if` | holds when |
/// |---|---|
/// | `prefix` | a list's name, or prefixes with `ge` and `le`, contain it |
/// | `asPath` | an ``ASPathPattern`` matches |
/// | `community` | it has one that a ``CommunityPattern`` stands for |
/// | `nextHop` | as `prefix` |
/// | `origin` | `igp`, `egp` or `incomplete` |
/// | `peerAS`, `asPathLength` | a number, or two with a `-` between |
/// | `originValidity` | `valid`, `invalid` or `not-found` |
/// | `local` | `true`: it is ours |
/// | `not` | the conditions in it do not all hold |
///
/// | `set` | |
/// |---|---|
/// | `localPreference`, `med` | a number; `med` also `none` |
/// | `origin` | as above |
/// | `nextHop` | `self` or an address |
/// | `prepend` | an AS, and behind it how often |
/// | `addCommunities`, `removeCommunities` | communities; patterns to remove |
public struct PolicyDocument: Hashable, Sendable {
  /// In the order of the file.
  public private(set) var policies: [Policy] = []

  public subscript(name: String) -> Policy? { policies.first { $0.name == name } }

  public init(_ root: PolicyNode) throws(PolicyFaults) {
    var reader = PolicyDocumentReader()
    policies = reader.read(root)
    guard reader.faults.isEmpty else { throw PolicyFaults(faults: reader.faults) }
  }
}

private struct PolicyDocumentReader {
  var faults: [PolicyFault] = []
  private var lists: [String: [PrefixRange]] = [:]

  private mutating func fault(_ line: Int, _ message: String) {
    if faults.count < 50 { faults.append(PolicyFault(line: line, message: message)) }
  }

  /// What a text parser says, with its line.
  private mutating func parse<T>(_ node: PolicyNode, _ body: (String) throws(PolicyTextError) -> T) -> T? {
    guard case .text(let text) = node.value else {
      fault(node.line, "a list or keys where a text is expected")
      return nil
    }
    do throws(PolicyTextError) { return try body(text) } catch {
      fault(node.line, "\(error)")
      return nil
    }
  }

  private mutating func keys(_ node: PolicyNode, _ what: String) -> [(key: String, value: PolicyNode)] {
    if case .keys(let all) = node.value { return all }
    if case .text("") = node.value { return [] }
    fault(node.line, "\(what) must be keys with values")
    return []
  }

  /// One value or a list of them.
  private func values(_ node: PolicyNode) -> [PolicyNode] {
    if case .list(let all) = node.value { return all }
    return [node]
  }

  // MARK: The file

  mutating func read(_ root: PolicyNode) -> [Policy] {
    let all = keys(root, "a policy file")
    for (key, value) in all where key == "prefixLists" {
      for (name, list) in keys(value, key) {
        if lists[name] != nil { fault(list.line, "a second list of the name \"\(name)\"") }
        lists[name] = values(list).compactMap { parse($0, PrefixRange.init(parsing:)) }
      }
    }
    var policies: [Policy] = []
    for (key, value) in all {
      switch key {
      case "prefixLists": break
      case "policies":
        for (name, rules) in keys(value, key) {
          if policies.contains(where: { $0.name == name }) { fault(rules.line, "a second policy \"\(name)\"") }
          policies.append(policy(name, rules))
        }
      default: fault(value.line, "\"\(key)\" is unknown; a policy file has prefixLists and policies")
      }
    }
    return policies
  }

  private mutating func policy(_ name: String, _ node: PolicyNode) -> Policy {
    guard case .list(let all) = node.value else {
      fault(node.line, "policy \"\(name)\" must be a list of rules")
      return Policy(name, [])
    }
    var rules: [Policy.Rule] = []
    for (index, one) in all.enumerated() { rules.append(rule(one, number: index + 1)) }
    return Policy(name, rules)
  }

  private mutating func rule(_ node: PolicyNode, number: Int) -> Policy.Rule {
    var rule = Policy.Rule("rule \(number)", nil)
    for (key, value) in keys(node, "a rule") {
      switch key {
      case "name": rule.name = parse(value) { text throws(PolicyTextError) in text } ?? rule.name
      case "if": rule.conditions = conditions(value)
      case "set": rule.changes = changes(value)
      case "then":
        rule.verdict = parse(value) { text throws(PolicyTextError) in
          guard let verdict = Policy.Verdict(rawValue: text) else {
            throw PolicyTextError(text, "no verdict", remedy: "write permit or deny, or leave it out to go on")
          }
          return verdict
        }
      default: fault(value.line, "\"\(key)\" is unknown; a rule has name, if, set and then")
      }
    }
    return rule
  }

  // MARK: Conditions

  private mutating func conditions(_ node: PolicyNode) -> [Policy.Condition] {
    var found: [Policy.Condition] = []
    for (key, value) in keys(node, "if") { found += condition(key, value) }
    return found
  }

  private mutating func condition(_ key: String, _ value: PolicyNode) -> [Policy.Condition] {
    switch key {
    case "prefix": return [.prefix(prefixList(value))]
    case "nextHop": return [.nextHop(prefixList(value))]
    case "asPath": return [.asPath(values(value).compactMap { parse($0, ASPathPattern.init(parsing:)) })]
    case "community": return [.community(values(value).compactMap { parse($0, CommunityPattern.init(parsing:)) })]
    case "origin": return parse(value, Self.origin).map { [.origin($0)] } ?? []
    case "peerAS":
      return parse(value) { text throws(PolicyTextError) in try Self.range(text, upTo: UInt32.max) }
        .map { [.peerAS($0)] } ?? []
    case "asPathLength":
      return parse(value) { text throws(PolicyTextError) in try Self.range(text, upTo: 65_535) }
        .map { [.asPathLength(Int($0.lowerBound)...Int($0.upperBound))] } ?? []
    case "originValidity":
      return parse(value) { text throws(PolicyTextError) in
        switch text {
        case "valid": return [.originValidity(.valid)]
        case "invalid": return [.originValidity(.invalid)]
        case "not-found": return [.originValidity(.notFound)]
        default: throw PolicyTextError(text, "no validity", remedy: "write valid, invalid or not-found")
        }
      } ?? []
    case "local":
      return parse(value) { text throws(PolicyTextError) in
        switch text {
        case "true": return [.local]
        case "false": return [.not(.local)]
        default: throw PolicyTextError(text, "neither true nor false", remedy: "write true")
        }
      } ?? []
    case "not":
      let inner = conditions(value)
      // Not all of them: one of them not.
      return inner.count == 1 ? [.not(inner[0])] : [.not(.all(inner))]
    default:
      fault(
        value.line,
        "\"\(key)\" is unknown; conditions are prefix, asPath, community, nextHop, origin, peerAS, asPathLength, "
          + "originValidity, local and not")
      return []
    }
  }

  /// Prefixes, and lists by their names.
  private mutating func prefixList(_ node: PolicyNode) -> PrefixList {
    var ranges: [PrefixRange] = []
    for one in values(node) {
      if case .text(let text) = one.value, let list = lists[text] {
        ranges += list
      } else if case .text(let text) = one.value, !text.contains("/"), text.first?.isLetter == true, !text.contains(":")
      {
        fault(one.line, "there is no prefix list \"\(text)\"; name it under prefixLists")
      } else if let range = parse(one, PrefixRange.init(parsing:)) {
        ranges.append(range)
      }
    }
    return PrefixList(ranges)
  }

  private static func origin(_ text: String) throws(PolicyTextError) -> Origin {
    switch text {
    case "igp": .igp
    case "egp": .egp
    case "incomplete": .incomplete
    default: throw PolicyTextError(text, "no origin", remedy: "write igp, egp or incomplete")
    }
  }

  private static func range(_ text: String, upTo limit: UInt32) throws(PolicyTextError) -> ClosedRange<UInt32> {
    let ends = text.split(separator: "-", omittingEmptySubsequences: false).map { UInt32($0) }
    if ends.count <= 2, let from = ends.first ?? nil, let to = ends.last ?? nil, from <= to, to <= limit {
      return from...to
    }
    throw PolicyTextError(text, "no number", remedy: "write one up to \(limit), or two with a - between")
  }

  // MARK: Changes

  private mutating func changes(_ node: PolicyNode) -> [Policy.Change] {
    var found: [Policy.Change] = []
    for (key, value) in keys(node, "set") {
      if let change = change(key, value) { found.append(change) }
    }
    return found
  }

  private mutating func change(_ key: String, _ value: PolicyNode) -> Policy.Change? {
    switch key {
    case "localPreference": return parse(value, Self.number).map { .localPreference($0) }
    case "med":
      return parse(value) { text throws(PolicyTextError) in
        text == "none" ? .multiExitDisc(nil) : .multiExitDisc(try Self.number(text))
      }
    case "origin": return parse(value, Self.origin).map { .origin($0) }
    case "nextHop":
      return parse(value) { text throws(PolicyTextError) in
        if text == "self" { return .nextHopSelf }
        guard let address = IPAddress(text) else {
          throw PolicyTextError(text, "no address", remedy: "write one, or self")
        }
        return .nextHop(address)
      }
    case "prepend":
      return parse(value) { text throws(PolicyTextError) in
        let words = text.split(separator: " ").map { UInt32($0) }
        guard (1...2).contains(words.count), let number = words[0], number > 0,
          let count = words.count == 2 ? words[1] : 1, (1...16).contains(count)
        else { throw PolicyTextError(text, "no AS", remedy: "write 64512, or 64512 3 for three times, at most 16") }
        return .prepend(number, count: Int(count))
      }
    case "addCommunities":
      return .addCommunities(values(value).compactMap { parse($0, AnyCommunity.init(parsing:)) })
    case "removeCommunities":
      return .removeCommunities(values(value).compactMap { parse($0, CommunityPattern.init(parsing:)) })
    default:
      fault(
        value.line,
        "\"\(key)\" is unknown; to set are localPreference, med, origin, nextHop, prepend, addCommunities and "
          + "removeCommunities")
      return nil
    }
  }

  private static func number(_ text: String) throws(PolicyTextError) -> UInt32 {
    guard let number = UInt32(text) else {
      throw PolicyTextError(text, "no number", remedy: "write 0 to \(UInt32.max)")
    }
    return number
  }
}
