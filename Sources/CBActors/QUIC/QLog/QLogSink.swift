/// Where the qlog of one connection goes. What it does must not block: it is called on the path of every packet.
public protocol QLogSink: AnyObject {
  /// When the connection began, as RFC 3339 has it; nil leaves it out.
  var wallClockTime: String? { get }

  /// Takes one record of a JSON text sequence (RFC 7464) with its separators. The bytes are good during the call only.
  func write(_ record: UnsafeRawBufferPointer)

  /// Nothing follows, or little: the connection has ended, or is forgotten. What was kept back is to be written now.
  func flush()
}

extension QLogSink {
  public var wallClockTime: String? { nil }
  public func flush() {}
}

/// The connection that a qlog is about.
public struct QLogSubject: Hashable, Sendable {
  public var role: Role
  /// The Destination Connection ID of the client's first packet: the one name that both ends know a connection by.
  public var originalDestinationID: ConnectionID
}

/// Keeps a qlog in memory, for tests and for what is written only when something failed.
public final class QLogMemory: QLogSink {
  /// Records so far, oldest first.
  public private(set) var bytes: [UInt8] = []
  private let limit: Int
  /// Records left out for want of room.
  public private(set) var dropped = 0

  /// - Parameter limit: bytes kept; later records are dropped and counted.
  public init(limit: Int = 64 << 20) { self.limit = limit }

  public func write(_ record: UnsafeRawBufferPointer) {
    guard bytes.count + record.count <= limit else {
      dropped += 1
      return
    }
    bytes.append(contentsOf: record)
  }
}
