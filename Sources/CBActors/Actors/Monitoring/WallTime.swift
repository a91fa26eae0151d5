import Glibc

/// The time since 1970.
struct WallTime {
  var seconds: Int
  var microseconds: UInt32
  var nanoseconds: Int64

  static var now: WallTime {
    var time = timespec()
    clock_gettime(CLOCK_REALTIME, &time)
    return WallTime(
      seconds: time.tv_sec, microseconds: UInt32(time.tv_nsec / 1_000),
      nanoseconds: Int64(time.tv_sec) * 1_000_000_000 + Int64(time.tv_nsec))
  }
}
