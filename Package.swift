// swift-tools-version: 6.2
import PackageDescription

// Folders are floors: a module imports only from floors below it. Tests/Architecture reads this
// manifest and fails when a dependency climbs; docs/architecture.md has the picture.

/// Set to build the fuzzers, with every module of ours instrumented for them.
let isFuzzing = Context.environment["CBR_FUZZ"] != nil

let strict: [SwiftSetting] =
  [
    .swiftLanguageMode(.v6),
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("MemberImportVisibility"),
    .enableUpcomingFeature("InternalImportsByDefault"),
    .enableExperimentalFeature("Lifetimes"),
    .treatAllWarnings(as: .error),
  ] + (isFuzzing ? [.unsafeFlags(["-sanitize=fuzzer,address", "-enable-testing"])] : [])

/// A module of the shared actor library, in its own folder under `Sources/CBActors`.
func room(
  _ name: String, folder: String? = nil, _ dependencies: [Target.Dependency] = [],
  exclude: [String] = [], linker: [LinkerSetting] = []
) -> Target {
  .target(
    name: name, dependencies: dependencies, path: "Sources/CBActors/\(folder ?? name)",
    exclude: exclude, swiftSettings: strict, linkerSettings: linker)
}

func tests(
  _ name: String, _ dependencies: [Target.Dependency], exclude: [String] = [], resources: [Resource] = []
) -> Target {
  .testTarget(
    name: "\(name)Tests", dependencies: dependencies, path: "Tests/\(name)", exclude: exclude, resources: resources,
    swiftSettings: strict)
}

/// BoringSSL as swift-nio-ssl carries it. Only `PacketCrypto` and `QUICTLS` may name it.
let boringSSL = Target.Dependency.product(name: "NIOSSL", package: "swift-nio-ssl")

