import Foundation

/// Signals taken by a thread of their own, where any call is allowed.
enum Signals {
  private static let watched = [SIGINT, SIGTERM, SIGHUP, SIGWINCH, SIGTSTP]

  /// To be called before any other thread is made: threads inherit the mask.
  ///
  /// - Parameter isInteractive: a session stops and resizes by itself; a single command does as all programs do.
  static func block(isInteractive: Bool) {
    signal(SIGPIPE, SIG_IGN)
    var set = Self.set(isInteractive: isInteractive)
    pthread_sigmask(SIG_BLOCK, &set, nil)
  }

  static func watch(isInteractive: Bool, _ handler: @escaping @Sendable (Int32) -> Void) {
    let thread = Thread {
      var set = Self.set(isInteractive: isInteractive)
      while true {
        var number: Int32 = 0
        if sigwait(&set, &number) == 0 { handler(number) }
      }
    }
    thread.name = "signals"
    thread.start()
  }

  private static func set(isInteractive: Bool) -> sigset_t {
    var set = sigset_t()
    sigemptyset(&set)
    for number in watched where isInteractive || number == SIGINT || number == SIGTERM || number == SIGHUP {
      sigaddset(&set, number)
    }
    return set
  }
}
