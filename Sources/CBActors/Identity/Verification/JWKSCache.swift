public import FoundationEssentials
import JWTKit

/// An issuer's keys, fetched when needed and remembered for as long as the issuer says.
///
/// One fetch is under way at a time, whoever waits for it. An unknown key name asks again, but no
/// more often than ``Policy/refetchPause``, so that forged names cannot drive traffic to the issuer.
/// While the issuer is out of reach the last keys go on serving for ``Policy/staleFor``.
public actor JWKSCache {
  /// All in seconds.
  public struct Policy: Sendable {
    /// `max-age` below this is taken as this.
    public var shortestAge = 60
    /// `max-age` above this is taken as this.
    public var longestAge = 3600
    /// Where the answer says nothing.
    public var defaultAge = 300
    /// How long past their age keys may serve while no newer ones can be had.
    public var staleFor = 4 * 3600
    /// Between a success and a fetch for an unknown key name; also the longest pause after failures.
    public var refetchPause = 10

    public init() {}
  }

  private let issuer: String
  private let fixedURL: EndpointURL?
  private let fetch: any HTTPFetch
  private let policy: Policy

  private struct Held {
    let keys: JSONWebKeySet
    let fetchedAt: Date
    let freshUntil: Date
    let staleUntil: Date
  }

  private var held: Held?
  private var inFlight: Task<Void, Never>?
  private var lastAttempt: Date?
  private var pause: TimeInterval = 0
  private var lastFailure = "not asked yet"
  private var failures = 0
  /// Fetches begun since the start, for a metric.
  public private(set) var fetchCount = 0

  /// - Parameter url: the key set's address; nil asks `issuer`'s discovery document, at each fetch.
  public init(issuer: String, url: EndpointURL? = nil, fetch: any HTTPFetch, policy: Policy = Policy()) {
    self.issuer = issuer
    fixedURL = url
    self.fetch = fetch
    self.policy = policy
  }

  /// Fetches the keys unless fresh ones are held, so that the first user need not wait.
  public func warm(at now: Date) async {
    if !isFresh(at: now), mayAsk(at: now) { await refresh(at: now) }
  }

  func key(_ identifier: String?, _ algorithm: SignatureAlgorithm, at now: Date) async throws(TokenRefusal)
    -> any JWTAlgorithm
  {
    await warm(at: now)
    switch try usableKeys(at: now).find(identifier, algorithm) {
    case .found(let verifier): return verifier
    case .mismatch: throw JWKSCache.mismatch(identifier, algorithm)
    case .unknown: break
    }
    // The issuer may have rotated its keys since.
    guard inFlight != nil || mayAsk(at: now) else { throw .unknownKey(identifier?.printable(limit: 64)) }
    await refresh(at: now)
    switch try usableKeys(at: now).find(identifier, algorithm) {
    case .found(let verifier): return verifier
    case .mismatch: throw JWKSCache.mismatch(identifier, algorithm)
    case .unknown: throw .unknownKey(identifier?.printable(limit: 64))
    }
  }

  private static func mismatch(_ identifier: String?, _ algorithm: SignatureAlgorithm) -> TokenRefusal {
    .keyMismatch(key: identifier?.printable(limit: 64), algorithm: algorithm.rawValue)
  }

  private func usableKeys(at now: Date) throws(TokenRefusal) -> JSONWebKeySet {
    guard let held, now < held.staleUntil else { throw .keysUnavailable(lastFailure) }
    return held.keys
  }

  private func isFresh(at now: Date) -> Bool {
    // A clock set back must not make old keys young.
    if let held { now >= held.fetchedAt && now < held.freshUntil } else { false }
  }

  private func mayAsk(at now: Date) -> Bool {
    guard let lastAttempt else { return true }
    return now < lastAttempt || now >= lastAttempt.addingTimeInterval(pause)
  }

  private func refresh(at now: Date) async {
    if let inFlight { return await inFlight.value }
    let task = Task { await self.ask(at: now) }
    inFlight = task
    await task.value
  }

  private func ask(at now: Date) async {
    fetchCount += 1
    lastAttempt = now
    do throws(OAuthFailure) {
      let (keys, age) = try await fetchKeys()
      held = Held(
        keys: keys, fetchedAt: now, freshUntil: now.addingTimeInterval(TimeInterval(age)),
        staleUntil: now.addingTimeInterval(TimeInterval(age + policy.staleFor)))
      failures = 0
      pause = TimeInterval(policy.refetchPause)
    } catch {
      lastFailure = error.description
      failures = min(failures + 1, 16)
      pause = TimeInterval(min(1 << failures, max(policy.refetchPause, 1)))
    }
    inFlight = nil
  }

  private func fetchKeys() async throws(OAuthFailure) -> (JSONWebKeySet, age: Int) {
    let url: EndpointURL
    if let fixedURL {
      url = fixedURL
    } else {
      url = try await IssuerMetadata.discover(issuer: issuer, fetch: fetch).jwksURI
    }
    let answer: FetchResponse
    do {
      answer = try await fetch.fetch(
        FetchRequest(url: url, headers: [("accept", "application/json")], responseLimit: JSONWebKeySet.sizeLimit))
    } catch {
      throw .unreachable(error)
    }
    guard answer.status == 200 else { throw .unexpectedStatus(answer.status) }
    guard let keys = await JSONWebKeySet(document: answer.body) else { throw .malformedAnswer("not a key set") }
    // A set without one usable key would lock everyone out where the last one still serves.
    guard !keys.keys.isEmpty else { throw .malformedAnswer("the key set has no usable key") }
    return (keys, age(answer.headers["cache-control"]))
  }

  /// Seconds from a Cache-Control header (RFC 9111 §5.2.2), within the policy's bounds.
  private func age(_ header: String?) -> Int {
    var age = policy.defaultAge
    for directive in header?.split(separator: ",") ?? [] {
      let words = directive.lowercased().filter { $0 != " " && $0 != "\"" }.split(separator: "=", maxSplits: 1)
      switch words.first {
      case "no-store", "no-cache": return policy.shortestAge
      case "max-age": age = words.count > 1 ? Int(words[1]) ?? policy.defaultAge : policy.defaultAge
      default: break
      }
    }
    return min(max(age, policy.shortestAge), policy.longestAge)
  }
}
