import Foundation
import QUIC
import Settings
import Testing
import Wire

@testable import CBPoP

private let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
  .deletingLastPathComponent()

private func settings(_ text: String, isDev: Bool = false) throws(SettingsError) -> PoPSettings {
  try PoPSettings(text: text, isDev: isDev)
}

private func problems(_ text: String) -> [String] {
  do {
    _ = try settings(text)
    return []
  } catch {
    return error.problems.map { $0.description.replacing("/etc/cloudbridge/", with: "") }
  }
}

private let tls = "tls: {certificateFile: chain.pem, privateKeyFile: /k/key.pem}\n"

@Suite struct ConfigurationTests {
  @Test func clientCertificates() throws {
    let pair = "certificateFile: chain.pem, privateKeyFile: /k/key.pem"
    let rest = "\nidentity: {profiles: [{name: a, issuer: https://login.test, audience: [b]}]}\n"
    #expect(try settings("tls: {\(pair)}" + rest).clientCertificates == .off)
    let asked = try settings("tls: {\(pair), clientCertificates: required, clientAuthorities: ca.pem}" + rest)
    #expect(asked.clientCertificates == .required(authoritiesFile: "/etc/cloudbridge/ca.pem"))
    #expect(
      problems("tls: {\(pair), clientCertificates: optional}" + rest) == [
        "cbpop.yaml:1: tls.clientCertificates: needs clientAuthorities"
      ])
    #expect(
      problems("tls: {\(pair), clientAuthorities: ca.pem}" + rest) == [
        "cbpop.yaml:1: tls.clientAuthorities: is for clientCertificates alone"
      ])
    #expect(problems("tls: {\(pair), clientCertificates: perhaps}" + rest).count == 1)
  }

  @Test func aFullFile() throws {
    let pop = try settings(
      tls + """
        name: fra1
        listen: ["192.0.2.1:443", "[2001:db8::1]:443"]
        identity:
          profiles:
            - name: zitadel
              issuer: https://login.test
              audience: ["123"]
            - name: shared
              issuer: embedded
              audience: [cloudbridge]
              algorithms: [HS256]
              hmacSecretFile: hmac.key
              clockSkew: 1m
        policy:
          allowPrivate: true
          allowPrefixes: [127.0.0.0/8, "::1"]
          ports: [53, 8000-8999]
        limits: {tunnelsPerUser: 7, udpIdleTimeout: 5m}
        transport: {retry: always}
        """)
    #expect(pop.name == "fra1")
    #expect(pop.listen == [SocketAddress("192.0.2.1:443")!, SocketAddress("[2001:db8::1]:443")!])
    #expect(pop.tls?.certificateFile == "/etc/cloudbridge/chain.pem")
    #expect(pop.tls?.privateKeyFile == "/k/key.pem")
    #expect(pop.trustProfiles[0].algorithms == ["RS256", "ES256", "EdDSA"])
    #expect(pop.trustProfiles[0].clockSkew == .seconds(30))
    #expect(pop.trustProfiles[1].hmacSecretFile == "/etc/cloudbridge/hmac.key")
    #expect(pop.trustProfiles[1].clockSkew == .seconds(60))
    #expect(pop.policy.allowPrefixes == [IPPrefix("127.0.0.0/8")!, IPPrefix("::1/128")!])
    #expect(pop.policy.ports == [53...53, 8000...8999])
    #expect(pop.limits.tunnelsPerUser == 7)
    #expect(pop.limits.udpIdleTimeout == .seconds(300))
    #expect(pop.limits.tunnels == 100_000)
    #expect(pop.transport.retry == .always)
  }

  @Test func loadBalancing() throws {
    let pop = try settings(
      "transport: {preferredAddresses: ['192.0.2.7:443'], loadBalancing: {serverID: '0a3f01', keyFile: lb.key}}",
      isDev: true)
    #expect(pop.transport.preferredAddresses == [SocketAddress("192.0.2.7:443")!])
    #expect(
      pop.transport.loadBalancing
        == .init(serverID: [0x0a, 0x3f, 0x01], nonceLength: 8, configID: 0, keyFile: "/etc/cloudbridge/lb.key"))
    func faults(_ transport: String) -> [String] {
      do {
        _ = try settings("transport: {\(transport)}", isDev: true)
        return []
      } catch {
        return error.problems.map { $0.description.replacing("/etc/cloudbridge/cbpop.yaml:1: ", with: "") }
      }
    }
    #expect(
      faults("loadBalancing: {serverID: 'xyz'}") == [
        "transport.loadBalancing.serverID: expected 1 to 11 bytes as pairs of hexadecimal digits, found 'xyz'"
      ])
    #expect(
      faults("loadBalancing: {serverID: '0a3f01', nonceLength: 17}") == [
        "transport.loadBalancing.nonceLength: with a serverID of 3 bytes makes 20; a connection ID has room for 19"
      ])
    #expect(
      faults("loadBalancing: {keyFile: /k}") == ["transport.loadBalancing.keyFile: stands without serverID"])
    #expect(
      faults("preferredAddresses: ['192.0.2.7:443', '192.0.2.8:443']") == [
        "transport.preferredAddresses: names two IPv4 addresses"
      ])
  }

  @Test func devNeedsNoFile() throws {
    let pop = try PoPSettings(path: nil, environment: ["CBR_CC": "newreno"], isDev: true)
    #expect(pop.tls == nil)
    #expect(pop.transport.congestion == .newReno)
    for algorithm in CongestionAlgorithm.allCases {
      let chosen = try PoPSettings(path: nil, environment: ["CBR_CC": algorithm.rawValue], isDev: true)
      #expect(QUIC.Configuration(chosen.transport).congestion == algorithm)
    }
    #expect(try PoPSettings(path: nil, environment: [:], isDev: true).transport.congestion == .bbrV3)
    #expect(
      pop.dev
        == .init(
          domain: "cloudbridge.test", issuerAddress: SocketAddress("127.0.0.1:8081")!,
          dnsAddress: SocketAddress("127.0.0.1:5300")!))
    #expect(throws: SettingsError.self) {
      try PoPSettings(path: nil, environment: ["CBR_DEV_ISSUER_ADDRESS": "0.0.0.0:8081"], isDev: true)
    }
  }

  @Test func aPublicPoPNeedsACertificateAndAnIssuer() {
    #expect(
      problems("name: a") == [
        "cbpop.yaml: tls: needs certificateFile and privateKeyFile",
        "cbpop.yaml: identity.profiles: is empty: no token would ever be accepted",
      ])
  }

  @Test func trustProfilesFixOneFamilyOfAlgorithms() {
    #expect(
      problems(
        tls + """
          identity:
            profiles:
              - name: mixed
                issuer: https://login.test
                audience: [a]
                algorithms: [RS256, HS256]
              - name: secretless
                issuer: b
                audience: []
                algorithms: [HS256]
              - name: public
                issuer: https://login.test
                audience: [a]
                hmacSecretFile: x
              - name: undiscoverable
                issuer: http://login.test
                audience: [a]
          """) == [
          "cbpop.yaml:7: identity.profiles[0].algorithms: HS256 must stand alone in its profile",
          "cbpop.yaml:7: identity.profiles[0].algorithms: HS256 needs hmacSecretFile",
          "cbpop.yaml:10: identity.profiles[1].audience: is empty",
          "cbpop.yaml:11: identity.profiles[1].algorithms: HS256 needs hmacSecretFile",
          "cbpop.yaml:13: identity.profiles[2].issuer: 'https://login.test' has an earlier profile already",
          "cbpop.yaml:15: identity.profiles[2].hmacSecretFile: is for algorithms: [HS256] alone",
          "cbpop.yaml:17: identity.profiles[3].issuer: cannot be discovered without jwksURL: "
            + "'http://login.test' is not https; http is for loopback addresses alone",
        ])
  }

  @Test func algNoneIsNoChoice() {
    let found = problems(
      tls + "identity: {profiles: [{name: a, issuer: 'https://i.test', audience: [a], algorithms: [none]}]}")
    #expect(found.first?.contains("identity.profiles[0].algorithms[0]: expected one of RS256") == true)
  }

  @Test func theExampleIsWhatTheSchemaSays() throws {
    let path = root.appendingPathComponent("deploy/cbpop.yaml")
    let text = PoPSettings.schema.example(preface: [
      "The settings of a Point of Presence: every key there is, with its default or, commented out, a sample",
      "value. A key KEY.SUBKEY of this file is also the environment variable CBR_KEY_SUBKEY",
      "(limits.tunnelsPerUser is CBR_LIMITS_TUNNELS_PER_USER). Flags win over the environment, and that over the",
      "file. Durations: 250ms, 30s, 5m, 1h.",
    ])
    if ProcessInfo.processInfo.environment["UPDATE_EXAMPLES"] != nil { try Data(text.utf8).write(to: path) }
    #expect(try String(contentsOf: path, encoding: .utf8) == text, "run the tests with UPDATE_EXAMPLES=1")
    let pop = try PoPSettings(
      path: path.path,
      environment: ["CBR_TLS_CERTIFICATE_FILE": "/c.pem", "CBR_TLS_PRIVATE_KEY_FILE": "/k.pem"])
    #expect(pop.trustProfiles.map(\.name) == ["zitadel"])
  }
}
