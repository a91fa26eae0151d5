import Foundation
import Testing

/// The floors of docs/architecture.md: a module imports only from floors below its own.
private let floors: [String: Int] = [
  "CLinux": 0, "COpenSSL": 0, "CSodium": 0, "CReadline": 0, "CBPF": 0,
  "Wire": 1,
  "PacketCrypto": 2, "Ring": 2,
  "QUIC": 3, "WireGuard": 3, "BGP": 3, "BFD": 3, "DNS": 3, "Health": 3, "Netlink": 3,
  "QUICTLS": 4, "HTTP3": 4, "Nftables": 4,
  "MASQUE": 5, "Identity": 5, "Settings": 5,
  "CBActors": 6,
  "CBClient": 7, "CBPoP": 7,
  "cbpop": 8, "cbterm": 8,
]

private struct Manifest: Decodable {
  struct Target: Decodable {
    var name: String
    var type: String
    var path: String?
    var exclude: [String]
    var dependencies: [Dependency]

    /// What it depends on in this package.
    var modules: [String] { dependencies.compactMap(\.module) }
  }

  struct Dependency: Decodable {
    /// Nil for a product of another package.
    var module: String?

    init(from decoder: any Decoder) throws {
      let container = try decoder.container(keyedBy: Kind.self)
      for kind in [Kind.byName, .target] where container.contains(kind) {
        var list = try container.nestedUnkeyedContainer(forKey: kind)
        module = try list.decode(String.self)
      }
    }

    enum Kind: String, CodingKey { case byName, target, product }
  }
  var targets: [Target]
}

@Suite("The house stands on its floors")
struct FloorTests {
  private let root: URL
  private let targets: [Manifest.Target]

  init() throws {
    root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
      .deletingLastPathComponent()
    let process = Process()
    process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
    // A scratch folder of its own: the build that runs this test holds the lock on the usual one.
    let scratch = FileManager.default.temporaryDirectory.appendingPathComponent("cloudbridge-describe-\(UUID())")
    defer { try? FileManager.default.removeItem(at: scratch) }
    process.arguments = [
      "swift", "package", "--package-path", root.path, "--scratch-path", scratch.path, "dump-package",
    ]
    let output = Pipe()
    process.standardOutput = output
    process.standardError = FileHandle.nullDevice
    try process.run()
    let text = output.fileHandleForReading.readDataToEndOfFile()
    process.waitUntilExit()
    // What only tests and measures the house stands outside of it.
    targets = try JSONDecoder().decode(Manifest.self, from: text).targets
      .filter { $0.type != "test" && $0.path?.hasPrefix("Tests/") != true && $0.path?.hasPrefix("Benchmarks/") != true }
  }

  @Test func everyModuleHasAFloorAndDependsOnlyOnLowerOnes() throws {
    #expect(!targets.isEmpty)
    for target in targets {
      let floor = try #require(floors[target.name], "\(target.name) has no floor: give it one here and in the picture")
      for dependency in target.modules {
        let below = try #require(floors[dependency], "\(dependency) has no floor")
        #expect(below < floor, "\(target.name) (floor \(floor)) climbs to \(dependency) (floor \(below))")
      }
    }
  }

  @Test func importsAreDeclaredDependencies() throws {
    let modules = Set(targets.map(\.name))
    for target in targets {
      for (source, file) in sources(of: target) {
        for module in try imports(of: file) where modules.contains(module) {
          #expect(
            target.modules.contains(module), "\(target.name)/\(source) imports \(module)")
        }
      }
    }
  }

  @Test func onlyTheCryptoRoomsNameBoringSSL() throws {
    for target in targets {
      for (source, file) in sources(of: target) {
        if try imports(of: file).contains("CNIOBoringSSL") {
          #expect(["PacketCrypto", "QUICTLS"].contains(target.name), "\(target.name)/\(source)")
        }
      }
    }
  }

  @Test func sansIOCoresNeverAwait() throws {
    let cores = ["Wire", "PacketCrypto", "BGP", "QUIC", "DNS", "HTTP3", "MASQUE", "QUICTLS"]
    for target in targets where cores.contains(target.name) {
      for (source, file) in sources(of: target) {
        for line in try String(contentsOf: file, encoding: .utf8).split(separator: "\n") {
          let code = line.split(separator: "//", maxSplits: 1, omittingEmptySubsequences: false)[0]
          let words = code.split { !$0.isLetter }
          #expect(!words.contains("await") && !words.contains("async"), "\(target.name)/\(source): \(line)")
        }
      }
    }
  }

  /// The Swift files of a target, by their path in it.
  private func sources(of target: Manifest.Target) -> [(String, URL)] {
    let folder = root.appendingPathComponent(target.path ?? "Sources/\(target.name)")
    let names = FileManager.default.enumerator(atPath: folder.path)?.compactMap { $0 as? String } ?? []
    return names.filter { name in
      name.hasSuffix(".swift") && !target.exclude.contains { name.hasPrefix($0 + "/") }
    }.map { ($0, folder.appendingPathComponent($0)) }
  }

  private func imports(of file: URL) throws -> Set<String> {
    var found: Set<String> = []
    for line in try String(contentsOf: file, encoding: .utf8).split(separator: "\n") {
      let words = line.split(separator: " ")
      if let at = words.firstIndex(of: "import"), at <= 2, words.count > at + 1 {
        found.insert(String(words[at + 1].split(separator: ".")[0]))
      }
    }
    return found
  }
}
