import BGP
import CBActors
import Health
import Ring
import Wire

/// Has the neighbors told of each group of prefixes by its state, and the operator's programs of each change. On the
/// speaker's ring.
actor Announcer {
  nonisolated let ring: RingExecutor
  nonisolated var unownedExecutor: UnownedSerialExecutor { ring.asUnownedSerialExecutor() }

  private let speaker: BGPSpeaker
  private let groups: [PoPSettings.BGP.Announcements]
  private let hooks: HealthHooks?
  /// By group.
  private var levels: [Announcement.Level]
  private var isLeaving = false

  /// - Parameter level: of all groups, until another is said.
  init(
    _ groups: [PoPSettings.BGP.Announcements], to speaker: BGPSpeaker, hooks: HealthHooks?, at level: Announcement.Level
  ) {
    ring = speaker.ring
    self.speaker = speaker
    self.groups = groups
    self.hooks = hooks
    levels = groups.map { _ in level }
  }

  func start() {
    for group in groups.indices { announce(group) }
  }

  /// A group has come to a state.
  func changed(_ group: Int, to state: Announcement.State) {
    levels[group] = state.level
    announce(group)
    tell(group, because: "\(state)")
  }

  /// What of a group the neighbors are told.
  struct Status: Sendable {
    var group: PoPSettings.BGP.Announcements
    var level: Announcement.Level
    var isAnnounced: Bool
    var med: UInt32?
  }

  /// By group; nil where all is being taken back, as the PoP stops.
  var statuses: [Status]? {
    guard !isLeaving else { return nil }
    return zip(groups, levels).map { group, level in
      let attributes = group.attributes(level)
      return Status(group: group, level: level, isAnnounced: attributes != nil, med: attributes?.multiExitDisc)
    }
  }

  private func announce(_ group: Int) {
    let (prefixes, attributes) = (groups[group].prefixes, groups[group].attributes(levels[group]))
    speaker.assumeIsolated { speaker in
      for prefix in prefixes {
        if let attributes { speaker.announce(prefix, attributes) } else { speaker.withdraw(prefix) }
      }
    }
  }

  private func tell(_ group: Int, because reason: String) {
    let (prefixes, level) = (groups[group].prefixes, levels[group])
    hooks?.assumeIsolated { hooks in
      for prefix in prefixes { hooks.changed(prefix, to: level, because: reason) }
    }
  }

  /// Asks for other ways than by what is announced now (RFC 8326). False where that is nothing.
  func announceDeparture() -> Bool {
    var isAny = false
    isLeaving = true
    for group in groups.indices {
      guard var attributes = groups[group].attributes(levels[group]) else { continue }
      isAny = true
      attributes.communities.append(.gracefulShutdown)
      // RFC 8326 §4.2: within the AS the preference says it, where the community may not be heard.
      attributes.localPreference = 0
      let prefixes = groups[group].prefixes
      speaker.assumeIsolated { speaker in
        for prefix in prefixes { speaker.announce(prefix, attributes) }
      }
      levels[group] = .drained
      tell(group, because: "the PoP stops")
    }
    return isAny
  }

  /// Takes back all that is announced.
  func withdrawAll() {
    let prefixes = groups.flatMap(\.prefixes)
    speaker.assumeIsolated { speaker in
      for prefix in prefixes { speaker.withdraw(prefix) }
    }
  }
}
