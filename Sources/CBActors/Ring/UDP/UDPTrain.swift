import CLinux
import Glibc
import Wire

/// A train on its way out: what is left of it, and how its next piece is cut.
struct UDPTrain {
  var bytes: UnsafeRawBufferPointer
  var segmentSize: Int
  var destination: cb_endpoint
  var source: cb_endpoint
  var ecn: UInt8
  /// The datagrams leave as IPv4, be it from an IPv6 socket.
  var isIPv4: Bool

  /// On a connected socket the kernel knows the peer; here it still decides the family.
  init(_ bytes: UnsafeRawBufferPointer, _ send: UDPSend, to peer: SocketAddress, isConnected: Bool) {
    self.bytes = bytes
    segmentSize = send.segmentSize
    destination = isConnected ? cb_endpoint() : cb_endpoint(peer)
    source = send.source.map { cb_endpoint($0, scope: send.sourceScopeID) } ?? cb_endpoint()
    ecn = send.ecn
    isIPv4 = peer.ip.unmapped.isIPv4
  }

  /// Bytes of the next system call, and UDP_SEGMENT for it, which is 0 for a single datagram.
  func nextPiece(segmented: Bool) -> (count: Int, segment: UInt16) {
    guard segmentSize < bytes.count else { return (bytes.count, 0) }
    guard segmented else { return (segmentSize, 0) }
    let segments = min(UDPSocket.maximumSegments, UDPSocket.maximumTrainSize / segmentSize)
    return (min(bytes.count, segments * segmentSize), segments > 1 ? UInt16(segmentSize) : 0)
  }

  mutating func dropFirst(_ count: Int) {
    bytes = UnsafeRawBufferPointer(rebasing: bytes[min(count, bytes.count)...])
  }

  /// False if the destination does not fit the socket's family.
  func fill(_ message: UnsafeMutablePointer<cb_message>, piece: (count: Int, segment: UInt16), isIPv6: Bool) -> Bool {
    var (to, from) = (destination, source)
    // The kernel reads through the pointer; msghdr has it mutable for receiving's sake.
    return cb_message_fill(
      message, UnsafeMutableRawPointer(mutating: bytes.baseAddress), piece.count, piece.segment, &to, &from, ecn,
      isIPv4, isIPv6)
  }
}

extension UDPSocket {
  @usableFromInline
  func transmit(_ bytes: UnsafeRawBufferPointer, _ send: UDPSend) {
    precondition(send.segmentSize > 0 && bytes.count <= Self.maximumTrainSize, "a train of segments")
    guard let peer = send.destination ?? remoteAddress else {
      return report(RingError(.system, "sendmsg", errno: EDESTADDRREQ))
    }
    var train = UDPTrain(bytes, send, to: peer, isConnected: remoteAddress != nil)
    transmit(&train)
  }

  private func transmit(_ train: inout UDPTrain) {
    var segmented = sendsTrains
    var refusal: Int?
    var retried = false
    refusedSize = 0
    repeat {
      let piece = train.nextPiece(segmented: segmented)
      guard train.fill(ring.sendMessage, piece: piece, isIPv6: isIPv6) else {
        return report(RingError(.system, "sendmsg", errno: EAFNOSUPPORT))
      }
      let result = cb_message_send(descriptor, ring.sendMessage)
      if result >= 0 {
        statistics.sends &+= 1
        statistics.sentBytes &+= UInt64(piece.count)
        if refusal != nil {
          // Refused as a train and taken as a datagram: it is the offload that this way lacks.
          sendsTrains = false
          refusal = nil
        }
        train.dropFirst(piece.count)
        continue
      }
      switch Int32(truncatingIfNeeded: 0 &- result) {
      case EAGAIN:
        statistics.sendStalls &+= 1
        return parked.park(train)
      case EIO, EINVAL, EMSGSIZE, EOPNOTSUPP:
        if piece.segment > 0 {
          segmented = false
          refusal = result
        } else {
          // This datagram is lost; a shorter one behind it may still go.
          refusal = nil
          if result == Int(-EMSGSIZE) {
            refusedSize = refusedSize == 0 ? piece.count : min(refusedSize, piece.count)
          }
          report(.system("sendmsg", Int32(truncatingIfNeeded: result)))
          train.dropFirst(piece.count)
        }
      case ECONNREFUSED where !retried:
        // An ICMP answer to something sent before; this was not tried yet.
        retried = true
        report(.system("sendmsg", Int32(truncatingIfNeeded: result)))
      default:
        return report(.system("sendmsg", Int32(truncatingIfNeeded: result)))
      }
    } while !train.bytes.isEmpty && isOpen
  }
}

/// The rest of a train that the socket's buffer had no room for, sent through the ring. One per socket;
/// its memory is there only while it is needed.
final class ParkedTrain: RingOperation {
  // The ring holds the socket until none of its operations is in flight.
  unowned(unsafe) var socket: UDPSocket!
  private var memory: UnsafeMutableRawBufferPointer?
  private var message: UnsafeMutablePointer<cb_message>?
  private var train: UDPTrain?
  private var piece: (count: Int, segment: UInt16) = (0, 0)

  deinit { free() }

  func park(_ rest: UDPTrain) {
    let copy = UnsafeMutableRawBufferPointer.allocate(byteCount: rest.bytes.count, alignment: 16)
    copy.copyMemory(from: rest.bytes)
    memory = copy
    message = .allocate(capacity: 1)
    var train = rest
    train.bytes = UnsafeRawBufferPointer(copy)
    self.train = train
    submit()
  }

  private func submit() {
    guard let train, let message else { return }
    piece = train.nextPiece(segmented: socket.sendsTrains)
    // It fitted before it was parked.
    _ = train.fill(message, piece: piece, isIPv6: socket.isIPv6)
    let descriptor = socket.descriptor
    socket.ring.submit(self) { cb_prep_message($0, descriptor, message) }
  }

  override func complete(result: Int32, flags: UInt32) {
    if result >= 0 {
      socket.statistics.sends &+= 1
      socket.statistics.sentBytes &+= UInt64(result)
    } else if socket.isOpen, result != -EAGAIN {
      socket.report(.system("sendmsg", result))
    }
    train?.dropFirst(piece.count)
    if socket.isOpen, result >= 0, let train, !train.bytes.isEmpty { return submit() }
    free()
    socket.parkedTrainEnded()
  }

  private func free() {
    memory?.deallocate()
    message?.deallocate()
    memory = nil
    message = nil
    train = nil
  }
}
