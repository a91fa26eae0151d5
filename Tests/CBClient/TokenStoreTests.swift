import FoundationEssentials
import Glibc
import Identity
import Synchronization
import Testing

@testable import CBClient

/// A directory of the test's own, removed when the test ends.
private final class Scratch {
  let path: String

  init() throws {
    var template = Array("/tmp/cloudbridge-store-XXXXXX".utf8CString)
    guard mkdtemp(&template) != nil else { throw Gone() }
    path = template.withUnsafeBufferPointer { String(cString: $0.baseAddress!) }
  }

  struct Gone: Error {}

  deinit { try? FileManager.default.removeItem(atPath: path) }

  func store(_ profile: String = "local", issuer: String = "https://i.example") throws -> TokenStore {
    try TokenStore(profile: profile, issuer: issuer, directory: path + "/state/cloudbridge")
  }
}

private let now = Date(timeIntervalSince1970: 1_800_000_000)

private func tokens(_ access: String = "access-1", expiresIn: Double = 3600) -> StoredTokens {
  StoredTokens(
    access: Secret(access), refresh: Secret("refresh-1"), idToken: Secret("id-1"),
    expiresAt: now.addingTimeInterval(expiresIn), issuer: "https://i.example", subject: "7", name: "Zoë")
}

private func mode(_ path: String) -> Int {
  let attributes = try? FileManager.default.attributesOfItem(atPath: path)
  return attributes?[.posixPermissions] as? Int ?? 0
}

private func contents(_ path: String) throws -> [UInt8] { [UInt8](try Data(contentsOf: URL(fileURLWithPath: path))) }

@Suite struct TokenStoreTests {
  @Test func keepsAndForgets() throws {
    let scratch = try Scratch()
    let store = try scratch.store()
    #expect(try store.load() == nil)
    try store.save(tokens())
    #expect(try store.load() == tokens())
    try store.save(tokens("access-2"))
    #expect(try store.load()?.access == Secret("access-2"))
    #expect(try store.remove())
    #expect(try !store.remove())
    #expect(try store.load() == nil)
  }

  @Test func filesArePrivateAndSealed() throws {
    let scratch = try Scratch()
    let store = try scratch.store()
    try store.save(tokens())
    #expect(mode(store.path) == 0o600)
    #expect(mode(scratch.path + "/state/cloudbridge/token.key") == 0o600)
    #expect(mode(scratch.path + "/state/cloudbridge") == 0o700)
    let text = String(decoding: try contents(store.path), as: UTF8.self)
    for word in ["access-1", "refresh-1", "i.example"] { #expect(!text.contains(word)) }
    // No temporary file is left.
    let names = try FileManager.default.contentsOfDirectory(atPath: scratch.path + "/state/cloudbridge")
    #expect(names.count == 2)
  }

  @Test func profilesAndIssuersAreApart() throws {
    let scratch = try Scratch()
    let one = try scratch.store("a")
    let two = try scratch.store("b")
    let three = try scratch.store("a", issuer: "https://j.example")
    let hostile = try scratch.store("../../etc/passwd")
    #expect(Set([one.path, two.path, three.path, hostile.path]).count == 4)
    #expect(hostile.path.hasPrefix(scratch.path + "/state/cloudbridge/______etc_passwd-"))
    try one.save(tokens())
    #expect(try two.load() == nil)
    // One profile's file in another's place does not open.
    #expect(rename(one.path, two.path) == 0)
    #expect(throws: TokenStoreError.corrupt(path: two.path)) { try two.load() }
  }

  @Test func everyChangedByteIsNoticed() throws {
    let scratch = try Scratch()
    let store = try scratch.store()
    try store.save(tokens())
    let sealed = try contents(store.path)
    for index in sealed.indices {
      var changed = sealed
      changed[index] ^= 1
      try PrivateFile.replace(store.path, with: changed)
      #expect(throws: TokenStoreError.corrupt(path: store.path)) { try store.load() }
    }
    for count in [0, 1, 45, sealed.count - 1] {
      try PrivateFile.replace(store.path, with: Array(sealed.prefix(count)))
      #expect(throws: TokenStoreError.corrupt(path: store.path)) { try store.load() }
    }
    let error = TokenStoreError.corrupt(path: store.path)
    #expect(error.description.contains(store.path) && error.hint?.contains("sign in again") == true)
    // Signing in again heals it.
    try store.save(tokens())
    #expect(try store.load() == tokens())
  }

  @Test func looseModesAreRefusedWithTheRemedy() throws {
    let scratch = try Scratch()
    let store = try scratch.store()
    try store.save(tokens())
    let directory = scratch.path + "/state/cloudbridge"
    for path in [store.path, directory + "/token.key"] {
      chmod(path, 0o640)
      let expected = TokenStoreError.permissions(path: path, mode: 0o640, wanted: 0o600)
      #expect(throws: expected) { try store.load() }
      #expect(expected.hint == "chmod 600 '\(path)'")
      chmod(path, 0o600)
    }
    chmod(directory, 0o755)
    #expect(throws: TokenStoreError.permissions(path: directory, mode: 0o755, wanted: 0o700)) {
      try store.save(tokens())
    }
    chmod(directory, 0o700)
    #expect(try store.load() == tokens())
  }

