import Wire

@testable import QUIC

/// What must hold inside of a connection whenever its owner has done what it is to do. Each rule has a name, which
/// begins the sentence that says how it was broken.
extension Connection {
  /// What a transmission is measured against.
  struct Flight {
    var window: UInt64
    var bytes: UInt64
    /// What may leave beyond the window: probes after a time-out, one packet at the start of a recovery period,
    /// packets that probe paths or sizes, the padding of bare ACKs in Initial packets.
    var allowance: UInt64
  }

  mutating func flight() -> Flight {
    let datagram = recovery.maximumDatagramSize
    var allowance: UInt64 = recovery.mayExceedWindowOnce ? datagram : 0
    for index in 0..<3 { allowance += UInt64(spaces[index].probes) * datagram }
    if let size = mtu.probeSize { allowance += UInt64(size) - min(datagram, UInt64(size)) }
    if active.isProbeDue || others.contains(where: { $0.isProbeDue }) { allowance += UInt64(MTUDiscovery.base) }
    if !spaces[0].isDiscarded { allowance += UInt64(MTUDiscovery.base) }
    return Flight(window: recovery.controller.congestionWindow, bytes: recovery.bytesInFlight, allowance: allowance)
  }

  /// RFC 9002 §7: after a transmission, no more is in flight than the window, and the allowances, let out.
  mutating func overshoot(since before: Flight) -> String? {
    let after = recovery.bytesInFlight
    guard after > before.bytes else { return nil }
    let room = before.window - min(before.window, before.bytes) + before.allowance
    guard after - before.bytes > room else { return nil }
    return "congestion-window: \(after - before.bytes) bytes more in flight than \(before.bytes), with a window of "
      + "\(before.window) and an allowance of \(before.allowance)"
  }

  /// - Parameter thorough: also what costs time in proportion to the packets in flight.
  mutating func brokenInvariant(now: Instant, thorough: Bool) -> String? {
    lostTimer() ?? unboundedMemory() ?? (thorough ? miscountedFlight() : nil)
  }

  /// Something that is awaited has a time.
  private mutating func lostTimer() -> String? {
    switch lifecycle {
    case .drained: return nil
    case .open, .closing, .draining: break
    }
    guard let deadline else { return "timer: none in \(lifecycle)" }
    guard case .open = lifecycle else { return nil }
    if let idleDeadline, deadline > idleDeadline {
      return "timer: \(deadline.nanoseconds) after the idle deadline \(idleDeadline.nanoseconds)"
    }
    for index in 0..<3 where recovery.spaces[index].ackElicitingInFlight > 0 {
      if index == 2, !isHandshakeConfirmed { continue }
      if !recovery.isAmplificationLimited, recovery.deadline == nil {
        return "timer: \(recovery.spaces[index].ackElicitingInFlight) packets await acknowledgment in space \(index)"
      }
    }
    if active.validationDeadline == nil, !active.isValidated, isHandshakeConfirmed, role == .server {
      return "timer: an unvalidated path that nothing validates"
    }
    return nil
  }

  private mutating func unboundedMemory() -> String? {
    // A frame that ends the connection may have been one too many.
    guard case .open = lifecycle else { return nil }
    if others.count > 3 { return "memory: \(others.count) paths" }
    if localIDs.active.count > 8 { return "memory: \(localIDs.active.count) IDs of ours" }
    if peerIDs.active.count > Int(Self.activeConnectionIDLimit(configuration)) {
      return "memory: \(peerIDs.active.count) IDs of the peer's"
    }
    if peerIDs.retiring.count > 32 { return "memory: \(peerIDs.retiring.count) retirements" }
    if active.challenges.count > PathState.mostChallenges { return "memory: \(active.challenges.count) challenges" }
    for index in 0..<3 {
      if spaces[index].received.ranges.count > PacketNumberRanges.capacity {
        return "memory: \(spaces[index].received.ranges.count) ranges received"
      }
      let tracked = recovery.spaces[index].sent.count
      if tracked > LossRecovery.unelicitedLimit + Int(recovery.bytesInFlight / 20) + 4096 {
        return "memory: \(tracked) packets tracked with \(recovery.bytesInFlight) bytes in flight"
      }
    }
    let received = streams.receiveWindow
    if received.received - received.consumed > configuration.maximumConnectionWindow {
      return "memory: \(received.received - received.consumed) bytes unread"
    }
    return nil
  }

  /// RFC 9002 §B.2: what counts as in flight is what is in flight.
  private mutating func miscountedFlight() -> String? {
    var bytes: UInt64 = 0
    for index in 0..<3 {
      var eliciting = 0
      var number = recovery.spaces[index].sent.base
      while number < recovery.spaces[index].sent.next {
        let packet = recovery.spaces[index].sent[number]
        if packet.state == .outstanding {
          if packet.isInFlight { bytes += UInt64(packet.size) }
          if packet.isAckEliciting { eliciting += 1 }
        }
        number += 1
      }
      if eliciting != recovery.spaces[index].ackElicitingInFlight {
        return "in-flight: \(recovery.spaces[index].ackElicitingInFlight) packets counted in space \(index), "
          + "\(eliciting) there"
      }
    }
    return bytes == recovery.bytesInFlight
      ? nil : "in-flight: \(recovery.bytesInFlight) bytes counted, \(bytes) there"
  }
}
