import Foundation
import Glibc
import Logging
import NIOCore
import NIOPosix

/// Where operators ask a running PoP: a Unix socket that only its own user may open. One request a connection, a line of
/// JSON for each thing that is found, and ``ControlEnd``.
struct ControlSocket {
  private let channel: NIOAsyncChannel<Client, Never>
  private let path: String
  private let logger: Logger

  typealias Client = NIOAsyncChannel<ByteBuffer, ByteBuffer>
  /// Answers a request, line by line.
  typealias Answering =
    @Sendable (ControlRequest, (any Encodable & Sendable) async throws -> Void) async throws -> Void

  /// Requests that are answered at once; more wait.
  private static let concurrency = 4
  /// How long one may take to ask, or to take the answer.
  private static let patience = TimeAmount.seconds(20)
  /// What is gathered before it is written.
  private static let chunk = 32 << 10

  /// Throws where another PoP answers there, or the place is not ours to write.
  static func open(_ path: String, logger: Logger) async throws -> ControlSocket {
    guard path.utf8.count < 100 else { throw ControlSocketError.pathTooLong(path) }
    let folder = (path as NSString).deletingLastPathComponent
    try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    if ControlClient.isAnswered(path) { throw ControlSocketError.taken(path) }
    // Opened where no one else can reach it, and moved into place when it is closed to others.
    let cradle = "\(folder)/.\(getpid())"
    guard mkdir(cradle, 0o700) == 0 else { throw ControlSocketError.system("mkdir \(cradle)", errno) }
    defer { rmdir(cradle) }
    let born = "\(cradle)/s"
    let channel: NIOAsyncChannel<Client, Never>
    do {
      channel = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
        .serverChannelOption(.backlog, value: 16)
        .bind(unixDomainSocketPath: born) { channel in
          channel.eventLoop.makeCompletedFuture {
            try channel.pipeline.syncOperations.addHandler(IdleStateHandler(allTimeout: patience))
            try channel.pipeline.syncOperations.addHandler(IdleClose())
            return try Client(wrappingChannelSynchronously: channel)
          }
        }
    } catch {
      unlink(born)
      throw error
    }
    guard chmod(born, 0o600) == 0, rename(born, path) == 0 else {
      let error = ControlSocketError.system(path, errno)
      unlink(born)
      try? await channel.channel.close()
      throw error
    }
    return ControlSocket(channel: channel, path: path, logger: logger)
  }

  /// Until the task is cancelled.
  ///
  /// - Parameter answered: called with each request of which the whole answer has left.
  func serve(_ answering: @escaping Answering, answered: @escaping @Sendable (ControlRequest) -> Void = { _ in }) async
  {
    defer { unlink(path) }
    do {
      try await channel.executeThenClose { clients in
        try await withThrowingDiscardingTaskGroup { group in
          let places = AsyncStream<Void>.makeStream()
          for _ in 0..<Self.concurrency { places.continuation.yield() }
          var free = places.stream.makeAsyncIterator()
          for try await client in clients {
            await free.next()
            group.addTask {
              if let request = await serve(client, answering) { answered(request) }
              places.continuation.yield()
            }
          }
        }
      }
    } catch is CancellationError {
    } catch {
      logger.error("control socket", metadata: ["path": "\(path)", "error": "\(error)"])
    }
  }

  /// The request, where it was answered to the end; nil where it was refused, or its client has gone away in the middle,
  /// which is no one's trouble.
  private func serve(_ client: Client, _ answering: @escaping Answering) async -> ControlRequest? {
    try? await client.executeThenClose { inbound, outbound in
      var line = ByteBuffer()
      reading: for try await bytes in inbound {
        line.writeImmutableBuffer(bytes)
        if line.readableBytesView.contains(UInt8(ascii: "\n")) || line.readableBytes > ControlRequest.maximumLength {
          break reading
        }
      }
      var answer = Answer()
      var end = ControlEnd(count: 0)
      let request = Self.request(line)
      if let request {
        do {
          try await answering(request) { value in
            try answer.append(value)
            end.count += 1
            if answer.buffer.readableBytes >= Self.chunk { try await outbound.write(answer.take()) }
          }
        } catch let error as LookingGlassError {
          end.error = "\(error)"
        }
      } else {
        end.error = "not understood"
      }
      try answer.append(end)
      try await outbound.write(answer.take())
      return end.error == nil ? request : nil
    }
  }

  private static func request(_ line: ByteBuffer) -> ControlRequest? {
    let bytes = line.readableBytesView
    guard let end = bytes.firstIndex(of: UInt8(ascii: "\n")), end - bytes.startIndex <= ControlRequest.maximumLength
    else { return nil }
    return ControlRequest(String(decoding: bytes[..<end], as: UTF8.self))
  }

  /// Lines of JSON on their way out.
  private struct Answer {
    var buffer = ByteBuffer()
    private let encoder: JSONEncoder = {
      let encoder = JSONEncoder()
      encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
      return encoder
    }()

    mutating func append(_ value: any Encodable) throws {
      buffer.writeBytes(try encoder.encode(value))
      buffer.writeInteger(UInt8(ascii: "\n"))
    }

    mutating func take() -> ByteBuffer {
      defer { buffer = ByteBuffer() }
      return buffer
    }
  }
}

/// Closes a connection on which nothing happens.
private final class IdleClose: ChannelInboundHandler {
  typealias InboundIn = ByteBuffer

  func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
    if event is IdleStateHandler.IdleStateEvent {
      context.close(promise: nil)
    } else {
      context.fireUserInboundEventTriggered(event)
    }
  }
}

public enum ControlSocketError: Error, Hashable, Sendable, CustomStringConvertible {
  case pathTooLong(String)
  case taken(String)
  case system(String, Int32)
  case noPoP(String)
  case forbidden(String)
  case notWhole(String)
  public var description: String {
    switch self {
    case .pathTooLong(let path): "\(path) is too long for a socket: 99 bytes at most"
    case .taken(let path): "another PoP answers at \(path)"
    case .system(let what, let code): "\(what): \(String(cString: strerror(code)))"
    case .noPoP(let path): "no PoP runs here: nothing answers at \(path)"
    case .forbidden(let path): "\(path) may be opened by the PoP's own user alone"
    case .notWhole(let path): "the PoP at \(path) stopped in the middle of its answer"
    }
  }
}
