import CBActors
import Settings
public import Wire

extension PoPSettings.BGP {
  /// Dumps of the tables and of what neighbors send.
  public struct MRT: Hashable, Sendable {
    /// Nil: nothing is written.
    public var directory: String?
    /// Zero for none.
    public var tables: Interval
    /// Zero for none.
    public var updates: Interval
    /// Zero for ever.
    public var keep: Interval

    init(_ settings: ResolvedSettings) {
      directory = settings.path("bgp.mrt.directory")
      tables = settings.interval("bgp.mrt.tables")
      updates = settings.interval("bgp.mrt.updates")
      keep = settings.interval("bgp.mrt.keep")
    }

    func problems(_ settings: ResolvedSettings) -> [SettingsError.Problem] {
      [("bgp.mrt.tables", tables), ("bgp.mrt.updates", updates)].compactMap { path, interval in
        interval == .zero || interval >= .seconds(1) ? nil : settings.problem(path, "must be 0 or at least 1s")
      }
    }
  }

  static let mrtSection = Schema.Key.section(
    "mrt",
    "Files of the MRT format (RFC 6396), as route collectors keep them: rib.YYYYMMDD.HHMM and updates.YYYYMMDD.HHMM, in "
      + "UTC.",
    [
      .value(
        "directory", .path, example: "/var/lib/cloudbridge/mrt",
        "Where to write them; its owner and group may read them. Without it, nothing is written."),
      .value(
        "tables", .duration(.zero...(.seconds(7 * 86_400))), default: "2h",
        "Between two dumps of the tables, at whole multiples of it. 0: none."),
      .value(
        "updates", .duration(.zero...(.seconds(7 * 86_400))), default: "15m",
        "What a file of received messages covers, from whole multiples of it on. 0: none."),
      .value(
        "keep", .duration(.zero...(.seconds(3_650 * 86_400))), default: "168h", "Older files are removed. 0: none is."),
    ])
}

extension MRTArchive.Configuration {
  /// Nil where nothing is to be written.
  init?(_ settings: PoPSettings.BGP.MRT) {
    guard let directory = settings.directory else { return nil }
    self.init(directory: directory)
    tableInterval = settings.tables == .zero ? nil : settings.tables
    updateInterval = settings.updates == .zero ? nil : settings.updates
    keep = settings.keep == .zero ? nil : settings.keep
  }
}
