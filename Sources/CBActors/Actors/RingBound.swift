/// A ring's own object (a socket, a connection, bytes in a buffer) on its way from one actor of that ring
/// to another, within one call.
///
/// `@unchecked Sendable`: every actor that holds one is pinned to the one ring whose thread alone may
/// touch it, and the object itself checks that at each way in (`preconditionIsCurrent`).
public struct RingBound<Value>: @unchecked Sendable {
  public let value: Value
  @inlinable public init(_ value: Value) { self.value = value }
}