let package = Package(
  name: "cloudbridge",
  products: [
    .library(name: "CBActors", targets: ["CBActors"]),
    .executable(name: "cbpop", targets: ["cbpop"]),
    .executable(name: "cbterm", targets: ["cbterm"]),
  ],
  dependencies: [
    .package(url: "https://github.com/apple/swift-nio", from: "2.101.2"),
    .package(url: "https://github.com/apple/swift-http-types", from: "1.4.0"),
    .package(url: "https://github.com/apple/swift-nio-ssl", exact: "2.37.6"),
    .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
    .package(url: "https://github.com/apple/swift-log", from: "1.16.2"),
    .package(url: "https://github.com/apple/swift-configuration", from: "1.4.0", traits: ["YAML"]),
    .package(url: "https://github.com/apple/swift-crypto", from: "4.5.2"),
    .package(url: "https://github.com/apple/swift-certificates", from: "1.21.1"),
    .package(url: "https://github.com/apple/swift-asn1", from: "1.7.4"),
    .package(url: "https://github.com/vapor/jwt-kit", from: "5.7.1"),
    .package(url: "https://github.com/hummingbird-project/hummingbird", from: "2.28.1"),
    .package(url: "https://github.com/swift-server/async-http-client", from: "1.37.0"),
    .package(url: "https://github.com/swift-server/swift-service-lifecycle", from: "2.13.0"),
    .package(url: "https://github.com/jpsim/Yams", from: "6.2.2"),
  ],
  targets: [
    // Floor 0: C.
    .target(
      name: "CLinux", path: "Sources/CBActors/CLinux",
      linkerSettings: [.linkedLibrary("uring")]),
    .systemLibrary(
      name: "CSodium", path: "Sources/CBActors/CSodium", pkgConfig: "libsodium",
      providers: [.apt(["libsodium-dev"])]),
    .systemLibrary(
      name: "CReadline", path: "Sources/CBActors/CReadline",
      providers: [.apt(["libreadline-dev"])]),

    // Floor 1.
    room("Wire"),

    // Floor 2.
    room("PacketCrypto", ["Wire", boringSSL]),
    room("Ring", ["Wire", "CLinux"]),

    // Floor 3: protocol cores, sans-IO.
    room("QUIC", ["Wire", "PacketCrypto"]),
    room("DNS", ["Wire"]),
    room("BGP", ["Wire"]),
    room("Netlink", ["Wire"]),
    room("BFD", ["Wire"]),
    room("Health", ["Wire"]),

    // Floor 4.
    room("QUICTLS", ["Wire", "PacketCrypto", "QUIC", boringSSL]),
    room("HTTP3", ["Wire", "QUIC"]),
    room("Nftables", ["Wire", "BGP"]),

    // Floor 5.
    room("MASQUE", ["Wire", "QUIC", "HTTP3"]),
    room(
      "Identity",
      [
        .product(name: "JWTKit", package: "jwt-kit"),
        .product(name: "AsyncHTTPClient", package: "async-http-client"),
        .product(name: "NIOCore", package: "swift-nio"),
        .product(name: "NIOHTTP1", package: "swift-nio"),
        .product(name: "Logging", package: "swift-log"),
        "CSodium", "Wire",
      ]),

    room(
      "Settings",
      [
        "Wire", "QUIC",
        .product(name: "Configuration", package: "swift-configuration"),
        .product(name: "Yams", package: "Yams"),
      ]),

    // Floor 6: the actors that own a core and drive it on a ring.
    room(
      "CBActors", folder: "Actors",
      [
        "Wire", "PacketCrypto", "Ring", "QUIC", "BFD", "BGP", "Health", "Netlink", "Nftables", "DNS", "QUICTLS",
        "HTTP3", "MASQUE",
        .product(name: "Logging", package: "swift-log"),
      ]),

    // Floor 7.
    .target(
      name: "CBClient",
      dependencies: [
        "Wire", "PacketCrypto", "Ring", "QUIC", "DNS", "QUICTLS", "HTTP3", "MASQUE", "Identity", "CBActors", "CLinux",
        "CSodium",
        "Settings",
        .product(name: "AsyncHTTPClient", package: "async-http-client"),
        .product(name: "NIOCore", package: "swift-nio"),
        .product(name: "NIOHTTP1", package: "swift-nio"),
        .product(name: "Logging", package: "swift-log"),
      ],
      swiftSettings: strict),
    .target(
      name: "CBPoP",
      dependencies: [
        "Wire", "PacketCrypto", "Ring", "QUIC", "BFD", "BGP", "Health", "Netlink", "Nftables", "DNS", "QUICTLS",
        "HTTP3", "MASQUE", "Identity", "CBActors", "Settings",
        .product(name: "Hummingbird", package: "hummingbird"),
        .product(name: "HTTPTypes", package: "swift-http-types"),
        .product(name: "NIOCore", package: "swift-nio"),
        .product(name: "NIOPosix", package: "swift-nio"),
        .product(name: "JWTKit", package: "jwt-kit"),
        .product(name: "X509", package: "swift-certificates"),
        .product(name: "SwiftASN1", package: "swift-asn1"),
        .product(name: "Crypto", package: "swift-crypto"),
        .product(name: "CryptoExtras", package: "swift-crypto"),
        .product(name: "Logging", package: "swift-log"),
        .product(name: "ServiceLifecycle", package: "swift-service-lifecycle"),
        .product(name: "UnixSignals", package: "swift-service-lifecycle"),
      ],
      exclude: ["cbpop"],
      swiftSettings: strict),

    // Floor 8: the programs.
    .executableTarget(
      name: "cbpop",
      dependencies: [
        "CBPoP", "Settings", "Wire",
        .product(name: "ServiceLifecycle", package: "swift-service-lifecycle"),
        .product(name: "UnixSignals", package: "swift-service-lifecycle"),
        .product(name: "ArgumentParser", package: "swift-argument-parser"),
        .product(name: "Logging", package: "swift-log"),
      ],
      path: "Sources/CBPoP/cbpop",
      swiftSettings: strict),
    .executableTarget(
      name: "cbterm",
      dependencies: [
        "CBClient", "CReadline", "Wire", "Settings",
        .product(name: "ArgumentParser", package: "swift-argument-parser"),
        .product(name: "Logging", package: "swift-log"),
      ],
      swiftSettings: strict),

    // Tests. Each room has its own; Architecture, Simulation, Peers and EndToEnd look across them.
    tests("Wire", ["Wire"]),
    tests("PacketCrypto", ["Wire", "PacketCrypto"]),
    tests("Ring", ["Wire", "PacketCrypto", "Ring"]),
    tests("QUIC", ["Wire", "PacketCrypto", "QUIC", "QUICTLS", "CongestionSimulation"]),
    tests("DNS", ["Wire", "DNS"]),
    tests("BGP", ["Wire", "BGP"]),
    tests("Netlink", ["Wire", "Netlink"]),
    tests("Nftables", ["Wire", "BGP", "Nftables"]),
    tests("BFD", ["Wire", "BFD"]),
    tests("Health", ["Wire", "Health"]),
    tests("QUICTLS", ["Wire", "PacketCrypto", "QUIC", "QUICTLS"]),
    tests("HTTP3", ["Wire", "QUIC", "HTTP3"]),
    tests("MASQUE", ["Wire", "QUIC", "HTTP3", "MASQUE"]),
    tests(
      "Identity",
      [
        "Identity", "CSodium", "Wire",
        .product(name: "JWTKit", package: "jwt-kit"), .product(name: "Crypto", package: "swift-crypto"),
        .product(name: "CryptoExtras", package: "swift-crypto"),
      ]),
    tests("Settings", ["Wire", "Settings"]),
    tests("CBClient", ["Wire", "Ring", "QUIC", "DNS", "Identity", "Settings", "CBClient"]),
    tests(
      "CBActors",
      ["Wire", "Ring", "BFD", "Health", "Netlink", "CBActors", .product(name: "Logging", package: "swift-log")]),
    tests(
      "CBPoP",
      [
        "Wire", "PacketCrypto", "Ring", "QUIC", "BGP", "Health", "QUICTLS", "HTTP3", "MASQUE", "Settings", "CBActors",
        "CBPoP", "Identity",
        .product(name: "Logging", package: "swift-log"),
      ]),
    tests("cbterm", ["Wire", "Settings", "CBClient", "cbterm"]),
    tests("Architecture", []),
    tests(
      "Simulation", ["Wire", "PacketCrypto", "QUIC", "QUICTLS", "HTTP3", "CongestionSimulation"],
      exclude: ["Congestion"]),

    // Flows over one bottleneck, for the tests of congestion control and for Benchmarks/scenarios.
    .target(
      name: "CongestionSimulation", dependencies: ["Wire", "QUIC"], path: "Tests/Simulation/Congestion",
      swiftSettings: strict),

    // A link between two network namespaces for benchmarks with real programs; not a product.
    .executableTarget(
      name: "cblink",
      dependencies: ["Wire", "CLinux", .product(name: "ArgumentParser", package: "swift-argument-parser")],
      path: "Benchmarks/link", swiftSettings: strict),

    // A client and server for Tests/Interop; not a product.
    .executableTarget(
      name: "cbquic", dependencies: ["Wire", "PacketCrypto", "QUIC", "QUICTLS", "HTTP3"], path: "Tests/Interop/cbquic",
      swiftSettings: strict),
  ]
)

