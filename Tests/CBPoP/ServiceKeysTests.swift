import Foundation
import PacketCrypto
import Testing
import Wire

@testable import CBPoP
@testable import QUIC
@testable import QUICTLS

@Suite struct ServiceKeysTests {
  private let directory: URL

  init() throws {
    directory = FileManager.default.temporaryDirectory.appendingPathComponent("keys-\(UUID())")
    try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
    try write("tls.pem", "-----BEGIN PRIVATE KEY-----", mode: 0o600)
    try write("other.pem", "-----BEGIN OTHER KEY-----", mode: 0o600)
    try write("secret", String(repeating: "s", count: 32), mode: 0o600)
    try write("other", String(repeating: "t", count: 32), mode: 0o600)
    try write("short", String(repeating: "s", count: 31) + "\n", mode: 0o600)
    try write("open", String(repeating: "s", count: 32), mode: 0o640)
  }

  private func write(_ name: String, _ text: String, mode: Int) throws {
    try Data(text.utf8).write(to: directory.appendingPathComponent(name))
    try FileManager.default.setAttributes(
      [.posixPermissions: mode], ofItemAtPath: directory.appendingPathComponent(name).path)
  }

  private func path(_ name: String) -> String { directory.appendingPathComponent(name).path }

  private func keys(name: String = "a", secret: String?, tls: String = "tls.pem") throws -> ServiceKeys {
    try ServiceKeys(
      .init(secretFile: secret.map { path($0) }, lifetime: .seconds(3_600)), name: name, privateKeyFile: path(tls),
      timeOfDay: .seconds(1_000_000), clock: { .zero })
  }

  /// What one PoP or process sealed, does another open it?
  private func ticketPasses(_ a: ServiceKeys, _ b: ServiceKeys) -> Bool {
    let session: [UInt8] = [1, 2, 3]
    let ticket = session.withUnsafeBytes { a.tickets.seal($0) }
    return ticket.withUnsafeBytes { b.tickets.open($0) } == session
  }

  private func tokenPasses(_ a: ServiceKeys, _ b: ServiceKeys) -> Bool {
    let client = SocketAddress("192.0.2.1:40000")!
    let token = a.addressTokens.sealNewToken(to: client.ip, version: .v1, now: .zero, entropy: SystemEntropy.shared)
    return token.withUnsafeBytes {
      b.addressTokens.judge(
        $0, from: client, destinationID: .empty, version: .v1, retryLifetime: .seconds(5), now: .zero + .seconds(1))
    } == .newToken
  }

  @Test func withASecretTicketsAndTokensOutliveTheProcessAndTheCertificate() throws {
    defer { try? FileManager.default.removeItem(at: directory) }
    let before = try keys(secret: "secret")
    let after = try keys(name: "b", secret: "secret", tls: "other.pem")
    #expect(ticketPasses(before, after) && tokenPasses(before, after))
    let stranger = try keys(secret: "other")
    #expect(!ticketPasses(before, stranger) && !tokenPasses(before, stranger))
  }

  @Test func withoutASecretTokensFollowTheCertificateAndTicketsTheProcess() throws {
    defer { try? FileManager.default.removeItem(at: directory) }
    let before = try keys(secret: nil)
    let after = try keys(secret: nil)
    #expect(ticketPasses(before, before) && !ticketPasses(before, after))
    #expect(tokenPasses(before, after))
    #expect(try !tokenPasses(before, keys(secret: nil, tls: "other.pem")))
  }

  /// RFC 9000 §21.11: two PoPs that share all their files still reset their own connections alone.
  @Test func statelessResetsAreOnePoPsOwn() throws {
    defer { try? FileManager.default.removeItem(at: directory) }
    let (a, b) = (try keys(name: "a", secret: "secret"), try keys(name: "b", secret: "secret"))
    #expect(a.statelessReset != b.statelessReset)
    #expect(try a.statelessReset == keys(name: "a", secret: nil).statelessReset)
    #expect(try a.statelessReset != keys(name: "a", secret: nil, tls: "other.pem").statelessReset)
  }

  @Test func aSecretMustBeOne() throws {
    defer { try? FileManager.default.removeItem(at: directory) }
    #expect(throws: SecretFileError.tooShort(path("short"), least: 32)) { try keys(secret: "short") }
    #expect(throws: SecretFileError.readableByOthers(path("open"), 0o640)) { try keys(secret: "open") }
    #expect(throws: (any Error).self) { try keys(secret: "missing") }
  }
}
