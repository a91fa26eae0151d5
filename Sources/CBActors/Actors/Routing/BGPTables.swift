import BGP
import Ring
import Wire

/// The routing tables that all sessions of a speaker share, on the one ring that all of them run on.
///
/// A session takes its updates into them without a hop. What changes is told to the peers once for all that a batch of
/// completions brought.
final class BGPTables: BatchEndObserver {
  var rib: RIB
  private let ring: RingExecutor
  /// Called at the end of a batch in which something may have changed.
  var onChange: (() -> Void)?
  private var isAsked = false
  private var timer: RingTimer?

  init(_ rib: consuming RIB, on ring: RingExecutor) {
    self.rib = rib
    self.ring = ring
  }

  func changed() {
    guard !isAsked else { return }
    isAsked = true
    ring.atBatchEnd(self)
  }

  /// Destinations that are judged anew in one batch, before sessions have their turn again.
  private static let reviewedPerBatch = 1_024

  func batchEnded() {
    isAsked = false
    rib.review(limit: Self.reviewedPerBatch)
    if rib.hasReviews { changed() }
    onChange?()
    schedule()
  }

  // MARK: Time

  /// Routes that wait for a neighbor to be back wait only so long.
  private func schedule() {
    let deadline = rib.deadline
    guard timer != nil || deadline != .distantFuture else { return }
    if timer == nil {
      timer = RingTimer(on: ring) { [weak self] in
        guard let self else { return }
        rib.handleTimeout(now: ring.now)
        changed()
      }
    }
    timer?.schedule(at: deadline)
  }
}