  @Test func linksAreNotFollowed() throws {
    let scratch = try Scratch()
    let store = try scratch.store()
    try store.save(tokens())
    #expect(rename(store.path, store.path + ".elsewhere") == 0)
    #expect(symlink(store.path + ".elsewhere", store.path) == 0)
    #expect(throws: TokenStoreError.notARegularFile(path: store.path)) { try store.load() }
  }

  @Test func aLostKeyIsSaidSo() throws {
    let scratch = try Scratch()
    let store = try scratch.store()
    try store.save(tokens())
    let key = scratch.path + "/state/cloudbridge/token.key"
    unlink(key)
    #expect(throws: TokenStoreError.keyMissing(path: key)) { try store.load() }
    try store.save(tokens())
    #expect(try store.load() == tokens())
  }

  @Test func whereItLies() throws {
    #expect(try TokenStore.defaultDirectory { ["XDG_STATE_HOME": "/s", "HOME": "/h"][$0] } == "/s/cloudbridge")
    #expect(
      try TokenStore.defaultDirectory { ["XDG_STATE_HOME": "relative", "HOME": "/h"][$0] }
        == "/h/.local/state/cloudbridge")
    #expect(throws: TokenStoreError.noStateDirectory) { try TokenStore.defaultDirectory { _ in nil } }
  }
}

@Suite struct TokenRenewalTests {
  /// Counts exchanges, and answers with a new pair.
  private final class Exchange: Sendable {
    let count = Atomic<Int>(0)

    func callAsFunction(_ refresh: Secret) async throws(OAuthFailure) -> TokenResponse {
      let serial = count.add(1, ordering: .relaxed).newValue
      for _ in 0..<50 { await Task.yield() }
      return TokenResponse(
        accessToken: Secret("renewed-\(serial)"), refreshToken: Secret("\(refresh.exposed)+"), expiresIn: 3600)
    }
  }

