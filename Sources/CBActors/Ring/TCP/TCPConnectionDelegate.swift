/// What a ``TCPConnection`` tells its owner, on the ring's thread.
public protocol TCPConnectionDelegate: AnyObject {
  /// The connection that ``TCPConnection/connect(on:to:from:timeout:options:delegate:)`` began is there.
  func tcpConnectionEstablished(_ connection: TCPConnection)

  /// Bytes have come. Returns how many were taken: if not all, the rest is kept, reading pauses, and
  /// ``TCPConnection/resumeReading()`` hands the rest over again. `bytes` is valid during the call.
  func tcpConnection(_ connection: TCPConnection, received bytes: UnsafeRawBufferPointer) -> Int

  /// The peer sent FIN: nothing more will come. Writing may go on.
  func tcpConnectionReceivedEnd(_ connection: TCPConnection)

  /// A write fell short, and half of the queue is free again.
  func tcpConnectionWritable(_ connection: TCPConnection)

  /// The connection failed and is closed; nothing follows. Not called for ``TCPConnection/close()``.
  func tcpConnection(_ connection: TCPConnection, failed error: RingError)
}

extension TCPConnectionDelegate {
  public func tcpConnectionEstablished(_ connection: TCPConnection) {}
  public func tcpConnectionWritable(_ connection: TCPConnection) {}
}
