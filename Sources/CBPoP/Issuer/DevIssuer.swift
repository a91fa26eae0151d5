public import Foundation
import HTTPTypes
import Hummingbird
import Identity
public import Logging
import NIOCore
public import ServiceLifecycle
public import Wire

/// An OpenID provider for development: the device flow of RFC 8628 with no accounts behind it.
///
/// Whoever can reach it can sign in as anyone, so it binds to loopback addresses alone, and answers
/// only requests that name one: a web page that rebinds its own name to 127.0.0.1 is refused. A restart
/// ends every session; access tokens stay good where the key is kept in a file.
///
///     curl -d user_code=BCDF-GHJK -d user=alice -d action=approve http://127.0.0.1:8081/device
public struct DevIssuer: Service {
  public enum SigningAlgorithm: String, Sendable, CaseIterable {
    case es256 = "ES256", edDSA = "EdDSA", rs256 = "RS256"
  }

  public struct Configuration: Sendable {
    /// A loopback address; port 0 takes a free one (see ``DevIssuer/issuer()``).
    public var address = SocketAddress(.v4(IPv4Address(127, 0, 0, 1)), port: 8081)
    /// Clients that may sign in.
    public var clientIDs: Set<String> = ["cbterm"]
    /// What access tokens carry in `aud`, besides the client's identifier.
    public var audience = "cloudbridge"
    public var algorithm = SigningAlgorithm.es256
    /// Where an ES256 key is kept over restarts; nil makes a new key each time.
    public var keyFile: URL?
    /// Seconds a device code lives.
    public var codeLifetime = 300
    /// Seconds between two polls; 1 to 5.
    public var pollInterval = 1
    /// Seconds an access token lives.
    public var accessLifetime = 3600
    /// Seconds a refresh token lives unused.
    public var refreshLifetime = 30 * 24 * 3600
    /// Roles that every user holds, in Zitadel's claim.
    public var roles = ["tunnel"]
    /// The organisation that every user belongs to.
    public var organisation = (id: "1", name: "Development", primaryDomain: "dev.cloudbridge.test")

    public init() {}
  }

  public enum StartError: Error, Sendable, Equatable, CustomStringConvertible {
    case notLoopback(String)
    case invalidSetting(String)
    /// The server ended before it was bound.
    case notRunning(String)

    public var description: String {
      switch self {
      case .notLoopback(let address):
        "the development issuer lets anyone sign in as anyone, so it binds only to loopback, not to \(address)"
      case .invalidSetting(let what): "the development issuer cannot use this setting: \(what)"
      case .notRunning(let why): "the development issuer is not running: \(why)"
      }
    }
  }

  private let configuration: Configuration
  private let logger: Logger
  private let desk: DevIssuerDesk

  /// - Parameters:
  ///   - now: the wall clock.
  ///   - entropy: for codes and tokens.
  /// - Throws: ``StartError``, or what making the signing key threw.
  public init(
    configuration: Configuration = Configuration(), logger: Logger,
    now: @escaping @Sendable () -> Date = { Date() },
    entropy: any EntropySource & Sendable = SystemEntropy.shared
  ) throws {
    guard EndpointURL.isLoopback(host: "\(configuration.address.ip)") else {
      throw StartError.notLoopback("\(configuration.address)")
    }
    guard (1...5).contains(configuration.pollInterval) else {
      throw StartError.invalidSetting("a poll interval of \(configuration.pollInterval) s; 1 to 5")
    }
    guard (1...3600).contains(configuration.codeLifetime) else {
      throw StartError.invalidSetting("a code lifetime of \(configuration.codeLifetime) s; 1 to 3600")
    }
    self.configuration = configuration
    self.logger = logger
    desk = DevIssuerDesk(
      configuration: configuration,
      mint: try configuration.keyFile.map { try TokenMint(keyFile: $0) }
        ?? TokenMint(configuration.algorithm, entropy: entropy),
      now: now, entropy: entropy)
  }

