public import BGP
import Settings

extension PoPSettings.BGP {
  /// The file that neighbors' policies are in, and what it says.
  public struct Policies: Hashable, Sendable {
    /// Nil: no neighbor names a policy.
    public var file: String?
    public var document: PolicyDocument?

    /// Of a file that is wrong: nothing is known of its policies.
    init(unreadable file: String?) { self.file = file }

    /// Throws what is wrong with the file.
    init(file: String?) throws(SettingsError) {
      self.file = file
      document = try file.map { path throws(SettingsError) in try PolicyDocument(path: path) }
      for name in PoPSettings.BGP.Neighbor.words where document?[name] != nil {
        throw SettingsError([
          .init(
            .file(file ?? "", line: nil),
            "a policy is called \(name), which stands for no policy in bgp.neighbors; call it something else")
        ])
      }
    }

    /// What is wrong with a policy's name in a neighbor's section; nil for one that stands for something.
    func problem(with name: String?) -> String? {
      guard let name, !PoPSettings.BGP.Neighbor.words.contains(name), document?[name] == nil else { return nil }
      guard let file else {
        return "'\(name)' is to be a policy, but bgp.policyFile names no file; write all or none, or set it"
      }
      guard let document else { return nil }
      let names = document.policies.map(\.name)
      return "\(file) has no policy '\(name)'"
        + (names.isEmpty ? "; it has none" : "; it has \(names.joined(separator: ", "))")
    }
  }

  static let policyFileKey = Schema.Key.value(
    "policyFile", .path, example: "/etc/cloudbridge/policy.yaml",
    "The policies that neighbors' import and export name; docs/bgp-policy.md says how to write one. Relative to this "
      + "file. cbpop bgp reload reads it again.")
}

extension PoPSettings.BGP {
  /// Names that stand for no policy, each by its key.
  func policyProblems(
    _ policies: Policies, _ problem: (_ key: String, _ message: String) -> SettingsError.Problem
  ) -> [SettingsError.Problem] {
    neighbors.enumerated().flatMap { index, neighbor in
      [("import", neighbor.importPolicy), ("export", neighbor.exportPolicy)].compactMap { key, name in
        policies.problem(with: name).map { problem("bgp.neighbors[\(index)].\(key)", $0) }
      }
    }
  }
}

extension PoPSettings.BGP.Neighbor {
  /// What stands for no policy.
  static let words = ["all", "none"]

  static let policyKeys: [Schema.Key] = [
    .value(
      "import", .text, example: "all",
      "Which of its routes are taken: all, none, or the name of a policy in policyFile. Without it, none of an external "
        + "neighbor's (RFC 8212), and all of an internal one's."),
    .value(
      "export", .text, example: "all",
      "Which routes it is told: all, none, or the name of a policy. Without it, our own, and others' as transit says; but to "
        + "pass on others' to an external neighbor it takes this as well (RFC 8212)."),
  ]

  func policy(_ policies: PoPSettings.BGP.Policies, localAS: UInt32) -> PeerPolicy {
    func named(_ name: String?) -> Policy? {
      switch name {
      case nil, "all": nil
      case "none": Policy("none", [])
      case let name?: policies.document?[name] ?? Policy("none", [])
      }
    }
    let isMissing = importPolicy == nil && remoteAS != localAS
    return PeerPolicy(
      incoming: isMissing ? PeerPolicy.missing : named(importPolicy), outgoing: named(exportPolicy))
  }

  /// Whether routes of other neighbors go on to it.
  func passesOn(localAS: UInt32) -> Bool { isTransit && (exportPolicy != nil || remoteAS == localAS) }

  /// What RFC 8212 keeps away for want of a word, as the log says it, with what to write.
  func missingPolicies(localAS: UInt32) -> [(what: String, remedy: String)] {
    guard remoteAS != localAS else { return [] }
    var missing: [(what: String, remedy: String)] = []
    if importPolicy == nil {
      missing.append(
        ("its routes are not taken (RFC 8212)", "import: all, or the name of a policy, or none to have it so"))
    }
    if isTransit, exportPolicy == nil {
      missing.append(
        ("it is told our own routes alone (RFC 8212)", "export: all, or the name of a policy, or transit: false"))
    }
    return missing
  }
}
