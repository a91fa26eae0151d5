/// A ring's own object (a socket, a timer) on its way from one actor of that ring to another.
///
/// `@unchecked Sendable`: every actor that holds one is pinned to the one ring whose thread alone may
/// touch it, and the object itself checks that at each way in (`preconditionIsCurrent`).
struct RingBound<Value>: @unchecked Sendable {
  let value: Value
  init(_ value: Value) { self.value = value }
}
