import CLinux
import Glibc
import Wire

/// The connect of a connection.
final class ConnectOperation: RingOperation {
  // The ring holds the connection until none of its operations is in flight.
  unowned(unsafe) var connection: TCPConnection!
  private let address: UnsafeMutablePointer<cb_sockaddr>
  private let length: socklen_t

  init(to remote: SocketAddress) {
    address = .allocate(capacity: 1)
    var endpoint = cb_endpoint(remote)
    length = cb_sockaddr_store(address, &endpoint, !remote.ip.isIPv4)
  }

  deinit { address.deallocate() }

  func submit(on ring: RingExecutor, _ descriptor: Int32) {
    let (address, length) = (address, length)
    ring.submit(self) { cb_prep_connect($0, descriptor, address, length) }
  }

  override func complete(result: Int32, flags: UInt32) { connection.connected(result) }
}

/// The receive of a connection, with its buffer.
final class StreamReceive: RingOperation {
  // The ring holds the connection until none of its operations is in flight.
  unowned(unsafe) var connection: TCPConnection!
  private let capacity: Int
  private var memory: UnsafeMutableRawBufferPointer?
  private var filled = 0..<0
  /// Waited on in the socket's place; see ``TCPConnection/Options/isClosedAtKill``.
  private let epoll: Int32?

  init(capacity: Int, epoll: Int32?) {
    self.capacity = max(1, capacity)
    self.epoll = epoll
  }

  deinit {
    memory?.deallocate()
    if let epoll { Glibc.close(epoll) }
  }

  var isEmpty: Bool { filled.isEmpty }
  var bytes: UnsafeRawBufferPointer {
    memory.map { UnsafeRawBufferPointer(rebasing: $0[filled]) } ?? UnsafeRawBufferPointer(start: nil, count: 0)
  }

  func submit(on ring: RingExecutor, _ descriptor: Int32) {
    let memory = self.memory ?? .allocate(byteCount: capacity, alignment: 64)
    self.memory = memory
    if let epoll {
      ring.submit(self) { cb_prep_poll($0, epoll, UInt32(POLLIN)) }
    } else {
      ring.submit(self) { cb_prep_recv($0, descriptor, memory.baseAddress, memory.count) }
    }
  }

  func fill(_ count: Int) { filled = 0..<count }
  func drop(_ count: Int) { filled = filled.lowerBound + count..<filled.upperBound }

  override func complete(result: Int32, flags: UInt32) {
    guard epoll != nil, result >= 0, let memory else { return connection.received(result) }
    connection.received(Int32(cb_recv(connection.descriptor, memory.baseAddress, memory.count)))
  }
}

/// The send of a connection, with its queue: a ring of bytes that never move while the kernel reads them.
final class StreamSend: RingOperation {
  // The ring holds the connection until none of its operations is in flight.
  unowned(unsafe) var connection: TCPConnection!
  private let capacity: Int
  private var memory: UnsafeMutableRawBufferPointer?
  private var head = 0
  private(set) var count = 0

  init(capacity: Int) { self.capacity = max(1, capacity) }

  deinit { memory?.deallocate() }

  var isEmpty: Bool { count == 0 }

  func append(_ bytes: UnsafeRawBufferPointer) -> Int {
    let taken = min(bytes.count, capacity - count)
    guard taken > 0 else { return 0 }
    let memory = self.memory ?? .allocate(byteCount: capacity, alignment: 64)
    self.memory = memory
    let tail = (head + count) % capacity
    let first = min(taken, capacity - tail)
    UnsafeMutableRawBufferPointer(rebasing: memory[tail..<tail + first])
      .copyMemory(from: UnsafeRawBufferPointer(rebasing: bytes[..<first]))
    if first < taken {
      memory.copyMemory(from: UnsafeRawBufferPointer(rebasing: bytes[first..<taken]))
    }
    count += taken
    return taken
  }

  func submit(on ring: RingExecutor, _ descriptor: Int32) {
    guard let memory else { return }
    let piece = UnsafeRawBufferPointer(rebasing: memory[head..<min(head + count, capacity)])
    ring.submit(self) { cb_prep_send($0, descriptor, piece.baseAddress, piece.count) }
  }

  func drop(_ sent: Int) {
    head = (head + sent) % capacity
    count -= sent
    if count == 0 {
      head = 0
      memory?.deallocate()
      memory = nil
    }
  }

  override func complete(result: Int32, flags: UInt32) { connection.sent(result) }
}
