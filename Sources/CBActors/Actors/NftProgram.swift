import Dispatch
import Foundation
import Glibc

/// Runs nftables' program, on a thread that may wait.
struct NftProgram: Sendable {
  let path: String
  private let queue = DispatchQueue(label: "nft")
  /// One that takes longer is killed.
  private static let patience = 10.0

  init(path: String) { self.path = path }

  struct Failure: Error, CustomStringConvertible {
    let description: String
  }

  /// What it prints.
  ///
  /// - Throws: ``Failure`` with its own words, or why it cannot be run.
  func run(_ arguments: [String], input: String = "") async throws -> String {
    try await withCheckedThrowingContinuation { continuation in
      queue.async { continuation.resume(with: Result { try wait(arguments, input) }) }
    }
  }

  private func wait(_ arguments: [String], _ input: String) throws -> String {
    guard access(path, X_OK) == 0 else {
      let why = Self.text(errno)
      throw Failure(description: "\(path) cannot be run (\(why)): install nftables, or set bgp.flowspec.program")
    }
    // Files, and not pipes: neither end ever waits for the other.
    let files = try [0, 1, 2].map { _ in
      guard let file = tmpfile() else { throw Failure(description: "no temporary file: \(Self.text(errno))") }
      return file
    }
    defer { for file in files { fclose(file) } }
    let bytes = Array(input.utf8)
    guard fwrite(bytes, 1, bytes.count, files[0]) == bytes.count, fflush(files[0]) == 0 else {
      throw Failure(description: "no temporary file: \(Self.text(errno))")
    }
    rewind(files[0])
    let status = try wait(for: try spawn(arguments, files.map { fileno($0) }))
    let (output, errors) = (Self.contents(files[1]), Self.contents(files[2]))
    guard status == 0 else {
      throw Failure(description: errors.isEmpty ? "\(path) ended with status \(status)" : errors)
    }
    return output
  }

  private func spawn(_ arguments: [String], _ files: [Int32]) throws -> pid_t {
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    for (target, file) in files.enumerated() { posix_spawn_file_actions_adddup2(&actions, file, Int32(target)) }
    var attributes = posix_spawnattr_t()
    posix_spawnattr_init(&attributes)
    defer { posix_spawnattr_destroy(&attributes) }
    // This process blocks signals that the program is to heed.
    var none = sigset_t()
    sigemptyset(&none)
    posix_spawnattr_setsigmask(&attributes, &none)
    posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETSIGMASK))
    var words: [UnsafeMutablePointer<CChar>?] = ([path] + arguments).map { strdup($0) } + [nil]
    defer { for word in words { free(word) } }
    var environment: [UnsafeMutablePointer<CChar>?] = [nil]
    var child: pid_t = 0
    let code = posix_spawn(&child, path, &actions, &attributes, &words, &environment)
    guard code == 0 else { throw Failure(description: "\(path): \(Self.text(code))") }
    return child
  }

  private func wait(for child: pid_t) throws -> Int32 {
    let end = ProcessInfo.processInfo.systemUptime + Self.patience
    var status: Int32 = 0
    while true {
      switch waitpid(child, &status, WNOHANG) {
      case child: return status
      case 0: usleep(1_000)
      default: throw Failure(description: "\(path): \(Self.text(errno))")
      }
      guard ProcessInfo.processInfo.systemUptime > end else { continue }
      kill(child, SIGKILL)
      waitpid(child, &status, 0)
      throw Failure(description: "\(path) took longer than \(Int(Self.patience)) s")
    }
  }

  private static func contents(_ file: UnsafeMutablePointer<FILE>) -> String {
    let handle = FileHandle(fileDescriptor: fileno(file), closeOnDealloc: false)
    try? handle.seek(toOffset: 0)
    return String(decoding: (try? handle.readToEnd()) ?? Data(), as: UTF8.self)
  }

  private static func text(_ code: Int32) -> String { String(cString: strerror(code)) }
}
