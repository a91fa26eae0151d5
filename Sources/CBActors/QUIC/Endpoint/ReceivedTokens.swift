public import Wire

/// Tokens from NEW_TOKEN frames that a client keeps for its next connections (RFC 9000 §8.1.3). In memory alone.
///
/// Holds the ``tokensPerServer`` latest tokens of ``maximumServers`` servers; the oldest make room.
public struct ReceivedTokens: Sendable {
  public static let maximumServers = 256
  public static let tokensPerServer = 4

  /// RFC 9000 §8.1.3: "A client MUST NOT include a token that is not applicable to the server that it is connecting to".
  /// The name is what the server proved; the address makes it likely that it is the one that can open the token.
  public struct Server: Hashable, Sendable {
    public var name: String
    public var address: SocketAddress
    public init(name: String, address: SocketAddress) {
      self.name = name
      self.address = address
    }
  }

  private var tokens: [Server: [[UInt8]]] = [:]
  /// The servers, the one first heard of first.
  private var order: [Server] = []

  public init() {}

  public mutating func store(_ token: [UInt8], from server: Server) {
    if tokens[server] == nil {
      if order.count == Self.maximumServers { tokens[order.removeFirst()] = nil }
      order.append(server)
    }
    // RFC 9000 §19.7: "Clients are responsible for discarding duplicate values, which might be used to link connection
    // attempts".
    guard tokens[server]?.contains(token) != true else { return }
    tokens[server, default: []].append(token)
    if tokens[server, default: []].count > Self.tokensPerServer { tokens[server]?.removeFirst() }
  }

  /// The latest token of a server, given out once: RFC 9000 §8.1.3: "A client SHOULD NOT reuse a token from a NEW_TOKEN
  /// frame for different connection attempts."
  public mutating func take(for server: Server) -> [UInt8]? { tokens[server]?.popLast() }
}
