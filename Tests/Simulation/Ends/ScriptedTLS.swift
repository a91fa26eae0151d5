import PacketCrypto
import QUIC

/// A handshake with TLS's shape and none of its cryptography: message sizes, levels and the order
/// of secrets are those of TLS 1.3, every byte follows from a seed. Real TLS draws its own random
/// numbers, and its signatures vary in length, so that a run with it cannot be replayed to the byte.
///
/// Who has a ``Wallet`` resumes with its ticket; a server that has a ``TicketBook`` gives tickets and judges them.
final class ScriptedTLS: TLSSession {
  /// Bodies, in bytes. A server flight larger than 3600 bytes meets the anti-amplification limit.
  struct Sizes {
    var clientHello = 250
    var serverHello = 90
    var serverFlight = 1200
    /// Without a certificate.
    var resumedFlight = 160
    var clientFinished = 36
    var ticket = 180
  }

  private let role: Role
  private let seed: UInt64
  private let sizes: Sizes
  private let wallet: Wallet?
  private let book: TicketBook?
  private var parameters: [UInt8] = []
  private var received: [EncryptionLevel: [UInt8]] = [:]
  private var outputs: [TLSOutput] = []
  private var hasStarted = false
  /// A client's, to resume with.
  private var ticket: Wallet.Ticket?
  /// A server's, as the ClientHello has it.
  private var offer: (ticket: UInt64, hasEarlyData: Bool)?

  private(set) var isComplete = false
  private(set) var peerTransportParameters: [UInt8]?
  var applicationProtocol: String? { peerTransportParameters == nil ? nil : "sim" }
  private(set) var isResumed = false
  private(set) var earlyData = EarlyDataState.notOffered
  var rememberedTransportParameters: [UInt8]? { ticket?.parameters }
  var peerCertificates: [[UInt8]] { [] }

  init(_ role: Role, seed: UInt64, sizes: Sizes = Sizes(), wallet: Wallet? = nil, book: TicketBook? = nil) {
    self.role = role
    self.seed = seed
    self.sizes = sizes
    self.wallet = wallet
    self.book = book
    ticket = wallet?.takeTicket()
  }

  /// RFC 9369 §5: a ticket is good in its own version alone.
  var version = Version.v1 {
    didSet { if !hasStarted, role == .client, ticket?.version != version { ticket = nil } }
  }
  var resumedVersion: Version? { ticket?.version }
  var isResumptionOffered: Bool { offer != nil }

  func setTransportParameters(_ encoded: [UInt8]) { parameters = encoded }

  func receive(_ bytes: UnsafeRawBufferPointer, at level: EncryptionLevel) throws(TransportError) {
    received[level, default: []].append(contentsOf: bytes)
  }

  func nextOutput() -> TLSOutput? { outputs.isEmpty ? nil : outputs.removeFirst() }

  func advance() throws(TransportError) {
    if role == .client, !hasStarted { sayHello() }
    if role == .server, peerTransportParameters != nil, !hasStarted {
      hasStarted = true
      answerHello()
    }
    while let message = try takeMessage(.initial) { receiveHello(message) }
    while let message = try takeMessage(.handshake) { receiveFlight(message) }
    while let message = try takeMessage(.oneRTT) { receiveTicket(message) }
  }

  // MARK: Messages

  /// ClientHello: what is resumed, and the transport parameters.
  private func sayHello() {
    hasStarted = true
    let isEarly = ticket != nil && wallet?.offersEarlyData == true
    let offer = ticket.map { [isEarly ? 2 : 1] + Self.bytes($0.number) } ?? [0]
    outputs.append(.handshakeData(.initial, message(offer + parameters, size: sizes.clientHello)))
    guard isEarly else { return }
    earlyData = .offered
    install(.zeroRTT, [.write])
  }

  private func receiveHello(_ body: [UInt8]) {
    guard role == .server else {
      isResumed = body.first == 1
      install(.handshake, [.read, .write])
      return
    }
    guard peerTransportParameters == nil, let kind = body.first, kind == 0 || body.count >= 9 else { return }
    if kind > 0 { offer = (Self.number(body[1...8]), kind == 2) }
    // Answered when the connection has seen the parameters.
    peerTransportParameters = Array(body[(kind > 0 ? 9 : 1)...])
  }

  /// ServerHello says whether the session is resumed, EncryptedExtensions what becomes of the early data.
  private func answerHello() {
    if let offer {
      let verdict = book?.judge(offer.ticket, version: version, hasEarlyData: offer.hasEarlyData)
      isResumed = verdict?.isGood ?? false
      if offer.hasEarlyData { earlyData = verdict?.admitsEarlyData == true ? .accepted : .rejected }
    }
    outputs.append(.handshakeData(.initial, message([isResumed ? 1 : 0], size: sizes.serverHello)))
    install(.handshake, [.write, .read])
    let flight = [earlyData == .accepted ? 1 : 0] + parameters
    outputs.append(
      .handshakeData(.handshake, message(flight, size: isResumed ? sizes.resumedFlight : sizes.serverFlight)))
    install(.oneRTT, [.write])
    if earlyData == .accepted { install(.zeroRTT, [.read]) }
  }

  private func receiveFlight(_ body: [UInt8]) {
    isComplete = true
    guard role == .client else {
      install(.oneRTT, [.read])
      if let book {
        let number = book.give(version: version)
        outputs.append(.handshakeData(.oneRTT, message(Self.bytes(number), size: sizes.ticket)))
      }
      return
    }
    if earlyData == .offered { earlyData = body.first == 1 ? .accepted : .rejected }
    peerTransportParameters = Array(body.dropFirst())
    outputs.append(.handshakeData(.handshake, message([], size: sizes.clientFinished)))
    install(.oneRTT, [.read, .write])
  }

  private func receiveTicket(_ body: [UInt8]) {
    guard role == .client, body.count >= 8, let peerTransportParameters else { return }
    wallet?.ticket = Wallet.Ticket(
      number: Self.number(body[..<8]), version: version, parameters: peerTransportParameters)
  }

  private static func bytes(_ number: UInt64) -> [UInt8] { withUnsafeBytes(of: number.bigEndian) { [UInt8]($0) } }
  private static func number(_ bytes: ArraySlice<UInt8>) -> UInt64 { bytes.reduce(0) { $0 << 8 | UInt64($1) } }

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

  // MARK: Secrets

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
