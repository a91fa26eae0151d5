import Synchronization

/// The command that runs, for the thread that hears Ctrl-C.
final class RunningCommand: Sendable {
  private let state = Mutex<(task: Task<Int32, Never>?, requests: Int)>((nil, 0))

  /// Runs a body as a task that ``cancel()`` reaches.
  func run(_ body: @escaping @Sendable () async -> Int32) async -> Int32 {
    let task = Task { await body() }
    state.withLock { $0 = (task, 0) }
    let code = await task.value
    state.withLock { $0 = (nil, 0) }
    return code
  }

  /// Cancels the command.
  ///
  /// - Returns: how often that was asked for by now; 0 where nothing runs.
  func cancel() -> Int {
    state.withLock { state in
      guard let task = state.task else { return 0 }
      task.cancel()
      state.requests += 1
      return state.requests
    }
  }
}
