public import Wire

/// The waiting half of the device authorization grant (RFC 8628 §3.4, §3.5) as a state machine.
///
/// It opens nothing and reads no clock. The driver asks ``next(at:)`` what to do, does it, and tells
/// what came of a poll with ``receive(_:at:)``:
///
///     switch flow.next(at: now) {
///     case .poll: flow.receive(await client.poll(authorization), at: now)
///     case .wait(let until): sleep
///     case .finished, .failed: done
///     }
public struct DeviceFlow: Sendable {
  public enum Step: Sendable, Equatable {
    /// Send one token request now.
    case poll
    /// Do nothing before this instant.
    case wait(until: Instant)
    case finished(TokenResponse)
    case failed(DeviceFlowFailure)
  }

  private enum State: Sendable {
    case waiting(nextPoll: Instant)
    case polling
    case finished(TokenResponse)
    case failed(DeviceFlowFailure)
  }

  /// A poll that met no answer is retried after at most this long.
  public static let longestBackoff = Interval.seconds(60)

  private var state: State
  /// The interval in force; only ever grows.
  public private(set) var interval: Interval
  /// Added while the server is out of reach; doubles with each failure, ends with an answer.
  private var backoff: Interval = .zero
  /// When the codes lapse.
  public let expiry: Instant

  public init(_ authorization: DeviceAuthorization, receivedAt now: Instant) {
    interval = authorization.interval
    expiry = now + authorization.lifetime
    state = .waiting(nextPoll: now + authorization.interval)
  }

  /// What to do at `now`. After `.poll`, calls ``receive(_:at:)`` before asking again.
  public mutating func next(at now: Instant) -> Step {
    switch state {
    case .finished(let tokens): return .finished(tokens)
    case .failed(let failure): return .failed(failure)
    case .polling: return .wait(until: expiry)
    case .waiting(let nextPoll):
      if now >= expiry {
        state = .failed(.expired)
        return .failed(.expired)
      }
      if now < nextPoll { return .wait(until: min(nextPoll, expiry)) }
      state = .polling
      return .poll
    }
  }

  /// Takes in what a poll came to. Ignored when no poll is under way.
  public mutating func receive(_ outcome: TokenOutcome, at now: Instant) {
    guard case .polling = state else { return }
    switch outcome {
    case .tokens(let tokens):
      state = .finished(tokens)
    case .refused(let error):
      backoff = .zero
      receive(error, at: now)
    case .unreachable, .malformed:
      // RFC 8628 §3.5: after a connection time-out the client polls less often, best by doubling.
      retreat(atLeast: .zero, at: now)
    case .busy(_, let retryAfter):
      retreat(atLeast: .seconds(Int64(retryAfter ?? 0)), at: now)
    }
  }

  private mutating func receive(_ error: OAuthError, at now: Instant) {
    switch error.code {
    case "authorization_pending":
      state = .waiting(nextPoll: now + interval)
    case "slow_down":
      // RFC 8628 §3.5: five seconds more, for this and every later request.
      interval = interval + .seconds(5)
      state = .waiting(nextPoll: now + interval)
    case "access_denied": state = .failed(.denied)
    case "expired_token": state = .failed(.expired)
    // Zitadel answers so for a code that is unknown, used or swept after its end.
    case "invalid_grant": state = .failed(.grantGone(error))
    default: state = .failed(.refused(error))
    }
  }

  private mutating func retreat(atLeast pause: Interval, at now: Instant) {
    backoff = min(backoff == .zero ? interval : backoff * 2, DeviceFlow.longestBackoff)
    state = .waiting(nextPoll: now + max(interval + backoff, pause))
  }
}

/// Why a device flow ended without tokens.
public enum DeviceFlowFailure: Error, Sendable, Equatable, CustomStringConvertible {
  /// The user said no.
  case denied
  /// Nobody approved in time.
  case expired
  /// The server knows the device code no longer.
  case grantGone(OAuthError)
  case refused(OAuthError)

  public var description: String {
    switch self {
    case .denied: "the request was denied"
    case .expired: "the code expired before it was approved"
    case .grantGone(let error): "the issuer no longer knows this sign-in (\(error))"
    case .refused(let error): "the issuer refused the sign-in (\(error))"
    }
  }
}
