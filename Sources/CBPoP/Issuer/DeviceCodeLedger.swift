import Crypto
import FoundationEssentials
import Identity
import Wire

/// The device codes that wait for a user's word (RFC 8628), as a state machine: time and entropy come in.
struct DeviceCodeLedger {
  struct Limits: Sendable {
    /// Seconds.
    var lifetime: Int
    /// Seconds between polls.
    var interval: Int
    /// Codes waiting at one time.
    var pending = 256
    /// Wrong user codes taken within a minute, from all callers together.
    var guesses = 10
  }

  struct Issued {
    let deviceCode: String
    let userCode: UserCode
  }

  enum Poll: Equatable {
    case pending
    case slowDown
    case denied
    case expired
    case unknown
    case approved(user: String, scopes: [String])
  }

  enum Decision: Equatable {
    case done
    /// No such code, or one that is used or lapsed.
    case unknown
    case tooManyGuesses
  }

  private enum Word {
    case none
    case approved(user: String)
    case denied
  }

  private struct Entry {
    let userCode: UserCode
    let clientID: String
    let scopes: [String]
    let expiresAt: Date
    var interval: TimeInterval
    var lastPoll: Date?
    var word = Word.none
  }

  let limits: Limits
  // Keyed by hash, so that a look-up's timing tells nothing of a code.
  private var entries: [SHA256.Digest: Entry] = [:]
  private var byUserCode: [UserCode: SHA256.Digest] = [:]
  private var wrongGuesses: [Date] = []

  init(limits: Limits) { self.limits = limits }

  var count: Int { entries.count }

  /// Nil when too many codes wait already.
  mutating func issue(clientID: String, scopes: [String], at now: Date, entropy: any EntropySource) -> Issued? {
    sweep(at: now)
    guard entries.count < limits.pending else { return nil }
    let deviceCode = Base64URL.encode(entropy.bytes(32))
    var userCode = UserCode(entropy: entropy)
    while byUserCode[userCode] != nil { userCode = UserCode(entropy: entropy) }
    let key = DeviceCodeLedger.key(deviceCode)
    entries[key] = Entry(
      userCode: userCode, clientID: clientID, scopes: scopes,
      expiresAt: now.addingTimeInterval(TimeInterval(limits.lifetime)), interval: TimeInterval(limits.interval))
    byUserCode[userCode] = key
    return Issued(deviceCode: deviceCode, userCode: userCode)
  }

  /// A device asks. A code whose answer is final is forgotten with that answer.
  mutating func poll(_ deviceCode: String, clientID: String, at now: Date) -> Poll {
    let key = DeviceCodeLedger.key(deviceCode)
    guard var entry = entries[key], entry.clientID == clientID else { return .unknown }
    if now >= entry.expiresAt { return .expired }
    // A twentieth of a second is forgiven: two clocks are at work.
    if let last = entry.lastPoll, now.timeIntervalSince(last) < entry.interval - 0.05 {
      entry.lastPoll = now
      entry.interval += 5
      entries[key] = entry
      return .slowDown
    }
    entry.lastPoll = now
    entries[key] = entry
    switch entry.word {
    case .none: return .pending
    case .denied:
      forget(key)
      return .denied
    case .approved(let user):
      forget(key)
      return .approved(user: user, scopes: entry.scopes)
    }
  }

  /// A user decides. Only the first word on a code counts.
  mutating func decide(_ typed: String, approvedBy user: String?, at now: Date) -> Decision {
    wrongGuesses.removeAll { now.timeIntervalSince($0) >= 60 || now < $0 }
    guard wrongGuesses.count < limits.guesses else { return .tooManyGuesses }
    guard let code = UserCode(typed: typed), let key = byUserCode[code], var entry = entries[key],
      now < entry.expiresAt, case .none = entry.word
    else {
      wrongGuesses.append(now)
      return .unknown
    }
    entry.word = user.map { .approved(user: $0) } ?? .denied
    entries[key] = entry
    return .done
  }

  /// Lapsed codes stay known for as long again, so that a late poll hears `expired_token`.
  private mutating func sweep(at now: Date) {
    for (key, entry) in entries where now >= entry.expiresAt.addingTimeInterval(TimeInterval(limits.lifetime)) {
      forget(key)
    }
    guard entries.count >= limits.pending else { return }
    for (key, entry) in entries where now >= entry.expiresAt { forget(key) }
  }

  private mutating func forget(_ key: SHA256.Digest) {
    if let entry = entries.removeValue(forKey: key) { byUserCode[entry.userCode] = nil }
  }

  private static func key(_ code: String) -> SHA256.Digest { SHA256.hash(data: Data(code.utf8)) }
}
