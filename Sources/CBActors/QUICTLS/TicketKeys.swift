internal import CNIOBoringSSL
public import PacketCrypto
internal import Wire

/// Seals the session tickets of a service (RFC 8446 §4.6.1). Shared by all contexts, on whatever ring, whose clients may
/// come back to one another.
///
/// Whoever has the same secret opens the tickets: a later process, or another PoP. Their early data is another matter:
/// only the one that issued a ticket knows whether it has been used (``ReplayRegister``). So the early data context of a
/// ticket names its ``issuer``, and to all others it is good for a handshake without early data.
public final class TicketKeys: Sendable {
  private let keys: SealingKeys
  /// Unlike that of any other object or process.
  let issuer = SystemEntropy.shared.bytes(16)
  /// Seconds for which a key seals, and a ticket is good.
  let lifetime: Int64
  private let now: @Sendable () -> Int64

  /// - Parameters:
  ///   - secret: at least ``SealingKeys/leastSecretLength`` bytes.
  ///   - lifetime: seconds for which each key seals; it opens for as long again. A ticket is good for that long, at most
  ///     seven days (RFC 8446 §4.6.1).
  ///   - now: seconds on a clock that all holders of the secret share.
  public init(secret: AuthenticationKey, lifetime: Int64 = 86_400, now: @escaping @Sendable () -> Int64) {
    keys = SealingKeys(secret: secret, purpose: "session ticket")
    self.lifetime = min(max(lifetime, 1), 7 * 86_400)
    self.now = now
  }

  /// With a secret of its own, which ends with this object.
  public convenience init(lifetime: Int64 = 86_400, now: @escaping @Sendable () -> Int64) {
    let secret = SystemEntropy.shared.bytes(SealingKeys.leastSecretLength)
    self.init(secret: AuthenticationKey(secret), lifetime: lifetime, now: now)
  }

  private var generation: Int64 { max(0, now()) / lifetime }

  func seal(_ session: UnsafeRawBufferPointer) -> [UInt8] {
    var plaintext = [UInt8](session)
    defer { plaintext.erase() }
    return keys.seal(plaintext, generation: generation, entropy: SystemEntropy.shared)
  }

  /// What BoringSSL put into a ticket; nil for what no holder of the secret sealed lately. To be erased after use.
  func open(_ ticket: UnsafeRawBufferPointer) -> [UInt8]? { keys.open(ticket, generation: generation)?.plaintext }
}

extension [UInt8] {
  /// Overwrites what was secret. Of no effect on other arrays with the same bytes.
  mutating func erase() { withUnsafeMutableBytes { OPENSSL_cleanse($0.baseAddress, $0.count) } }
}

/// The functions by which BoringSSL has tickets sealed and opened.
enum TicketMethod {
  // Proof: written once here, never changed, never freed; BoringSSL only reads it.
  nonisolated(unsafe) static let table: UnsafePointer<SSL_TICKET_AEAD_METHOD> = {
    let table = UnsafeMutablePointer<SSL_TICKET_AEAD_METHOD>.allocate(capacity: 1)
    table.initialize(
      to: SSL_TICKET_AEAD_METHOD(
        max_overhead: { _ in TokenKey.overhead },
        seal: { ssl, output, outputCount, capacity, input, inputCount in
          guard let keys = (TLSHandshake.of(ssl) as? TLSServerSession)?.server.tickets else { return 0 }
          let ticket = keys.seal(UnsafeRawBufferPointer(start: input, count: inputCount))
          return write(ticket, to: output, outputCount, capacity) ? 1 : 0
        },
        open: { ssl, output, outputCount, capacity, input, inputCount in
          guard let session = TLSHandshake.of(ssl) as? TLSServerSession,
            var content = session.server.tickets.open(UnsafeRawBufferPointer(start: input, count: inputCount))
          else { return ssl_ticket_aead_ignore_ticket }
          defer { content.erase() }
          session.judgeEarlyData(by: UnsafeRawBufferPointer(start: input, count: inputCount))
          return write(content, to: output, outputCount, capacity)
            ? ssl_ticket_aead_success : ssl_ticket_aead_ignore_ticket
        }))
    return UnsafePointer(table)
  }()

  private static func write(
    _ bytes: [UInt8], to output: UnsafeMutablePointer<UInt8>?, _ count: UnsafeMutablePointer<Int>?, _ capacity: Int
  ) -> Bool {
    guard bytes.count <= capacity, let output, let count else { return false }
    output.update(from: bytes, count: bytes.count)
    count.pointee = bytes.count
    return true
  }
}
