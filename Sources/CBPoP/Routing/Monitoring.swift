import CBActors
import Logging
import Ring

/// What is kept of the routing, and told of it, for those who watch it.
struct Monitoring: Sendable {
  let archive: MRTArchive?
  let stations: [BMPStation]

  /// Begins before the sessions do, so that nothing is missed.
  ///
  /// - Parameter name: the PoP's own.
  static func start(
    _ settings: PoPSettings.BGP, name: String, speaker: BGPSpeaker, logger: Logger
  ) async throws -> Monitoring {
    var archive: MRTArchive?
    if let configuration = MRTArchive.Configuration(settings.mrt) {
      archive = try MRTArchive(configuration, speaker: speaker, logger: logger)
      await archive?.start()
    }
    let stations = settings.bmp.collectors.map { collector in
      BMPStation(.init(collector, settings.bmp, systemName: name), speaker: speaker, logger: logger)
    }
    for station in stations { await station.start() }
    return Monitoring(archive: archive, stations: stations)
  }

  /// Behind the sessions' end, which is still told and kept.
  func stop() async {
    for station in stations { await station.stop() }
    await archive?.stop()
  }

  func view() async -> MonitoringView {
    let now = RingExecutor.monotonicNow()
    var view = MonitoringView(stations: [])
    if let archive { view.dumps = .init(await archive.status()) }
    for station in stations { view.stations.append(.init(await station.status(), now: now)) }
    return view
  }
}
