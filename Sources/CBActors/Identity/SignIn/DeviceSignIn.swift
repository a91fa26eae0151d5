public import Wire

/// Where a driver's time comes from; the programs use ``SystemSignInClock``, tests their own.
public protocol SignInClock: Sendable {
  func now() -> Instant
  /// Returns at `deadline` or later; throws when the task is cancelled first.
  func sleep(until deadline: Instant) async throws(CancellationError)
}

/// The monotonic clock that goes on while the machine sleeps, so that a code expires on time.
public struct SystemSignInClock: SignInClock {
  private let start = ContinuousClock.now

  public init() {}

  public func now() -> Instant {
    let (seconds, attoseconds) = (ContinuousClock.now - start).components
    return Instant.zero + .seconds(seconds) + .nanoseconds(attoseconds / 1_000_000_000)
  }

  public func sleep(until deadline: Instant) async throws(CancellationError) {
    let pause = deadline - now()
    guard pause > .zero else { return }
    do {
      try await Task.sleep(for: .nanoseconds(pause.nanoseconds))
    } catch {
      throw CancellationError()
    }
  }
}

/// Why signing in came to nothing.
public enum SignInFailure: Error, Sendable, Equatable, CustomStringConvertible {
  case oauth(OAuthFailure)
  case flow(DeviceFlowFailure)
  case cancelled

  public var description: String {
    switch self {
    case .oauth(let failure): failure.description
    case .flow(let failure): failure.description
    case .cancelled: "cancelled"
    }
  }
}

/// Drives ``DeviceFlow`` over a client and a clock.
public struct DeviceSignIn: Sendable {
  private let client: OAuthClient
  private let clock: any SignInClock

  public init(client: OAuthClient, clock: any SignInClock = SystemSignInClock()) {
    self.client = client
    self.clock = clock
  }

  /// Signs in: shows the user what to approve, polls until it is decided, returns the tokens.
  ///
  /// - Parameters:
  ///   - show: called once, before the first poll. What it is given is safe to print.
  ///   - delayed: called when the server asked for slower polling, or a poll met no useful answer.
  /// - Throws: ``SignInFailure``; `.cancelled` when the task is cancelled.
  public func run(
    show: @Sendable (DeviceAuthorization) async -> Void,
    delayed: @Sendable (_ reason: String) async -> Void = { _ in }
  ) async throws(SignInFailure) -> TokenResponse {
    let authorization: DeviceAuthorization
    do {
      authorization = try await client.authorizeDevice()
    } catch {
      throw error == .unreachable(.cancelled) ? .cancelled : .oauth(error)
    }
    var flow = DeviceFlow(authorization, receivedAt: clock.now())
    await show(authorization)
    while true {
      if Task.isCancelled { throw .cancelled }
      switch flow.next(at: clock.now()) {
      case .poll:
        let outcome = await client.poll(authorization.deviceCode)
        flow.receive(outcome, at: clock.now())
        if let reason = outcome.delay { await delayed(reason) }
      case .wait(let deadline):
        do {
          try await clock.sleep(until: deadline)
        } catch {
          throw .cancelled
        }
      case .finished(let tokens): return tokens
      case .failed(let failure): throw .flow(failure)
      }
    }
  }
}