// CBR_CORES=1 swift build --build-tests: the protocol cores and their tests alone, the quick build of whoever edits one.
if Context.environment["CBR_CORES"] != nil {
  let cores = [
    "Wire", "PacketCrypto", "BGP", "BFD", "Health", "Netlink", "Nftables", "QUIC", "QUICTLS", "HTTP3", "MASQUE",
  ]
  let kept = Set(cores + cores.map { "\($0)Tests" } + ["SimulationTests", "CongestionSimulation", "cbquic"])
  package.products = []
  package.targets.removeAll { !kept.contains($0.name) }
}

if isFuzzing {
  // The fuzzed rooms alone, so that one build makes everything that is left.
  let rooms: Set = ["Wire", "PacketCrypto", "DNS", "BGP", "BFD", "Netlink", "QUIC", "QUICTLS", "HTTP3", "MASQUE"]
  package.products = []
  package.targets.removeAll { !rooms.contains($0.name) }

  /// A fuzzer of some of the rooms, built and run by scripts/fuzz.
  func fuzzer(_ name: String, _ dependencies: [Target.Dependency]) -> Target {
    .executableTarget(
      name: "Fuzz\(name)", dependencies: dependencies + ["FuzzDriver", "Wire"], path: "Tests/Fuzz/\(name)",
      exclude: ["corpus"], swiftSettings: strict + [.unsafeFlags(["-parse-as-library"])],
      linkerSettings: [.unsafeFlags(["-sanitize=fuzzer,address", "-use-ld=lld"])])
  }
  package.targets += [
    .target(name: "FuzzDriver", path: "Tests/Fuzz/Driver", swiftSettings: strict),
    fuzzer("QUIC", ["PacketCrypto", "QUIC"]), fuzzer("Connection", ["PacketCrypto", "QUIC", "QUICTLS", "HTTP3"]),
    fuzzer("HTTP3", ["QUIC", "HTTP3", "MASQUE"]), fuzzer("DNS", ["DNS"]),
    fuzzer("BGP", ["BGP"]), fuzzer("BFD", ["BFD"]), fuzzer("Netlink", ["Netlink"]),
  ]
}

// CBR_BENCH=1 swift build -c release --product quicbench: what the cores cost, without a socket; --product scenarios:
// congestion control in virtual time.
if Context.environment["CBR_BENCH"] != nil {
  package.targets += [
    .target(name: "CMemory", path: "Benchmarks/CMemory"),
    .executableTarget(
      name: "quicbench",
      dependencies: [
        "Wire", "Ring", "QUIC", "QUICTLS", "HTTP3", "CBActors", "CMemory",
        .product(name: "Logging", package: "swift-log"),
      ], path: "Benchmarks/quic",
      swiftSettings: strict),
    .executableTarget(
      name: "scenarios", dependencies: ["Wire", "QUIC", "CongestionSimulation"], path: "Benchmarks/scenarios",
      swiftSettings: strict + [.unsafeFlags(["-parse-as-library"])]),
  ]
}
