import Wire

/// Cuts the octets of a connection into messages.
///
/// A message that lies whole in what was received is handed out in place; one that is spread over several reads is
/// gathered here first. Holds at most one message.
public final class MessageStream {
  /// One message; its octets are valid until the stream is used again.
  public struct Message {
    public let type: MessageType
    /// The header and all.
    public let octets: UnsafeRawBufferPointer
    /// What follows the header.
    public var body: UnsafeRawBufferPointer { UnsafeRawBufferPointer(rebasing: octets[MessageHeader.length...]) }
  }

  /// The beginning of a message whose rest has not come, in memory that never moves.
  private var gathered: UnsafeMutableRawBufferPointer?
  private var count = 0

  public init() {}

  deinit { gathered?.deallocate() }

  /// Octets that wait for the rest of their message.
  public var pendingCount: Int { count }

  /// Takes the next whole message from the front of `bytes`; nil when there is none, and then all of them are taken.
  ///
  /// - Parameter maximumLength: of a message, as negotiated.
  /// - Throws: a Message Header Error; nothing may be read after it.
  public func next(
    from bytes: inout UnsafeRawBufferPointer, maximumLength: Int
  ) throws(NotificationMessage) -> Message? {
    if count > 0 { return try completeGathered(from: &bytes, maximumLength: maximumLength) }
    guard let header = try MessageHeader(bytes, maximumLength: maximumLength), header.messageLength <= bytes.count
    else {
      gather(&bytes, upTo: bytes.count)
      return nil
    }
    defer { bytes = UnsafeRawBufferPointer(rebasing: bytes[header.messageLength...]) }
    return Message(type: header.type, octets: UnsafeRawBufferPointer(rebasing: bytes[..<header.messageLength]))
  }

  private func completeGathered(
    from bytes: inout UnsafeRawBufferPointer, maximumLength: Int
  ) throws(NotificationMessage) -> Message? {
    if count < MessageHeader.length { gather(&bytes, upTo: MessageHeader.length - count) }
    guard let gathered else { return nil }
    let soFar = UnsafeRawBufferPointer(rebasing: gathered[..<count])
    guard let header = try MessageHeader(soFar, maximumLength: maximumLength) else { return nil }
    gather(&bytes, upTo: header.messageLength - count)
    guard count == header.messageLength else { return nil }
    count = 0
    return Message(type: header.type, octets: UnsafeRawBufferPointer(rebasing: gathered[..<header.messageLength]))
  }

  /// Moves up to so many octets from the front of `bytes` into the gathered ones, which are less than a message.
  private func gather(_ bytes: inout UnsafeRawBufferPointer, upTo limit: Int) {
    let taken = min(limit, bytes.count)
    guard taken > 0 else { return }
    let memory = gathered ?? .allocate(byteCount: MessageHeader.extendedMaximumLength, alignment: 8)
    gathered = memory
    UnsafeMutableRawBufferPointer(rebasing: memory[count..<count + taken])
      .copyMemory(from: UnsafeRawBufferPointer(rebasing: bytes[..<taken]))
    count += taken
    bytes = UnsafeRawBufferPointer(rebasing: bytes[taken...])
  }
}
