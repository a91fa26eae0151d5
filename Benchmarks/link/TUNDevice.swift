import CLinux
import Glibc

struct LinkFailure: Error, CustomStringConvertible {
  var description: String

  init(_ description: String) { self.description = description }

  init(_ what: String, errno error: Int32) { description = "\(what): \(String(cString: strerror(error)))" }
}

/// One end of the link: a TUN device in a network namespace, whose packets come here. It goes with its descriptor.
struct TUNDevice: ~Copyable {
  let descriptor: Int32

  /// - Parameters:
  ///   - namespace: a name of `ip netns`; nil for the process's own.
  init(name: String, namespace: String?) throws(LinkFailure) {
    let path = namespace.map { "/run/netns/\($0)" }
    descriptor = path.map { path in cb_tun_open(path, name) } ?? cb_tun_open(nil, name)
    if descriptor < 0 {
      throw LinkFailure("device \(name) in \(namespace.map { "namespace \($0)" } ?? "here")", errno: -descriptor)
    }
  }

  deinit { close(descriptor) }

  /// The next packet's size; nil when none waits.
  func read(into buffer: UnsafeMutableRawBufferPointer) -> Int? {
    let count = Glibc.read(descriptor, buffer.baseAddress, buffer.count)
    return count > 0 ? count : nil
  }

  /// False when the device did not take it, as when it is down or its own queue is full.
  func write(_ packet: UnsafeRawBufferPointer) -> Bool {
    Glibc.write(descriptor, packet.baseAddress, packet.count) == packet.count
  }
}
