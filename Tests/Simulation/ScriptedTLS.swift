import PacketCrypto
import QUIC

/// A handshake with TLS's shape and none of its cryptography: message sizes, levels and the order
/// of secrets are those of TLS 1.3, every byte follows from a seed. Real TLS draws its own random
/// numbers, and its signatures vary in length, so that a run with it cannot be replayed to the byte.
final class ScriptedTLS: TLSSession {
  /// Bodies, in bytes. A server flight larger than 3600 bytes meets the anti-amplification limit.
  struct Sizes {
    var clientHello = 250
    var serverHello = 90
    var serverFlight = 1200
    var clientFinished = 36
  }

  private let role: Role
  private let seed: UInt64
  private let sizes: Sizes
  private var parameters: [UInt8] = []
  private var received: [EncryptionLevel: [UInt8]] = [:]
  private var outputs: [TLSOutput] = []
  private var hasStarted = false

  private(set) var isComplete = false
  private(set) var peerTransportParameters: [UInt8]?
  var applicationProtocol: String? { peerTransportParameters == nil ? nil : "sim" }
  var isResumed: Bool { false }
  var earlyData: EarlyDataState { .notOffered }
  var rememberedTransportParameters: [UInt8]? { nil }
  var peerCertificates: [[UInt8]] { [] }

  init(_ role: Role, seed: UInt64, sizes: Sizes = Sizes()) {
    self.role = role
    self.seed = seed
    self.sizes = sizes
  }

  var version = Version.v1
  var resumedVersion: Version? { nil }
  var isResumptionOffered: Bool { false }

  func setTransportParameters(_ encoded: [UInt8]) { parameters = encoded }

  func receive(_ bytes: UnsafeRawBufferPointer, at level: EncryptionLevel) throws(TransportError) {
    received[level, default: []].append(contentsOf: bytes)
  }

  func nextOutput() -> TLSOutput? { outputs.isEmpty ? nil : outputs.removeFirst() }

  func advance() throws(TransportError) {
    if role == .client, !hasStarted {
      hasStarted = true
      outputs.append(.handshakeData(.initial, message(parameters, size: sizes.clientHello)))
    }
    if role == .server, peerTransportParameters != nil, !hasStarted {
      hasStarted = true
      answerHello()
    }
    while let message = try takeMessage(.initial) { receiveHello(message) }
    while let message = try takeMessage(.handshake) { receiveFlight(message) }
  }

  private func receiveHello(_ body: [UInt8]) {
    guard role == .server else {
      install(.handshake, [.read, .write])
      return
    }
    // Answered when the connection has seen the parameters.
    if peerTransportParameters == nil { peerTransportParameters = body }
  }

  private func answerHello() {
    outputs.append(.handshakeData(.initial, message([], size: sizes.serverHello)))
    install(.handshake, [.write, .read])
    outputs.append(.handshakeData(.handshake, message(parameters, size: sizes.serverFlight)))
    install(.oneRTT, [.write])
  }

  private func receiveFlight(_ body: [UInt8]) {
    isComplete = true
    guard role == .client else {
      install(.oneRTT, [.read])
      return
    }
    peerTransportParameters = body
    outputs.append(.handshakeData(.handshake, message([], size: sizes.clientFinished)))
    install(.oneRTT, [.read, .write])
  }

  /// A length of the content, a length of the whole, the content, and zeros.
  private func message(_ content: [UInt8], size: Int) -> [UInt8] {
    let whole = max(size, content.count)
    let header = [content.count >> 8, content.count & 255, whole >> 8, whole & 255].map { UInt8($0) }
    return header + content + [UInt8](repeating: 0, count: whole - content.count)
  }

  private func takeMessage(_ level: EncryptionLevel) throws(TransportError) -> [UInt8]? {
    guard let bytes = received[level], bytes.count >= 4 else { return nil }
    let content = Int(bytes[0]) << 8 | Int(bytes[1])
    let whole = Int(bytes[2]) << 8 | Int(bytes[3])
    guard content <= whole else { throw TransportError(.crypto(alert: 50), "scripted message") }
    guard bytes.count >= 4 + whole else { return nil }
    received[level] = Array(bytes[(4 + whole)...])
    return Array(bytes[4..<4 + content])
  }

  private func install(_ level: EncryptionLevel, _ directions: [TLSOutput.Direction]) {
    for direction in directions {
      let sender = direction == .write ? role : role.peer
      outputs.append(.secret(level, direction, .aes128GCM, Self.secret(level, of: sender, seed: seed)))
    }
  }

  /// What `sender` protects its packets of a level with.
  static func secret(_ level: EncryptionLevel, of sender: Role, seed: UInt64) -> TrafficSecret {
    var dice = Dice(seed: seed ^ UInt64(level.rawValue) << 8 ^ (sender == .client ? 1 : 0))
    let bytes = (0..<32).map { _ in UInt8(truncatingIfNeeded: dice.next()) }
    return bytes.withUnsafeBytes { TrafficSecret($0) }
  }
}
