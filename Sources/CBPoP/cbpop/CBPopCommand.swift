import ArgumentParser
import CBPoP
import Foundation
import Logging
import ServiceLifecycle
import Settings
import UnixSignals

@main
struct CBPop: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "cbpop",
    abstract: "A CloudBridge point of presence: QUIC, HTTP/3 and MASQUE tunnels.",
    version: "cbpop 0.1.0",
    subcommands: [Run.self, StopCommand.self, BGPCommand.self, PolicyCommand.self], defaultSubcommand: Run.self)
}

struct Run: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Run the point of presence. This is what cbpop does without a subcommand.",
    discussion: """
      Settings come from --set, then CBR_* variables, then the file of --config, then defaults; \
      deploy/cbpop.yaml lists them all.

      Exit status: 0 after an orderly stop, 1 when it could not start or failed, 7 for wrong settings, 64 for wrong flags.
      """)

  @Option(help: ArgumentHelp("The YAML settings file.", valueName: "file"))
  var config: String?

  @Option(
    name: .customLong("set"), parsing: .singleValue,
    help: ArgumentHelp("One setting, such as policy.allowPrivate=true. May be repeated.", valueName: "key=value"))
  var assignments: [String] = []

  @Flag(help: "Run on loopback with a certificate authority, identity issuer and DNS server of its own.")
  var dev = false

  @Option(help: ArgumentHelp("Where --dev keeps its keys.", valueName: "directory"))
  var stateDirectory: String?

  @Option(help: ArgumentHelp("Write a qlog of each connection there: transport.qlogDirectory.", valueName: "directory"))
  var qlogDir: String?

  @Option(help: "trace, debug, info, notice, warning or error.")
  var logLevel: String = "info"

  func validate() throws {
    guard Logger.Level(rawValue: logLevel) != nil else {
      throw ValidationError("--log-level is trace, debug, info, notice, warning or error, not '\(logLevel)'")
    }
    for assignment in assignments where !assignment.contains("=") {
      throw ValidationError("--set takes key=value, not '\(assignment)'")
    }
  }

  func run() async throws {
    let level = Logger.Level(rawValue: logLevel) ?? .info
    LoggingSystem.bootstrap { label in
      var handler = StreamLogHandler.standardError(label: label)
      handler.logLevel = level
      return handler
    }
    let logger = Logger(label: "cbpop")
    let settings: PoPSettings
    do {
      settings = try read()
    } catch let error as SettingsError {
      FileHandle.standardError.write(Data("cbpop: wrong settings\n\(error)\n".utf8))
      throw ExitCode(7)
    }
    let pop = PointOfPresence(
      settings: settings, development: dev ? .init(stateDirectory: developmentDirectory()) : nil, logger: logger,
      keyLogFile: ProcessInfo.processInfo.environment["SSLKEYLOGFILE"].flatMap { $0.isEmpty ? nil : $0 }
    ) { ready in
      logger.notice("QUIC", metadata: ["listen": "\(ready.addresses.joined(separator: " "))"])
      if let issuer = ready.issuer { logger.notice("sign-in", metadata: ["issuer": "\(issuer)"]) }
      if let dns = ready.dns {
        logger.notice("discovery", metadata: ["dns": "\(dns)", "domain": "\(settings.dev.domain)"])
      }
      if let file = ready.certificateAuthorityFile { logger.notice("trust", metadata: ["caFile": "\(file)"]) }
      logger.notice("cbpop is ready")
    }
    let group = ServiceGroup(
      configuration: .init(
        services: [.init(service: pop, successTerminationBehavior: .gracefullyShutdownGroup)],
        gracefulShutdownSignals: [.sigterm, .sigint], logger: logger))
    do {
      try await group.run()
    } catch {
      FileHandle.standardError.write(Data("cbpop: \(error)\n".utf8))
      throw ExitCode.failure
    }
  }

  private func read() throws -> PoPSettings {
    var flags: [(path: String, value: String, flag: String)] = assignments.map { assignment in
      let parts = assignment.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
      return (String(parts[0]), String(parts[1]), "--set \(parts[0])")
    }
    if let qlogDir { flags.append(("transport.qlogDirectory", qlogDir, "--qlog-dir")) }
    let environment = ProcessInfo.processInfo.environment
    // A development PoP faces this machine alone unless it is told otherwise.
    if dev, config == nil, environment["CBR_LISTEN"] == nil, !flags.contains(where: { $0.path == "listen" }) {
      flags.append(("listen", "127.0.0.1:4433", "--dev"))
    }
    return try PoPSettings(path: config, flags: flags, environment: environment, isDev: dev)
  }

  /// `--state-directory`, else `$XDG_STATE_HOME/cloudbridge/dev`.
  private func developmentDirectory() -> URL {
    if let stateDirectory { return URL(fileURLWithPath: stateDirectory) }
    let environment = ProcessInfo.processInfo.environment
    let state =
      environment["XDG_STATE_HOME"].flatMap { $0.hasPrefix("/") ? $0 : nil }
      ?? (environment["HOME"] ?? "/root") + "/.local/state"
    return URL(fileURLWithPath: state).appendingPathComponent("cloudbridge/dev")
  }
}