  @Test func aFreshTokenIsNotRenewed() async throws {
    let scratch = try Scratch()
    let store = try scratch.store()
    let exchange = Exchange()
    await #expect(throws: TokenStoreError.notSignedIn) {
      try await store.current(now: { now }) { refresh async throws(OAuthFailure) in try await exchange(refresh) }
    }
    try store.save(tokens(expiresIn: 61))
    let current = try await store.current(now: { now }) { refresh async throws(OAuthFailure) in
      try await exchange(refresh)
    }
    #expect(current == tokens(expiresIn: 61))
    #expect(exchange.count.load(ordering: .relaxed) == 0)
  }

  @Test func manyWhoNeedItRenewOnce() async throws {
    let scratch = try Scratch()
    let store = try scratch.store()
    try store.save(tokens(expiresIn: 30))
    let exchange = Exchange()
    try await withThrowingTaskGroup(of: StoredTokens.self) { group in
      for _ in 0..<16 {
        group.addTask {
          try await store.current(now: { now }) { refresh async throws(OAuthFailure) in try await exchange(refresh) }
        }
      }
      for try await current in group {
        #expect(current.access == Secret("renewed-1") && current.refresh == Secret("refresh-1+"))
        #expect(current.subject == "7" && current.name == "Zoë" && current.idToken == Secret("id-1"))
      }
    }
    #expect(exchange.count.load(ordering: .relaxed) == 1)
    #expect(try store.load()?.access == Secret("renewed-1"))
  }

  @Test func aRejectedTokenIsReplacedBeforeItsEnd() async throws {
    let scratch = try Scratch()
    let store = try scratch.store()
    try store.save(tokens())
    let exchange = Exchange()
    for _ in 0..<2 {
      let current = try await store.current(rejected: Secret("access-1"), now: { now }) {
        refresh async throws(OAuthFailure) in try await exchange(refresh)
      }
      #expect(current.access == Secret("renewed-1"))
    }
    #expect(exchange.count.load(ordering: .relaxed) == 1)
  }

  @Test func aFailedRenewalKeepsWhatIsStored() async throws {
    let scratch = try Scratch()
    let store = try scratch.store()
    try store.save(tokens(expiresIn: -5))
    let gone = OAuthFailure.refused(OAuthError(code: "invalid_grant"))
    await #expect(throws: TokenStoreError.renewalFailed(gone)) {
      try await store.current(now: { now }) { _ async throws(OAuthFailure) in throw gone }
    }
    #expect(try store.load() == tokens(expiresIn: -5))
    #expect(TokenStoreError.renewalFailed(gone).hint == "sign in again")
    var single = tokens(expiresIn: -5)
    single.refresh = nil
    try store.save(single)
    await #expect(throws: TokenStoreError.notRenewable) {
      try await store.current(now: { now }) { _ async throws(OAuthFailure) in throw gone }
    }
  }

  /// Another process, as the kernel sees it, holds the lock: it is waited for, and not for ever.
  @Test func anotherProcessHoldsTheLock() async throws {
    let scratch = try Scratch()
    let store = try scratch.store()
    try store.save(tokens(expiresIn: 30))
    let lock = store.path + ".lock"
    let holder = try Process.holdingLock(lock)
    await #expect(throws: TokenStoreError.busy(path: lock)) {
      try await FileLock.hold(lock, patience: .milliseconds(20)) { () async throws(TokenStoreError) in }
    }
    let exchange = Exchange()
    async let current = store.current(now: { now }) { refresh async throws(OAuthFailure) in try await exchange(refresh)
    }
    // The other process renews, and ends without letting go by itself.
    try store.save(tokens("theirs"))
    holder.end()
    #expect(try await current.access == Secret("theirs"))
    #expect(exchange.count.load(ordering: .relaxed) == 0)
  }
}

/// A child that takes a lock and keeps it until it is ended.
private struct Process {
  let id: pid_t

  static func holdingLock(_ path: String) throws -> Process {
    var ends: [Int32] = [0, 0]
    guard pipe(&ends) == 0 else { throw Scratch.Gone() }
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    posix_spawn_file_actions_adddup2(&actions, ends[1], 1)
    posix_spawn_file_actions_addclose(&actions, ends[0])
    // exec: the lock's descriptor passes to sleep, so that ending the child ends the lock.
    let script = "exec 9>>\"$1\"; flock 9 && echo held && exec sleep 600"
    let words: [String] = ["sh", "-c", script, "sh", path]
    var arguments: [UnsafeMutablePointer<CChar>?] = words.map { word in strdup(word) }
    arguments.append(nil)
    defer { for argument in arguments { free(argument) } }
    var id: pid_t = 0
    guard posix_spawn(&id, "/bin/sh", &actions, nil, &arguments, environ) == 0 else { throw Scratch.Gone() }
    close(ends[1])
    var byte: UInt8 = 0
    // Blocks until the child says that it holds the lock.
    let count = read(ends[0], &byte, 1)
    close(ends[0])
    let holder = Process(id: id)
    guard count == 1 else {
      holder.end()
      throw Scratch.Gone()
    }
    return holder
  }

  func end() {
    kill(id, SIGKILL)
    var status: Int32 = 0
    waitpid(id, &status, 0)
  }
}
