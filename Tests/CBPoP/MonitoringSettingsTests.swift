import CBActors
import Settings
import Testing
import Wire

@testable import CBPoP

@Suite("Settings of what is kept and told of the routing") struct MonitoringSettingsTests {
  private func bgp(_ text: String) throws -> PoPSettings.BGP { try PoPSettings(text: "bgp:\n" + text).bgp }

  private func problems(_ text: String) -> [String] {
    do {
      _ = try bgp(text)
      return []
    } catch let error as SettingsError {
      return error.problems.map { $0.description.replacing("/etc/cloudbridge/cbpop.yaml:", with: "") }
    } catch {
      return ["\(error)"]
    }
  }

  @Test func dumps() throws {
    #expect(MRTArchive.Configuration(try bgp("  mrt: {tables: 1h}").mrt) == nil)
    let usual = try #require(MRTArchive.Configuration(try bgp("  mrt: {directory: dumps}").mrt))
    #expect(usual.directory == "/etc/cloudbridge/dumps" && usual.tableInterval == .seconds(7_200))
    #expect(usual.updateInterval == .seconds(900) && usual.keep == .seconds(7 * 86_400))
    let none = try #require(
      MRTArchive.Configuration(try bgp("  mrt: {directory: /d, tables: 0s, updates: 0s, keep: 0s}").mrt))
    #expect(none.tableInterval == nil && none.updateInterval == nil && none.keep == nil)
    #expect(
      problems("  mrt: {directory: /d, tables: 500ms, updates: 999ms}") == [
        "2: bgp.mrt.tables: must be 0 or at least 1s", "2: bgp.mrt.updates: must be 0 or at least 1s",
      ])
  }

  @Test func stations() throws {
    #expect(try bgp("  localAS: 64512").bmp.collectors.isEmpty)
    let told = try bgp(
      """
        bmp:
          queue: 2
          collectors:
            - {name: a, address: '192.0.2.200:1790'}
            - {name: b, address: '[2001:db8::1]:1790', localAddress: '2001:db8::2', retry: 5s}
      """
    ).bmp
    let station = BMPStation.Configuration(told.collectors[1], told, systemName: "fra1")
    #expect(station.address == SocketAddress("[2001:db8::1]:1790") && station.localAddress == IPAddress("2001:db8::2"))
    #expect(station.retry == .seconds(5) && station.statistics == .seconds(60) && station.queueLimit == 2 << 20)
    #expect(station.systemName == "fra1" && told.collectors[0].retry == .seconds(30))
    #expect(BMPStation.Configuration(told.collectors[0], told, systemName: "").localAddress == nil)
    #expect(
      problems(
        """
          bmp:
            statistics: 10ms
            collectors:
              - {name: a, address: '192.0.2.200:0'}
              - {name: a, address: '192.0.2.200:1', localAddress: '::1'}
        """) == [
          "3: bgp.bmp.statistics: must be 0 or at least 1s", "5: bgp.bmp.collectors[0].address: needs a port",
          "6: bgp.bmp.collectors[1].name: 'a' is taken by an earlier collector",
          "6: bgp.bmp.collectors[1].localAddress: is of another family than the collector's address",
        ])
  }
}
