import CLinux
import Glibc

/// What went wrong below a ring: the operation, the system's error number, and what can be done.
public struct RingError: Error, Hashable, Sendable {
  public enum Code: Hashable, Sendable {
    /// io_uring is missing, disabled or forbidden here; ``RingError/description`` says which.
    case unavailable
    /// The kernel has io_uring but is too old for an operation that is needed.
    case unsupportedByKernel
    /// A system call failed; ``RingError/errno`` says how.
    case system
    /// The time given has passed.
    case timedOut
    /// The socket or the ring was closed first.
    case closed
  }

  public let code: Code
  /// What was being done, in the words of the man page: `bind`, `connect`, `recvmsg`.
  public let operation: String
  /// The system's error number, or 0 where none applies.
  public let errno: Int32

  /// Another socket has the address.
  public var isAddressInUse: Bool { errno == EADDRINUSE }

  init(_ code: Code, _ operation: String, errno: Int32 = 0) {
    self.code = code
    self.operation = operation
    self.errno = errno
  }

  /// From a negative errno, as the kernel and the C shims return it.
  static func system(_ operation: String, _ result: Int32) -> RingError {
    RingError(result == -ETIMEDOUT ? .timedOut : .system, operation, errno: 0 &- result)
  }

  static func closed(_ operation: String) -> RingError { RingError(.closed, operation) }

  /// From the result of `io_uring_setup`: which of its refusals this is.
  static func setup(_ result: Int32) -> RingError {
    let code: Code =
      switch 0 &- result {
      case ENOSYS, EPERM, EACCES: .unavailable
      case EINVAL: .unsupportedByKernel
      default: .system
      }
    return RingError(code, "io_uring_setup", errno: 0 &- result)
  }
}

extension RingError: CustomStringConvertible {
  public var description: String {
    let reason = errno == 0 ? "" : ": \(String(cString: strerror(errno))) (errno \(errno))"
    return switch code {
    case .timedOut: "\(operation): timed out"
    case .closed: "\(operation): closed"
    case .system where operation == "io_uring_setup" && errno == ENOMEM:
      "\(operation)\(reason): no memory for the ring; before Linux 5.12 it counts against RLIMIT_MEMLOCK"
    case .system: "\(operation)\(reason)"
    case .unsupportedByKernel where operation == "TCP_AO_ADD_KEY":
      "\(operation)\(reason): Linux \(KernelRelease.current) has no TCP Authentication Option (RFC 5925); it needs 6.7 with "
        + "CONFIG_TCP_AO"
    case .unsupportedByKernel:
      "\(operation)\(reason): Linux \(KernelRelease.current) lacks what is needed; 6.0 has it all"
    case .unavailable: "\(operation)\(reason) on Linux \(KernelRelease.current): \(refusal)"
    }
  }

  private var refusal: String {
    if errno == ENOSYS { return "the kernel was built without io_uring, or a sandbox hides it" }
    return switch KernelRelease.ioUringDisabled {
    case 2: "io_uring is off for everyone: /proc/sys/kernel/io_uring_disabled is 2"
    case 1:
      "io_uring is off for this user: /proc/sys/kernel/io_uring_disabled is 1; "
        + "CAP_SYS_ADMIN or the group in io_uring_group is needed"
    default: "a seccomp filter or security module forbids it"
    }
  }
}

/// What the running kernel says of itself.
enum KernelRelease {
  /// Such as `6.1.0-18-amd64`.
  static var current: String {
    var names = utsname()
    guard uname(&names) == 0 else { return "of unknown release" }
    return withUnsafeBytes(of: &names.release) { bytes in
      String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
    }
  }

  /// The sysctl `kernel.io_uring_disabled` of Linux 6.6: 0, 1 or 2; nil where there is none.
  static var ioUringDisabled: Int? {
    let file = open("/proc/sys/kernel/io_uring_disabled", O_RDONLY | O_CLOEXEC)
    guard file >= 0 else { return nil }
    defer { close(file) }
    var digit: UInt8 = 0
    guard read(file, &digit, 1) == 1, digit >= 48, digit < 58 else { return nil }
    return Int(digit) - 48
  }
}
