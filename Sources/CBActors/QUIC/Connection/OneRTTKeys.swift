import PacketCrypto
import Wire

/// How many packets one key may seal, and how many that are not authentic a connection may bear (RFC 9001 §6.6).
struct AEADLimits {
  let confidentiality: UInt64
  let integrity: UInt64

  init(_ suite: CipherSuite, _ configuration: Configuration) {
    confidentiality = min(suite.confidentialityLimit, configuration.confidentialityLimit ?? .max)
    integrity = min(suite.integrityLimit, configuration.integrityLimit ?? .max)
  }
}

/// The keys of 1-RTT packets and their updates (RFC 9001 §6).
///
/// A class, though only one connection ever holds it: each packet borrows its keys, and one reference is cheaper to
/// hold on to than each key's own.
final class OneRTTKeys {
  let suite: CipherSuite
  private let version: Version
  let limits: AEADLimits
  private var readSecret: TrafficSecret?
  private var writeSecret: TrafficSecret
  /// Nil at a server until the client's Finished: until then it only writes.
  private(set) var readHeader: HeaderKey?
  let writeHeader: HeaderKey

  private var current: GenerationKey?
  /// Made before it is needed: RFC 9001 §6.3: "Endpoints responding to an apparent key update MUST NOT generate a timing
  /// side-channel signal that might indicate that the Key Phase bit was invalid".
  private var next: GenerationKey?
  /// Kept for a while for packets that were overtaken (RFC 9001 §6.5).
  private var previous: GenerationKey?
  private(set) var previousExpiry: Instant?
  private(set) var write: GenerationKey

  private(set) var readGeneration: UInt64 = 0
  private(set) var writeGeneration: UInt64 = 0
  /// The lowest packet number opened with the current read key.
  private var currentReadStart: UInt64?
  /// The first packet number sealed with the current write key, and the highest acknowledged of them.
  private var writeStart: UInt64?
  private var isWriteAcknowledged = false
  /// Packets sealed with the current write key. RFC 9001 §6.6: "Endpoints MUST count the number of encrypted packets for
  /// each set of keys."
  var sealed: UInt64 = 0

  init(suite: CipherSuite, version: Version, limits: AEADLimits, write: TrafficSecret) {
    self.suite = suite
    self.version = version
    self.limits = limits
    writeSecret = write
    writeHeader = HeaderKey(suite: suite, secret: write, version: version)
    self.write = GenerationKey(suite: suite, secret: write, version: version)
  }

  func installRead(_ secret: TrafficSecret) {
    readHeader = HeaderKey(suite: suite, secret: secret, version: version)
    current = GenerationKey(suite: suite, secret: secret, version: version)
    prepareNext(after: secret)
  }

  private func prepareNext(after secret: TrafficSecret) {
    let following = secret.nextGeneration(suite: suite, version: version)
    readSecret = following
    next = GenerationKey(suite: suite, secret: following, version: version)
  }

  /// The Key Phase bit of packets sent now.
  var writePhase: Bool { writeGeneration & 1 == 1 }

  enum Which { case previous, current, next }

  /// Which key a packet asks for (RFC 9001 §6.3).
  func which(phase: Bool, packetNumber: UInt64) -> Which {
    if phase == (readGeneration & 1 == 1) { return .current }
    // RFC 9001 §6.3: a lower packet number than any of the current phase belongs to the phase before.
    if let start = currentReadStart, packetNumber < start { return .previous }
    return .next
  }

  /// The key to try, and whether what it opens may be believed. For a key that is no longer kept another does the same
  /// work in vain.
  ///
  /// RFC 9001 §6.3: "Endpoints responding to an apparent key update MUST NOT generate a timing side-channel signal that might
  /// indicate that the Key Phase bit was invalid". "Endpoints can use randomized packet protection keys in place of
  /// discarded keys".
  func readKey(_ which: Which) -> (key: GenerationKey, isKept: Bool)? {
    switch which {
    case .previous: (previous ?? next).map { ($0, previous != nil) }
    case .current: current.map { ($0, true) }
    case .next: next.map { ($0, true) }
    }
  }

  /// A packet was opened with the current key: the common case.
  func openedCurrent(_ packetNumber: UInt64) {
    if let start = currentReadStart, start <= packetNumber { return }
    currentReadStart = packetNumber
  }

  /// A packet was opened. With the next key, it is the first of a new phase: all keys move on.
  func opened(_ which: Which, packetNumber: UInt64, retain: Instant) throws(TransportError) {
    switch which {
    case .previous: break
    case .current: openedCurrent(packetNumber)
    case .next:
      // RFC 9001 §6.2: "An endpoint MAY treat such consecutive key updates as a connection error of type
      // KEY_UPDATE_ERROR."
      guard readGeneration <= writeGeneration else {
        throw TransportError(.keyUpdateError, "consecutive key updates")
      }
      previous = current
      previousExpiry = retain
      current = next
      if let readSecret { prepareNext(after: readSecret) }
      readGeneration += 1
      currentReadStart = packetNumber
      // RFC 9001 §6.2: "The endpoint MUST update its send keys to the corresponding key phase in response"
      if writeGeneration < readGeneration { advanceWrite() }
    }
  }

  private func advanceWrite() {
    writeSecret = writeSecret.nextGeneration(suite: suite, version: version)
    write = GenerationKey(suite: suite, secret: writeSecret, version: version)
    writeGeneration += 1
    writeStart = nil
    isWriteAcknowledged = false
    sealed = 0
  }

  /// We may update: the peer has followed the last one and acknowledged a packet of this phase.
  ///
  /// RFC 9001 §6.1: "An endpoint MUST NOT initiate a subsequent key update unless it has received an acknowledgment for
  /// a packet that was sent protected with keys from the current key phase."
  var canInitiate: Bool { readGeneration == writeGeneration && isWriteAcknowledged && previous == nil }

  func initiate() -> Bool {
    guard canInitiate else { return false }
    advanceWrite()
    return true
  }

  enum WriteBudget { case plenty, updateDue, exhausted }

  /// Counts a packet that is being sealed.
  func willSeal(_ packetNumber: UInt64, interval: UInt64?) -> WriteBudget {
    if writeStart == nil { writeStart = packetNumber }
    sealed += 1
    if isNearlyExhausted { return .exhausted }
    return sealed >= min(interval ?? .max, limits.confidentiality / 2) ? .updateDue : .plenty
  }

  /// Packets that are kept back of the limit, to say that the connection is closed.
  private static let closingReserve: UInt64 = 16

  /// The present key has sealed as many packets as it may but for a few.
  var isNearlyExhausted: Bool {
    let limit = limits.confidentiality
    return sealed >= limit - min(Self.closingReserve, limit / 4)
  }

  /// RFC 9001 §6.6: "If the total number of encrypted packets with the same key exceeds the confidentiality limit for the
  /// selected AEAD, the endpoint MUST stop using those keys."
  var isExhausted: Bool { sealed >= limits.confidentiality }

  func acknowledged(largest: UInt64) {
    if let writeStart, largest >= writeStart { isWriteAcknowledged = true }
  }

  func dropPrevious() {
    previous = nil
    previousExpiry = nil
  }
}
