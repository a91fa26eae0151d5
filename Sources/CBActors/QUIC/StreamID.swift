/// A stream identifier (RFC 9000 §2.1): its two low bits say who opened it and whether it is one-way.
public struct StreamID: Hashable, Comparable, Sendable {
  public let rawValue: UInt64
  @inlinable public init(rawValue: UInt64) { self.rawValue = rawValue }

  /// The `sequence`-th stream (from 0) of its kind.
  @inlinable public init(_ initiator: Role, _ direction: StreamDirection, sequence: UInt64) {
    rawValue = sequence << 2 | (direction == .unidirectional ? 2 : 0) | (initiator == .server ? 1 : 0)
  }

  @inlinable public var initiator: Role { rawValue & 1 == 0 ? .client : .server }
  @inlinable public var direction: StreamDirection { rawValue & 2 == 0 ? .bidirectional : .unidirectional }
  @inlinable public var sequence: UInt64 { rawValue >> 2 }
  @inlinable public static func < (a: Self, b: Self) -> Bool { a.rawValue < b.rawValue }
}

extension StreamID: CustomStringConvertible {
  public var description: String { String(rawValue) }
}

public enum StreamDirection: Sendable {
  case bidirectional, unidirectional
}

/// Which end of a connection this is.
public enum Role: Sendable {
  case client, server
  @inlinable public var peer: Role { self == .client ? .server : .client }
}
