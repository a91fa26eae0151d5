public import PacketCrypto

/// A client's first Initial packet that an ``Endpoint`` accepted: what a server's ``Connection`` begins with.
public struct InitialRequest: Hashable, Sendable {
  /// The Destination Connection ID that the packet carries: Initial keys are derived from it.
  public var destinationID: ConnectionID
  /// The client's own connection ID.
  public var sourceID: ConnectionID
  /// The Destination Connection ID of the client's very first packet: the same, unless a Retry came between.
  public var originalDestinationID: ConnectionID
  /// The ID that our Retry packet gave the client; nil when there was none.
  public var retrySourceID: ConnectionID?
  /// A token has proved that the client receives at its address (RFC 9000 §8.1.2).
  public var isAddressValidated: Bool
  /// Of the packet.
  public var version: Version

  public init(
    destinationID: ConnectionID, sourceID: ConnectionID, originalDestinationID: ConnectionID? = nil,
    retrySourceID: ConnectionID? = nil, isAddressValidated: Bool = false, version: Version = .v1
  ) {
    self.version = version
    self.destinationID = destinationID
    self.sourceID = sourceID
    self.originalDestinationID = originalDestinationID ?? destinationID
    self.retrySourceID = retrySourceID
    self.isAddressValidated = isAddressValidated
  }
}
