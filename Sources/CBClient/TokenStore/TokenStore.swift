import CSodium
public import FoundationEssentials
import Glibc
public import Identity

/// The tokens of one profile at one issuer, sealed on disk.
///
/// Two files in a private directory (`$XDG_STATE_HOME/cloudbridge`): `token.key` with a random key,
/// and one sealed file for each profile and issuer, both mode 0600.
///
/// What this protects against: a sealed file that gets out alone, by a backup, a bug report or a
/// synchronised folder; a file changed or put in another's place, which is noticed; another user of the
/// machine. What it does not: whoever can read as this user, or root, reads the key as well. The key
/// lies beside what it opens, so a copy of the whole directory opens it too.
///
/// Tokens are kept in guarded memory (``Identity/Secret``), and the buffers of sealing and reading are
/// zeroed; the strings that a JSON coder or an HTTP request makes on the way are not.
public struct TokenStore: Sendable {
  /// Bytes of a sealed file beyond which it is taken for damaged.
  public static let sizeLimit = 256 * 1024

  public let profile: String
  public let issuer: String
  /// Where the sealed tokens are.
  public let path: String
  private let directory: String
  private var keyPath: String { directory + "/token.key" }
  private var lockPath: String { path + ".lock" }

  /// - Parameter directory: nil takes ``defaultDirectory(environment:)``.
  /// - Throws: ``TokenStoreError/noStateDirectory``.
  public init(profile: String, issuer: String, directory: String? = nil) throws(TokenStoreError) {
    let directory = if let directory { directory } else { try TokenStore.defaultDirectory() }
    self.directory = directory
    self.profile = profile
    self.issuer = issuer
    path = directory + "/" + TokenStore.fileName(profile: profile, issuer: issuer)
  }

  /// `$XDG_STATE_HOME/cloudbridge`, else `~/.local/state/cloudbridge`.
  public static func defaultDirectory(
    environment: (String) -> String? = TokenStore.variable
  ) throws(TokenStoreError) -> String {
    // The XDG specification has relative paths ignored.
    if let state = environment("XDG_STATE_HOME"), state.hasPrefix("/") { return state + "/cloudbridge" }
    if let home = environment("HOME"), home.hasPrefix("/") { return home + "/.local/state/cloudbridge" }
    throw .noStateDirectory
  }

  /// A variable of the process's environment.
  public static func variable(_ name: String) -> String? { getenv(name).map { String(cString: $0) } }

  /// The stored tokens, or nil when nobody is signed in.
  public func load() throws(TokenStoreError) -> StoredTokens? {
    guard let box = try PrivateFile.read(path, limit: TokenStore.sizeLimit) else { return nil }
    guard var key = try readKey() else { throw .keyMissing(path: keyPath) }
    defer { wipe(&key) }
    guard var plain = SealedBox.open(box, key: key, purpose: purpose) else { throw .corrupt(path: path) }
    defer { wipe(&plain) }
    guard let tokens = StoredTokens(serialized: plain) else { throw .corrupt(path: path) }
    return tokens
  }

  /// Puts `tokens` in the place of what was stored, at once.
  public func save(_ tokens: StoredTokens) throws(TokenStoreError) {
    try PrivateFile.makeDirectory(directory)
    var key = try readOrCreateKey()
    defer { wipe(&key) }
    var plain = tokens.serialized
    defer { wipe(&plain) }
    try PrivateFile.replace(path, with: SealedBox.seal(plain, key: key, purpose: purpose))
  }

  /// Forgets the tokens. Returns whether there were any; works on damaged ones too.
  public func remove() throws(TokenStoreError) -> Bool { try PrivateFile.remove(path) }

  /// A usable access token, renewed if need be: once at a time over all processes.
  ///
  /// Many issuers rotate refresh tokens and end the old access token with each refresh, so two
  /// processes that refresh at once would sign each other out. Whoever gets the lock second finds the
  /// tokens that the first one stored, and does not ask again.
  ///
  /// - Parameters:
  ///   - rejected: an access token that the PoP or issuer has just refused, to be replaced even if it
  ///     should still be valid.
  ///   - margin: seconds before its end at which a token is renewed.
  ///   - now: the wall clock.
  ///   - exchange: asks the issuer; called at most once.
  /// - Throws: ``TokenStoreError``; `.renewalFailed` keeps what is stored.
  public func current(
    rejected: Secret? = nil, margin: TimeInterval = 60, now: @Sendable () -> Date,
    exchange: (_ refreshToken: Secret) async throws(OAuthFailure) -> TokenResponse
  ) async throws(TokenStoreError) -> StoredTokens {
    func usable(_ tokens: StoredTokens) -> Bool {
      tokens.access != rejected && tokens.expiresAt > now().addingTimeInterval(margin)
    }
    guard let stored = try load() else { throw .notSignedIn }
    if usable(stored) { return stored }
    return try await FileLock.hold(lockPath) { () async throws(TokenStoreError) -> StoredTokens in
      guard let stored = try load() else { throw .notSignedIn }
      if usable(stored) { return stored }
      guard let refresh = stored.refresh else { throw .notRenewable }
      let answer: TokenResponse
      do throws(OAuthFailure) {
        answer = try await exchange(refresh)
      } catch {
        throw .renewalFailed(error)
      }
      let renewed = stored.renewed(with: answer, receivedAt: now())
      try save(renewed)
      return renewed
    }
  }

  /// Ties a sealed file to its place: one profile's tokens cannot be passed off as another's.
  private var purpose: [UInt8] { TokenStore.purpose(profile: profile, issuer: issuer) }

  private static func purpose(profile: String, issuer: String) -> [UInt8] {
    [UInt8]("cloudbridge tokens".utf8) + [0] + [UInt8](profile.utf8) + [0] + [UInt8](issuer.utf8)
  }

  private static func fileName(profile: String, issuer: String) -> String {
    let readable = profile.unicodeScalars.prefix(48).map { scalar -> Character in
      switch scalar {
      case "a"..."z", "A"..."Z", "0"..."9", "-", "_": Character(scalar)
      default: "_"
      }
    }
    let input = purpose(profile: profile, issuer: issuer)
    var hash = [UInt8](repeating: 0, count: 16)
    _ = crypto_generichash(&hash, hash.count, input, UInt64(input.count), nil, 0)
    return "\(String(readable))-\(Base64URL.encode(hash.prefix(9))).tokens"
  }

  private func readKey() throws(TokenStoreError) -> [UInt8]? {
    guard let key = try PrivateFile.read(keyPath, limit: SealedBox.keyLength) else { return nil }
    guard key.count == SealedBox.keyLength else { throw .corrupt(path: keyPath) }
    return key
  }

  private func readOrCreateKey() throws(TokenStoreError) -> [UInt8] {
    if let key = try readKey() { return key }
    var fresh = SealedBox.newKey()
    if try PrivateFile.create(keyPath, with: fresh) { return fresh }
    wipe(&fresh)
    guard let key = try readKey() else { throw .keyMissing(path: keyPath) }
    return key
  }
}
