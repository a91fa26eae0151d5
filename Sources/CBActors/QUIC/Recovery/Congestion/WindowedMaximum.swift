/// The largest sample of a window that slides over some count, such as of round trips.
///
/// Kathleen Nichols' way: the best sample, the best since that one, and the best since that, so that when the first
/// grows too old the next is at hand.
struct WindowedMaximum: Sendable {
  private var first = (value: 0.0, time: UInt64(0))
  private var second = (value: 0.0, time: UInt64(0))
  private var third = (value: 0.0, time: UInt64(0))

  var value: Double { first.value }

  /// Takes in a sample of `time`, which never falls; what is more than `window` older is forgotten.
  mutating func update(_ value: Double, time: UInt64, window: UInt64) {
    let sample = (value: value, time: time)
    if value >= first.value || time - third.time > window {
      first = sample
      second = sample
      third = sample
      return
    }
    if value >= second.value {
      second = sample
      third = sample
    } else if value >= third.value {
      third = sample
    }
    // The newest sample is inside the window, so at most two are too old.
    for _ in 0..<2 where time - first.time > window {
      first = second
      second = third
      third = sample
    }
    // A runner-up as old as the best would go with it: a later one is worth more, though it is less.
    if second.time == first.time, time - second.time > window / 4 {
      second = sample
      third = sample
    } else if third.time == second.time, time - third.time > window / 2 {
      third = sample
    }
  }
}
