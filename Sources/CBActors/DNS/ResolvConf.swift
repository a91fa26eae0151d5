public import Wire

/// What resolv.conf(5) says, from its text.
public struct ResolvConf: Hashable, Sendable {
  /// At most three, as resolv.conf(5) has it; the loopback address when the text names none.
  public var servers: [SocketAddress] = []
  /// Suffixes to try, at most ``maximumSearch``.
  public var search: [DNSName] = []
  /// A name with at least this many dots is tried as it stands first.
  public var ndots = 1
  public var timeout: Interval = .seconds(5)
  public var attempts = 2
  public var rotate = false
  /// `use-vc`: TCP alone.
  public var useTCP = false

  public static let maximumServers = 3
  public static let maximumSearch = 32

  /// Lines and options that are not understood are passed over, as the C library does.
  ///
  /// - Parameter interfaceIndex: Finds the index of an interface that an IPv6 link-local server names.
  public init(_ text: String, interfaceIndex: (String) -> UInt32? = { _ in nil }) {
    // A carriage return and line feed are one Character, which `isNewline` knows.
    for line in text.split(whereSeparator: \.isNewline) {
      guard let first = line.first, first != "#", first != ";" else { continue }
      let words = line.split(whereSeparator: \.isWhitespace).map(String.init)
      guard let keyword = words.first else { continue }
      let values = words.dropFirst()
      switch keyword {
      case "nameserver":
        if servers.count < Self.maximumServers, let server = values.first,
          let address = Self.server(server, interfaceIndex)
        {
          servers.append(address)
        }
      // The last of either stands.
      case "domain": search = values.prefix(1).compactMap { try? DNSName($0) }
      case "search": search = values.prefix(Self.maximumSearch).compactMap { try? DNSName($0) }
      case "options": values.forEach { takeOption($0) }
      default: continue
      }
    }
    if servers.isEmpty { servers = [SocketAddress(.v4(.loopback), port: 53)] }
  }

  private static func server(_ text: String, _ interfaceIndex: (String) -> UInt32?) -> SocketAddress? {
    let parts = text.split(separator: "%", maxSplits: 1).map(String.init)
    guard let address = parts.first.flatMap(IPAddress.init) else { return nil }
    guard parts.count == 2 else { return SocketAddress(address, port: 53) }
    guard let scope = UInt32(parts[1]) ?? interfaceIndex(parts[1]) else { return nil }
    return SocketAddress(address, port: 53, scopeID: scope)
  }

  private mutating func takeOption(_ option: String) {
    let parts = option.split(separator: ":", maxSplits: 1)
    guard let name = parts.first else { return }
    let number = parts.count == 2 ? Int(parts[1]) : nil
    // resolv.conf(5) caps ndots at 15, the timeout at 30 seconds and attempts at 5.
    switch (name, number) {
    case ("ndots", let number?): ndots = min(max(0, number), 15)
    case ("timeout", let number?): timeout = .seconds(Int64(min(max(1, number), 30)))
    case ("attempts", let number?): attempts = min(max(1, number), 5)
    case ("rotate", nil): rotate = true
    case ("use-vc", nil): useTCP = true
    default: return
    }
  }

  /// The names to ask for in turn when a user writes `text`: none when it is no name. A dot at the end makes
  /// it absolute.
  public func candidates(for text: String) -> [DNSName] {
    guard let name = try? DNSName(text) else { return [] }
    let labels = name.labels.count
    guard !text.hasSuffix("."), labels > 0 else { return [name] }
    let searched = search.compactMap { name.appending($0) }
    return labels - 1 >= ndots ? [name] + searched : searched + [name]
  }
}

extension StubResolver.Configuration {
  public init(_ file: ResolvConf) {
    self.init(servers: file.servers)
    timeout = file.timeout
    attempts = file.attempts
    rotate = file.rotate
    useTCP = file.useTCP
  }
}
