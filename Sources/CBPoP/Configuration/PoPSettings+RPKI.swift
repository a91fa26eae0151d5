import Settings
import Wire

extension PoPSettings.BGP {
  static let rpkiSection = Schema.Key.section(
    "rpki", "Where routes' origins are validated by (RFC 6811); policies ask by originValidity.",
    [
      .sections(
        "caches", example: [["address": "192.0.2.53"]], commentedOut: true,
        "Validating caches (RPKI to Router, RFC 8210), the most preferred first. The next one is asked when those before it "
          + "do not answer.",
        [
          .value("address", .address, required: true, "Its address."),
          .value("port", .integer(1...65_535), default: "323", "Where it listens (TCP)."),
        ])
    ])

  static func caches(_ settings: ResolvedSettings) -> [SocketAddress] {
    (0..<settings.sectionCount("bgp.rpki.caches")).compactMap { index in
      let path = "bgp.rpki.caches[\(index)]"
      return settings.text("\(path).address").flatMap { IPAddress($0) }.map {
        SocketAddress($0, port: UInt16(settings.integer("\(path).port")))
      }
    }
  }

  /// Of the caches.
  func cacheProblems(_ settings: ResolvedSettings) -> [SettingsError.Problem] {
    caches.indices.filter { caches[..<$0].contains(caches[$0]) }.map { index in
      settings.problem("bgp.rpki.caches[\(index)]", "\(caches[index]) stands here already")
    }
  }
}
