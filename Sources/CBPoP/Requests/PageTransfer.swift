import CBActors
import HTTP3
import QUIC
import Ring

/// The content of one page on its way to a client, as fast as its stream takes it.
actor PageTransfer {
  nonisolated let ring: RingExecutor
  nonisolated var unownedExecutor: UnownedSerialExecutor { ring.asUnownedSerialExecutor() }

  private let session: HTTP3Session
  private let stream: StreamID
  private var body: ArraySlice<UInt8>
  /// Told of each piece that went on its way.
  private let onProgress: @Sendable () -> Void

  init(_ body: [UInt8], on stream: StreamID, of session: HTTP3Session, onProgress: @escaping @Sendable () -> Void) {
    ring = session.ring
    self.session = session
    self.stream = stream
    self.body = body[...]
    self.onProgress = onProgress
  }

  /// Sends what there is room for; the stream says when there is more.
  func proceed() {
    guard !body.isEmpty else { return }
    let taken = body.withUnsafeBytes { bytes in
      let bytes = RingBound(bytes)
      return session.assumeIsolated { $0.send(bytes.value, finish: true, on: stream) }
    }
    body = body.dropFirst(taken)
    if taken > 0 { onProgress() }
  }

  private func stop() { body = [] }
}

extension PageTransfer: RequestStreamHandler {
  nonisolated func receive(fields: HeaderList, finished: Bool) {}
  /// Content of a GET means nothing (RFC 9110 §9.3.1).
  nonisolated func receive(data: UnsafeRawBufferPointer) -> Int { data.count }
  nonisolated func receiveEnd() {}
  nonisolated func writable() { assumeIsolated { $0.proceed() } }
  nonisolated func peerStoppedReading(code: UInt64) { assumeIsolated { $0.stop() } }
  nonisolated func ended(_ reason: RequestStreamEnd) { assumeIsolated { $0.stop() } }
}
