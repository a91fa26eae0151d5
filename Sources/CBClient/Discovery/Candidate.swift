import Wire

/// An address at which a PoP may answer.
struct Candidate: Hashable, Sendable {
  /// The host as DNS names it: what its certificate is checked against is the domain, not this.
  var name: String
  var address: SocketAddress
  /// Lower is better. Candidates of equal priority differ in their address alone.
  var priority: Int
  var source: PoPCandidate.Source

  init(name: String, address: SocketAddress, priority: Int, source: PoPCandidate.Source) {
    self.name = name
    self.address = address
    self.priority = priority
    self.source = source
  }
}

extension Candidate {
  /// The order in which to try: by priority, and within one priority the address families in turn, IPv6
  /// first (RFC 8305 §4), so that one family that is broken costs one step and not all of them.
  static func ordered(_ candidates: [Candidate]) -> [Candidate] {
    var ordered: [Candidate] = []
    for priority in Set(candidates.map(\.priority)).sorted() {
      let group = candidates.filter { $0.priority == priority }
      let six = group.filter { !$0.address.ip.isIPv4 }
      let four = group.filter { $0.address.ip.isIPv4 }
      for index in 0..<max(six.count, four.count) {
        if index < six.count { ordered.append(six[index]) }
        if index < four.count { ordered.append(four[index]) }
      }
    }
    return ordered
  }
}
