import Glibc

/// An exclusive lock that processes, and tasks of one process, take turns at (`flock`).
///
/// The kernel lets go of it when its holder ends, however it ends. Waiting polls instead of blocking,
/// so that no thread of the task pool is held.
enum FileLock {
  /// Runs `body` alone.
  ///
  /// - Parameter patience: how long to wait before ``TokenStoreError/busy(path:)``.
  static func hold<Result>(
    _ path: String, patience: Duration = .seconds(45),
    _ body: () async throws(TokenStoreError) -> Result
  ) async throws(TokenStoreError) -> Result {
    let descriptor = try PrivateFile.openLock(path)
    defer { close(descriptor) }
    let deadline = ContinuousClock.now + patience
    var pause = Duration.milliseconds(5)
    while flock(descriptor, LOCK_EX | LOCK_NB) != 0 {
      guard errno == EWOULDBLOCK || errno == EINTR else {
        throw .system(operation: "flock", path: path, code: errno)
      }
      guard ContinuousClock.now < deadline else { throw .busy(path: path) }
      do {
        try await Task.sleep(for: pause)
      } catch {
        throw .cancelled
      }
      pause = min(pause * 2, .milliseconds(200))
    }
    return try await body()
  }
}