  /// The issuer's name, such as `http://127.0.0.1:8081`. Waits until the server is bound.
  ///
  /// - Throws: ``StartError/notRunning(_:)`` when it never will be.
  public func issuer() async throws -> String { try await desk.boundIssuer() }

  /// Serves until the task is cancelled or its service group shuts down.
  public func run() async throws {
    let address = configuration.address
    let application = Application(
      router: router(),
      configuration: ApplicationConfiguration(
        address: .hostname("\(address.ip)", port: Int(address.port)), serverName: nil),
      onServerRunning: { [desk, logger] channel in
        let bound = SocketAddress(address.ip, port: UInt16(channel.localAddress?.port ?? Int(address.port)))
        await desk.bind(issuer: "http://\(bound)")
        logger.notice("development issuer listens", metadata: ["issuer": "http://\(bound)"])
      },
      logger: logger)
    do {
      try await application.run()
      await desk.end("it has ended")
    } catch {
      await desk.end("\(error)")
      throw error
    }
  }

  private func router() -> Router<BasicRequestContext> {
    let router = Router()
    serve(router, .get, "/.well-known/openid-configuration") { desk, _ in await desk.discovery() }
    serve(router, .get, "/keys") { desk, _ in await desk.keys() }
    serve(router, .get, "/device") { desk, request in await desk.devicePage(request) }
    serve(router, .post, "/device") { desk, request in await desk.decide(request) }
    serve(router, .post, "/device_authorization") { desk, request in await desk.authorizeDevice(request) }
    serve(router, .post, "/token") { desk, request in await desk.token(request) }
    serve(router, .post, "/revoke") { desk, request in await desk.revoke(request) }
    serve(router, .get, "/userinfo") { desk, request in await desk.userinfo(request) }
    serve(router, .post, "/userinfo") { desk, request in await desk.userinfo(request) }
    return router
  }

  private func serve(
    _ router: Router<BasicRequestContext>, _ method: HTTPRequest.Method, _ path: String,
    _ handler: @escaping @Sendable (DevIssuerDesk, DeskRequest) async -> DeskAnswer
  ) {
    router.on(RouterPath(path), method: method) { [desk] request, _ in
      var request = request
      guard DevIssuer.namesThisMachine(request.head.authority) else {
        return DevIssuer.response(.error(403, "invalid_request", "ask by a loopback name"))
      }
      let body: [UInt8]
      do {
        body = [UInt8](try await request.collectBody(upTo: 8 * 1024).readableBytesView)
      } catch {
        return DevIssuer.response(.error(413, "invalid_request", "at most 8 KiB"))
      }
      var headers: [String: String] = [:]
      for field in request.headers { headers[field.name.canonicalName] = field.value }
      let asked = DeskRequest(
        query: request.uri.query ?? "", headers: headers, authority: request.head.authority ?? "", body: body)
      return DevIssuer.response(await handler(desk, asked))
    }
  }

  /// Whether a Host header names loopback. Without this check a page elsewhere could point its own
  /// name here and read the answers.
  static func namesThisMachine(_ authority: String?) -> Bool {
    guard let authority else { return false }
    let host: Substring
    if authority.hasPrefix("["), let end = authority.firstIndex(of: "]") {
      host = authority[...end]
    } else {
      host = authority.split(separator: ":", omittingEmptySubsequences: false)[0]
    }
    return EndpointURL.isLoopback(host: String(host))
  }

  private static func response(_ answer: DeskAnswer) -> Response {
    var fields = HTTPFields()
    for (name, value) in answer.headers {
      if let name = HTTPField.Name(name) { fields[name] = value }
    }
    return Response(
      status: HTTPResponse.Status(code: answer.status), headers: fields,
      body: ResponseBody(byteBuffer: ByteBuffer(bytes: answer.body)))
  }
}
