import PacketCrypto

/// How connection IDs name the server that they belong to, so that a balancer that shares the configuration routes
/// each packet without state (draft-ietf-quic-load-balancers).
///
///     first octet: 3 bits configuration, 5 bits for the server's own use
///     server ID and nonce, in the clear or encrypted
public struct RoutingConfiguration: Sendable {
  /// The three config rotation bits, 0 to 6.
  public let identifier: UInt8
  public let serverIDLength: Int
  public let nonceLength: Int
  private let cipher: BlockCipher?

  /// What no configuration may be.
  public enum Mistake: Error, Hashable, Sendable {
    /// Beyond 6: 7 says that an ID is not routable.
    case identifier
    /// Of less than one byte.
    case serverID
    /// Of less than four bytes.
    case nonce
    /// Server ID and nonce have more than 19 bytes together, all that a connection ID of version 1 has room for.
    case length
    /// Not of sixteen bytes.
    case key
  }

  /// - Parameter key: of AES-128; nil leaves server IDs readable, which makes a client's paths easier to link.
  public init(identifier: UInt8, serverIDLength: Int, nonceLength: Int, key: [UInt8]?) throws(Mistake) {
    guard identifier < 7 else { throw .identifier }
    guard serverIDLength >= 1 else { throw .serverID }
    guard nonceLength >= 4 else { throw .nonce }
    guard serverIDLength + nonceLength <= 19 else { throw .length }
    self.identifier = identifier
    self.serverIDLength = serverIDLength
    self.nonceLength = nonceLength
    if let key {
      guard let cipher = BlockCipher(key) else { throw .key }
      self.cipher = cipher
    } else {
      cipher = nil
    }
  }

  public var isEncrypted: Bool { cipher != nil }

  /// Bytes of each connection ID.
  public var connectionIDLength: Int { 1 + plaintextLength }
  private var plaintextLength: Int { serverIDLength + nonceLength }

  /// The connection ID of a server.
  ///
  /// - Parameters:
  ///   - serverID: ``serverIDLength`` bytes.
  ///   - nonce: ``nonceLength`` bytes, which with a key must never have been used before, and without one must be
  ///     random.
  ///   - ownBits: the low five bits of the first octet.
  public func connectionID(serverID: [UInt8], nonce: [UInt8], ownBits: UInt8) -> ConnectionID {
    precondition(serverID.count == serverIDLength && nonce.count == nonceLength, "lengths as configured")
    var body = Body(repeating: 0)
    for (index, byte) in (serverID + nonce).enumerated() { body[index] = byte }
    if let cipher {
      if plaintextLength == BlockCipher.blockLength {
        body = singlePass(body, cipher.encrypt)
      } else {
        encrypt(&body, cipher)
      }
    }
    var bytes = [identifier << 5 | ownBits & 0x1f]
    for index in 0..<plaintextLength { bytes.append(body[index]) }
    // Proof for the unwrap: at most twenty bytes.
    return ConnectionID(bytes)!
  }

  /// The server that a connection ID names; nil when it is of another configuration, or too short.
  ///
  /// - Parameter connectionID: what follows may follow it: a balancer does not know where a short header's ID ends.
  public func serverID(of connectionID: UnsafeRawBufferPointer) -> [UInt8]? {
    guard connectionID.count >= connectionIDLength, connectionID[0] >> 5 == identifier else { return nil }
    var body = Body(repeating: 0)
    for index in 0..<plaintextLength { body[index] = connectionID[1 + index] }
    if let cipher {
      if plaintextLength == BlockCipher.blockLength {
        body = singlePass(body, cipher.decrypt)
      } else {
        decrypt(&body, cipher)
      }
    }
    return (0..<serverIDLength).map { body[$0] }
  }

  // MARK: Encryption

  /// Room for server ID and nonce.
  private typealias Body = InlineArray<20, UInt8>

  private func singlePass(_ body: Body, _ pass: (BlockCipher.Block) -> BlockCipher.Block) -> Body {
    var block = BlockCipher.Block(repeating: 0)
    for index in block.indices { block[index] = body[index] }
    block = pass(block)
    var result = body
    for index in block.indices { result[index] = block[index] }
    return result
  }

  private typealias Half = InlineArray<10, UInt8>
  private var halfLength: Int { (plaintextLength + 1) / 2 }
  private var isOdd: Bool { plaintextLength & 1 == 1 }

  /// Of an odd length, both halves hold four bits of the middle byte.
  private func split(_ body: Body) -> (left: Half, right: Half) {
    var (left, right) = (Half(repeating: 0), Half(repeating: 0))
    for index in 0..<halfLength {
      left[index] = body[index]
      right[index] = body[plaintextLength - halfLength + index]
    }
    clearMiddle(&left, &right)
    return (left, right)
  }

  private func join(_ left: Half, _ right: Half) -> Body {
    var body = Body(repeating: 0)
    for index in 0..<halfLength { body[index] = left[index] }
    for index in 0..<halfLength { body[plaintextLength - halfLength + index] |= right[index] }
    return body
  }

  private func clearMiddle(_ left: inout Half, _ right: inout Half) {
    guard isOdd else { return }
    left[halfLength - 1] &= 0xf0
    right[0] &= 0x0f
  }

  /// `half` with the encrypted expansion of the other half laid over it.
  private func mix(_ half: inout Half, with other: Half, pass: UInt8, _ cipher: BlockCipher) {
    var block = BlockCipher.Block(repeating: 0)
    for index in 0..<halfLength { block[index] = other[index] }
    block[14] = UInt8(plaintextLength)
    block[15] = pass
    let mask = cipher.encrypt(block)
    for index in 0..<halfLength { half[index] ^= mask[index] }
  }

  private func encrypt(_ body: inout Body, _ cipher: BlockCipher) { passFourTimes(&body, cipher, backwards: false) }

  private func decrypt(_ body: inout Body, _ cipher: BlockCipher) { passFourTimes(&body, cipher, backwards: true) }

  /// A Feistel network of four rounds, which undoes itself backwards.
  private func passFourTimes(_ body: inout Body, _ cipher: BlockCipher, backwards: Bool) {
    var (left, right) = split(body)
    for round: UInt8 in 1...4 {
      let pass = backwards ? 5 - round : round
      if pass & 1 == 1 {
        mix(&right, with: left, pass: pass, cipher)
      } else {
        mix(&left, with: right, pass: pass, cipher)
      }
      clearMiddle(&left, &right)
    }
    body = join(left, right)
  }
}
