public struct PingReply: Hashable, Codable, Sendable {
  public var sequence: Int
  /// What was measured: the PoP's name and address, or the host given.
  public var target: String
  public var rttMilliseconds: Double

  public init(sequence: Int, target: String, rttMilliseconds: Double) {
    self.sequence = sequence
    self.target = target
    self.rttMilliseconds = rttMilliseconds
  }
}

public struct GetRequest: Hashable, Codable, Sendable {
  public var url: String
  /// HEAD instead of GET.
  public var headOnly: Bool

  public init(url: String, headOnly: Bool = false) {
    self.url = url
    self.headOnly = headOnly
  }
}

/// A response whose body is pulled: the tunnel's flow control holds the sender back until the next pull.
public struct GetResponse: Sendable {
  public var head: Head
  /// The next piece of the body, or nil at its end. Not to be called again after nil or a throw. Dropping
  /// the response without reading to the end aborts the transfer.
  public var nextChunk: @Sendable () async throws(ClientError) -> [UInt8]?

  public struct Head: Hashable, Codable, Sendable {
    public var status: Int
    public var reason: String
    public var fields: [Field]
    public init(status: Int, reason: String, fields: [Field]) {
      self.status = status
      self.reason = reason
      self.fields = fields
    }
  }
  public struct Field: Hashable, Codable, Sendable {
    public var name: String
    public var value: String
    public init(name: String, value: String) {
      self.name = name
      self.value = value
    }
  }

  public init(head: Head, nextChunk: @escaping @Sendable () async throws(ClientError) -> [UInt8]?) {
    self.head = head
    self.nextChunk = nextChunk
  }
}
