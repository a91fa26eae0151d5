import Wire

/// The latency spin bit of short headers (RFC 9000 §17.4).
///
/// RFC 9000 §17.4: "Implementations MUST allow administrators of clients and servers to disable the spin bit either globally
/// or on a per-connection basis." Here it is off unless asked for.
struct SpinBit {
  private let isSpinning: Bool
  private let seed: UInt64
  private var value = false
  private var largest: UInt64?

  /// RFC 9000 §17.4: "Even when the spin bit is not disabled by the administrator, endpoints MUST disable their use of the
  /// spin bit for a random selection of at least one in every 16 network paths, or for one in every 16 connection IDs"
  init(isAsked: Bool, seed: UInt64) {
    isSpinning = isAsked && seed >> 60 != 0
    self.seed = seed
  }

  /// What packets are sent with; nil where the bit means nothing.
  var shown: Bool? { isSpinning ? value : nil }

  /// For a packet to be sent. Off, each packet has a bit of its own that means nothing.
  @inline(__always) func bit(_ packetNumber: UInt64) -> Bool {
    isSpinning ? value : ((packetNumber ^ seed) &* 0x9e37_79b9_7f4a_7c15) >> 62 & 1 == 1
  }

  /// A server reflects what the newest packet brought, a client turns it over.
  @inline(__always) mutating func received(_ bit: Bool, _ packetNumber: UInt64, at role: Role) {
    guard isSpinning, largest.map({ packetNumber > $0 }) ?? true else { return }
    largest = packetNumber
    value = role == .server ? bit : !bit
  }

  /// RFC 9000 §17.4: "An endpoint resets the spin value for a network path to 0 when changing the connection ID being used on
  /// that network path."
  mutating func reset() { value = false }
}

extension Connection {
  /// The Fixed Bit of a packet to be sent: always set, until the peer has said that it takes any (RFC 9287 §3.1).
  @inline(__always) mutating func fixedBit(_ packetNumber: UInt64) -> Bool {
    !clearsFixedBit || ((packetNumber ^ greaseSeed) &* 0x9e37_79b9_7f4a_7c15) >> 63 == 1
  }
}
