import Wire

/// One packet that was sent (RFC 9002 §A.1.1), with what a delivery-rate sample needs of the moment
/// it left (draft-ietf-ccwg-bbr, "Per-packet (P) state").
struct SentPacket: Sendable {
  struct Flags: OptionSet, Sendable {
    let rawValue: UInt8
    static let ackEliciting = Flags(rawValue: 1)
    /// Counts in bytes_in_flight of the present path.
    static let inFlight = Flags(rawValue: 2)
    /// Its loss says that the datagram was too large, not that the path is congested (RFC 9000 §14.4).
    static let pmtuProbe = Flags(rawValue: 4)
    /// Sent when the application had nothing more to send.
    static let appLimited = Flags(rawValue: 8)
    /// Sent with ECT(0).
    static let ect0 = Flags(rawValue: 16)
    /// Sent on a path that has been left: tells nothing about the present one (RFC 9000 §9.4).
    static let formerPath = Flags(rawValue: 32)
  }

  enum State: UInt8, Sendable {
    case outstanding
    /// Acknowledged, or declared lost, and waiting for older packets before its slot is freed.
    case settled
    /// A number that was never used: nobody can acknowledge it honestly.
    case skipped
  }

  var timeSent: Instant
  /// Bytes of the packet, with header and AEAD tag, without UDP and IP.
  var size: UInt16
  var flags: Flags
  var state: State
  var frameCount: UInt16
  /// Position of the first of its frames in the space's ``FrameLog``.
  var firstFrame: UInt64

  /// C.delivered, C.lost, C.delivered_time and C.first_send_time when it was sent, and what was in flight with it.
  var delivered: UInt64 = 0
  var lost: UInt64 = 0
  var deliveredTime = Instant.zero
  var firstSentTime = Instant.zero
  var inFlight: UInt32 = 0

  var isAckEliciting: Bool { flags.contains(.ackEliciting) }
  var isInFlight: Bool { flags.contains(.inFlight) }

  static let skipped = SentPacket(
    timeSent: .zero, size: 0, flags: [], state: .skipped, frameCount: 0, firstFrame: 0)
}
