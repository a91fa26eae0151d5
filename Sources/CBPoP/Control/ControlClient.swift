public import Foundation
import Glibc

/// Asks a running PoP over its ``ControlSocket``.
public struct ControlClient {
  private let path: String

  public init(path: String) { self.path = path }

  /// Calls `body` with each line of the answer, without its end.
  ///
  /// - Throws: ``ControlSocketError``; ``ControlRefusal`` with the PoP's own words; what `body` throws.
  public func ask(_ request: ControlRequest, _ body: (Data) throws -> Void) throws {
    let socket = try Self.connect(path)
    defer { close(socket) }
    var patience = timeval(tv_sec: 30, tv_usec: 0)
    setsockopt(socket, SOL_SOCKET, SO_RCVTIMEO, &patience, socklen_t(MemoryLayout<timeval>.size))
    let line = Array((request.line + "\n").utf8)
    guard send(socket, line, line.count, Int32(MSG_NOSIGNAL)) == line.count else {
      throw ControlSocketError.notWhole(path)
    }
    var pending = Data()
    // One line is held back: the last is the end.
    var held: Data?
    var buffer = [UInt8](repeating: 0, count: 64 << 10)
    while true {
      let count = recv(socket, &buffer, buffer.count, 0)
      guard count > 0 else { break }
      pending.append(contentsOf: buffer[..<count])
      var start = pending.startIndex
      while let end = pending[start...].firstIndex(of: UInt8(ascii: "\n")) {
        if let held { try body(held) }
        held = Data(pending[start..<end])
        start = end + 1
      }
      pending = Data(pending[start...])
    }
    guard pending.isEmpty, let held, let end = try? JSONDecoder().decode(ControlEnd.self, from: held) else {
      throw ControlSocketError.notWhole(path)
    }
    if let error = end.error { throw ControlRefusal(text: error) }
  }

  /// Whether someone listens there.
  static func isAnswered(_ path: String) -> Bool {
    guard let socket = try? connect(path) else { return false }
    close(socket)
    return true
  }

  private static func connect(_ path: String) throws -> Int32 {
    let bytes = Array(path.utf8)
    var address = sockaddr_un()
    guard bytes.count < MemoryLayout.size(ofValue: address.sun_path) else { throw ControlSocketError.pathTooLong(path) }
    address.sun_family = sa_family_t(AF_UNIX)
    withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: bytes) }
    let socket = Glibc.socket(AF_UNIX, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
    guard socket >= 0 else { throw ControlSocketError.system("socket", errno) }
    let result = withUnsafePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        Glibc.connect(socket, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
      }
    }
    guard result == 0 else {
      let code = errno
      close(socket)
      switch code {
      case ENOENT, ECONNREFUSED, ENOTDIR, ENOTSOCK: throw ControlSocketError.noPoP(path)
      case EACCES, EPERM: throw ControlSocketError.forbidden(path)
      default: throw ControlSocketError.system(path, code)
      }
    }
    return socket
  }
}

/// The PoP's own words for why it has no answer.
public struct ControlRefusal: Error, Hashable, Sendable, CustomStringConvertible {
  public let text: String
  public var description: String { text }
}
