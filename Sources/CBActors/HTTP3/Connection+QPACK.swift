internal import QUIC
internal import Wire

// What the dynamic tables ask of a connection (RFC 9204 §2.2.2, §4.2).
extension Connection {
  /// Reads on in the streams that the peer's insertions have set free, and tells the peer of those insertions.
  mutating func resumeUnblocked<T: StreamTransport & ~Copyable>(on transport: inout T) {
    while state == .open, let id = decoder.nextUnblocked() { requestReadable(id, on: &transport) }
    decoder.acknowledgeInsertions()
  }

  /// Sends what the peer's encoder is to be told.
  mutating func sendDecoderInstructions<T: StreamTransport & ~Copyable>(on transport: inout T) {
    guard !decoder.unsent.isEmpty, state == .open else { return }
    guard outbound.enqueue(decoder.unsent, on: .decoder) else {
      // A peer that reads no acknowledgments, but goes on to ask for them, would have us keep them all.
      return fail(ConnectionError(.excessiveLoad, "the decoder stream is not read"), on: &transport)
    }
    decoder.unsent.removeAll(keepingCapacity: true)
    outbound.flush(.decoder, on: &transport)
  }
}
