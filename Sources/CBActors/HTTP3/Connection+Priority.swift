public import QUIC
internal import Wire

// Extensible priorities (RFC 9218).
extension Connection {
  /// Tells the server how urgent the response to a request is, in place of what the request said (RFC 9218 §7).
  public mutating func updatePriority<T: StreamTransport & ~Copyable>(
    _ id: StreamID, _ parameters: PriorityParameters, on transport: inout T
  ) {
    guard state == .open, role == .client, streams[id] != nil else { return }
    var payload: [UInt8] = []
    payload.appendVarint(id.rawValue)
    payload += Array(parameters.fieldValue.utf8)
    var frame: [UInt8] = []
    frame.appendVarint(FrameType.priorityUpdateRequest.rawValue)
    frame.appendVarint(UInt64(payload.count))
    // Advice that finds no room is not worth waiting for.
    if outbound.enqueue(frame + payload) { outbound.flush(.control, on: &transport) }
  }

  /// Puts the PRIORITY_UPDATE frames of the control stream into effect.
  mutating func applyPriorityUpdates<T: StreamTransport & ~Copyable>(on transport: inout T) {
    guard !inbound.control.priorityUpdates.isEmpty else { return }
    let updates = inbound.control.priorityUpdates
    inbound.control.priorityUpdates = []
    for (id, parameters) in updates {
      if let index = streams.index(forKey: id) {
        streams.values[index].priorityUpdate = parameters
        applyPriority(id, on: &transport)
      } else if id.rawValue >= nextRequestStream, priorityUpdates.count < Self.maximumPriorityUpdates {
        // It has overtaken its request.
        priorityUpdates[id] = parameters
      }
    }
  }

  /// Updates kept for requests that have not come.
  private static var maximumPriorityUpdates: Int { 100 }

  /// Takes the request's own words, and what had overtaken it.
  mutating func beginPriority<T: StreamTransport & ~Copyable>(
    _ id: StreamID, _ request: HeaderList, on transport: inout T
  ) {
    guard let index = streams.index(forKey: id) else { return }
    streams.values[index].requestPriority = PriorityParameters(request) ?? PriorityParameters()
    if let update = priorityUpdates.removeValue(forKey: id) { streams.values[index].priorityUpdate = update }
    applyPriority(id, on: &transport)
  }

  /// Tells the transport what all signals come to: the response's own, which may know better (RFC 9218 §8), then the
  /// client's last word, then what is assumed.
  mutating func applyPriority<T: StreamTransport & ~Copyable>(_ id: StreamID, on transport: inout T) {
    guard let index = streams.index(forKey: id) else { return }
    let stream = streams.values[index]
    let client = stream.priorityUpdate ?? stream.requestPriority
    let merged = stream.responsePriority.completed(by: client).completed(by: .assumed)
    // Tunnels have no end to wait for, so one must not wait for another.
    let isIncremental = stream.kind.isConnect || merged.incremental ?? false
    transport.setPriority(id, StreamPriority(urgency: merged.urgency ?? 3, isIncremental: isIncremental))
  }
}
