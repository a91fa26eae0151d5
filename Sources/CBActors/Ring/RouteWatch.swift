import CLinux
import Glibc
public import Wire

/// Says when the machine's links, addresses or routes may have changed, as when it leaves one network for another.
///
/// It says that, and not what: the actor `NetworkWatch` knows which links and addresses there are.
/// Of the ring's thread only. Where the kernel gives no word of changes, it says so every now and then.
public final class RouteWatch {
  public let ring: RingExecutor
  private let handler: (_ isSettled: Bool) -> Void
  private let descriptor: Int32
  private var source: ReadinessSource?
  private var timer: RingTimer?
  /// When the bunch of changes under way counts as over at the latest.
  private var limit: Instant?

  /// Changes come in bunches: an address goes, its routes go, others come.
  private static let settling = Interval.milliseconds(50)
  /// How long a bunch may be at most.
  private static let patience = Interval.milliseconds(250)
  private static let pollInterval = Interval.seconds(2)

  /// `handler` runs on the ring's thread: at each change, and, with true, a little after the last of a bunch.
  public init(on ring: RingExecutor, handler: @escaping (_ isSettled: Bool) -> Void) throws(RingError) {
    ring.preconditionIsCurrent()
    self.ring = ring
    self.handler = handler
    descriptor = cb_route_watch()
    timer = RingTimer(on: ring) { [weak self] in
      guard let self else { return }
      limit = nil
      if source == nil { timer?.schedule(at: ring.refreshNow() + Self.pollInterval) }
      handler(true)
    }
    guard descriptor >= 0 else {
      timer?.schedule(at: ring.refreshNow() + Self.pollInterval)
      return
    }
    do throws(RingError) {
      source = try ReadinessSource(on: ring, descriptor: descriptor) { [weak self] in self?.changed() }
    } catch {
      Glibc.close(descriptor)
      throw error
    }
  }

  private func changed() {
    cb_route_drain(descriptor)
    let latest = limit ?? ring.now + Self.patience
    limit = latest
    timer?.schedule(at: min(ring.now + Self.settling, latest))
    handler(false)
  }

  /// Must be called before the watch is let go.
  public func close() {
    ring.preconditionIsCurrent()
    timer?.cancel()
    timer = nil
    guard let source else { return }
    self.source = nil
    source.close()
    Glibc.close(descriptor)
  }

  /// The address that a packet to `remote` would leave from now; nil when there is no route. From any thread.
  public static func source(towards remote: SocketAddress) -> IPAddress? {
    var (to, from) = (cb_endpoint(remote), cb_endpoint())
    return cb_route_source(&to, &from) == 0 ? from.ip : nil
  }

  /// The interface that has `address` and can carry packets, by its index; nil when none has. From any thread.
  public static func interface(of address: IPAddress) -> UInt32? {
    var endpoint = cb_endpoint(address)
    let index = cb_route_interface(&endpoint)
    return index == 0 ? nil : index
  }
}
