import Wire

/// The controller of a connection. An enum and not an existential: its calls are direct.
enum AnyController: Sendable {
  case newReno(NewReno)
  case cubic(Cubic)

  init(_ algorithm: CongestionAlgorithm, maximumDatagramSize: UInt64) {
    switch algorithm {
    case .newReno: self = .newReno(NewReno(maximumDatagramSize: maximumDatagramSize))
    case .cubic: self = .cubic(Cubic(maximumDatagramSize: maximumDatagramSize))
    }
  }

  var algorithm: CongestionAlgorithm {
    switch self {
    case .newReno: .newReno
    case .cubic: .cubic
    }
  }

  var congestionWindow: UInt64 {
    switch self {
    case .newReno(let controller): controller.congestionWindow
    case .cubic(let controller): controller.congestionWindow
    }
  }

  var pacingRate: UInt64? {
    switch self {
    case .newReno(let controller): controller.pacingRate
    case .cubic(let controller): controller.pacingRate
    }
  }

  var isInSlowStart: Bool {
    switch self {
    case .newReno(let controller): controller.isInSlowStart
    case .cubic(let controller): controller.isInSlowStart
    }
  }

  var recoveryStart: Instant? {
    switch self {
    case .newReno(let controller): controller.recoveryStart
    case .cubic(let controller): controller.recoveryStart
    }
  }

  mutating func onPacketSent(bytes: UInt64, inFlight: UInt64, isAppLimited: Bool, now: Instant) {
    switch self {
    case .newReno(var controller):
      controller.onPacketSent(bytes: bytes, inFlight: inFlight, isAppLimited: isAppLimited, now: now)
      self = .newReno(controller)
    case .cubic(var controller):
      controller.onPacketSent(bytes: bytes, inFlight: inFlight, isAppLimited: isAppLimited, now: now)
      self = .cubic(controller)
    }
  }

  mutating func onAcknowledged(_ sample: AckSample) {
    switch self {
    case .newReno(var controller):
      controller.onAcknowledged(sample)
      self = .newReno(controller)
    case .cubic(var controller):
      controller.onAcknowledged(sample)
      self = .cubic(controller)
    }
  }

  mutating func onLost(_ sample: LossSample) {
    switch self {
    case .newReno(var controller):
      controller.onLost(sample)
      self = .newReno(controller)
    case .cubic(var controller):
      controller.onLost(sample)
      self = .cubic(controller)
    }
  }

  mutating func onCongestionExperienced(sent: Instant, now: Instant) {
    switch self {
    case .newReno(var controller):
      controller.onCongestionExperienced(sent: sent, now: now)
      self = .newReno(controller)
    case .cubic(var controller):
      controller.onCongestionExperienced(sent: sent, now: now)
      self = .cubic(controller)
    }
  }

  mutating func onPersistentCongestion(now: Instant) {
    switch self {
    case .newReno(var controller):
      controller.onPersistentCongestion(now: now)
      self = .newReno(controller)
    case .cubic(var controller):
      controller.onPersistentCongestion(now: now)
      self = .cubic(controller)
    }
  }

  mutating func setMaximumDatagramSize(_ bytes: UInt64) {
    switch self {
    case .newReno(var controller):
      controller.setMaximumDatagramSize(bytes)
      self = .newReno(controller)
    case .cubic(var controller):
      controller.setMaximumDatagramSize(bytes)
      self = .cubic(controller)
    }
  }
}
