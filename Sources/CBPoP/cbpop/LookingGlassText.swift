import CBPoP

/// The looking glass's answers as an operator reads them.
enum LookingGlassText {
  static func table(_ neighbors: [NeighborView]) -> String {
    let head = ["NAME", "ADDRESS", "AS", "STATE", "SINCE", "ROUTES", "DENIED", "TOLD", "LAST"]
    let rows = neighbors.map { neighbor in
      [
        neighbor.name, neighbor.address, "\(neighbor.remoteAS)", neighbor.state, time(neighbor.seconds),
        "\(neighbor.accepted)", neighbor.takesNothing ? "all" : "\(neighbor.denied)", "\(neighbor.advertised)",
        neighbor.lastCause ?? "-",
      ]
    }
    return columns([head] + rows)
  }

  static func table(_ caches: [RPKICacheView]) -> String {
    let head = ["CACHE", "STATE", "PAYLOADS", "SERIAL", "AGE", "EXPIRES", "LAST FAILURE"]
    let rows = caches.map { cache in
      [
        "\(cache.isUsed ? "*" : " ") \(cache.address)", cache.state, "\(cache.payloads)",
        cache.serial.map { "\($0)" } ?? "-", cache.age.map(time) ?? "-", cache.expiresIn.map(time) ?? "-",
        cache.lastFailure ?? "-",
      ]
    }
    return columns([head] + rows)
  }

  static func details(_ neighbor: NeighborView) -> String {
    var rows = [
      ["neighbor", neighbor.name],
      ["address", neighbor.address],
      ["remote AS", "\(neighbor.remoteAS)"],
      ["state", "\(neighbor.state) for \(time(neighbor.seconds))"],
    ]
    if let local = neighbor.localAddress { rows.append(["local address", local]) }
    if let session = neighbor.session {
      rows.append(["router ID", session.routerID])
      rows.append(["hold time", session.holdTime == 0 ? "none" : "\(session.holdTime) s"])
      rows.append(["families", session.families.joined(separator: ", ")])
      rows.append(["complete", session.complete.isEmpty ? "none" : session.complete.joined(separator: ", ")])
      rows.append(["capabilities", session.capabilities.joined(separator: ", ")])
    }
    rows.append(["import", neighbor.importPolicy])
    rows.append(["export", neighbor.exportPolicy])
    let denied = neighbor.takesNothing ? "all that come denied, and none kept" : "\(neighbor.denied) denied"
    rows.append(["routes", "\(neighbor.accepted) taken, \(denied)"])
    rows.append(["told", "\(neighbor.advertised)"])
    rows.append(["updates", "\(neighbor.updatesReceived), of which \(neighbor.faultyUpdates) faulty"])
    rows.append(["last end", neighbor.lastCause ?? "-"])
    return columns(rows)
  }

  /// A line for each route.
  static func lines(_ destination: DestinationView) -> String {
    destination.routes.enumerated().map { index, route in
      let prefix = pad(index == 0 ? destination.prefix : "", 20)
      let hop = "\(pad(route.nextHop ?? "-", 16)) \(pad(route.neighbor ?? "local", 12))"
      let validity = route.originValidity.map { "  (\($0))" } ?? ""
      return "\(prefix) \(mark(route)) \(hop) \(path(route))\(validity)"
    }.joined(separator: "\n")
  }

  /// Each route with all that is on it, and what decided between them.
  static func explanation(_ destination: DestinationView) -> String {
    var lines = ["\(destination.prefix): \(destination.routes.count) route\(destination.routes.count == 1 ? "" : "s")"]
    for route in destination.routes {
      lines.append("\(mark(route)) \(source(route))")
      if route.isBest {
        lines.append("    best: \(destination.reason)")
      } else {
        let isEqual = route.isMultipath ? "; as good for sharing the load" : ""
        lines.append("    behind the best: \(route.lostBy ?? "-")\(isEqual)")
      }
      if let policy = route.policy { lines.append("    policy: \(policy)") }
      lines += attributes(route).map { "    \($0): \($1)" }
    }
    for route in destination.denied {
      lines.append(
        "x from \(route.neighbor ?? "-") (\(route.address ?? "-"))\(route.nextHop.map { ", next hop \($0)" } ?? "")")
      lines.append("    denied by \(route.policy ?? "policy")")
      lines += attributes(route).map { "    \($0): \($1)" }
    }
    return lines.joined(separator: "\n")
  }

  private static func source(_ route: RouteView) -> String {
    let from = route.neighbor.map { "from \($0) (\(route.address ?? "-"))" } ?? "originated here"
    return from + (route.nextHop.map { ", next hop \($0)" } ?? "")
  }

  private static func attributes(_ route: RouteView) -> [(String, String)] {
    var found = [("AS path", route.asPath.isEmpty ? "empty" : route.asPath), ("origin", route.origin)]
    func add(_ name: String, _ value: String?) { if let value { found.append((name, value)) } }
    func add(_ name: String, _ values: [String]) {
      if !values.isEmpty { found.append((name, values.joined(separator: " "))) }
    }
    add("origin validity", route.originValidity)
    add("local preference", route.localPreference.map { "\($0)" })
    if route.isStale { add("stale", "its neighbor is lost, or has not named it again") }
    add("MED", route.multiExitDisc.map { "\($0)" })
    add("path identifier", route.pathIdentifier.map { "\($0)" })
    add("communities", route.communities)
    add("large communities", route.largeCommunities)
    add("extended communities", route.extendedCommunities)
    if route.isAtomicAggregate { add("atomic aggregate", "yes") }
    add("aggregator", route.aggregator)
    add("originator", route.originatorID)
    add("cluster list", route.clusterList)
    add("only to customer", route.onlyToCustomer.map { "\($0)" })
    add("other attributes", route.otherAttributes.map { "\($0)" })
    return found
  }

  private static func mark(_ route: RouteView) -> String { route.isBest ? "*" : route.isMultipath ? "=" : " " }

  /// With the origin's letter behind it, as route servers print it.
  private static func path(_ route: RouteView) -> String {
    let origin = ["igp": "i", "egp": "e"][route.origin] ?? "?"
    return route.asPath.isEmpty ? origin : "\(route.asPath) \(origin)"
  }

  static func time(_ seconds: Int) -> String {
    if seconds >= 86_400 { return "\(seconds / 86_400)d\(seconds / 3_600 % 24)h" }
    func two(_ value: Int) -> String { value < 10 ? "0\(value)" : "\(value)" }
    return "\(two(seconds / 3_600)):\(two(seconds / 60 % 60)):\(two(seconds % 60))"
  }

  static func columns(_ rows: [[String]]) -> String {
    let count = rows.map(\.count).max() ?? 0
    let widths = (0..<count).map { column in rows.map { column < $0.count ? $0[column].count : 0 }.max() ?? 0 }
    return rows.map { row in
      row.enumerated().map { index, cell in index == row.count - 1 ? cell : pad(cell, widths[index]) }
        .joined(separator: "  ")
    }.joined(separator: "\n")
  }

  private static func pad(_ text: String, _ width: Int) -> String {
    text + String(repeating: " ", count: max(0, width - text.count))
  }
}
