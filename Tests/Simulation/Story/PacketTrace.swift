import QUIC
import Wire

/// What passed between two ends, a line for each datagram: for a seed that failed and is run again.
final class PacketTrace {
  private(set) var lines: [String] = []

  func sent(_ packets: [WireObserver.Packet], size: Int, by role: Role, on path: Path, now: Instant, arrivals: Int) {
    let fate = arrivals == 0 ? " lost" : arrivals > 1 ? " doubled" : ""
    let texts = packets.map { packet in
      "\(packet.level) \(packet.number)\(packet.keyPhase ? "'" : ""): "
        + packet.frames.map(\.description).joined(separator: "; ")
    }
    lines.append(
      "\(Self.time(now)) \(role == .client ? "client>" : "server>") \(size) to \(path.remote)\(fate)  "
        + texts.joined(separator: " | "))
  }

  func note(_ text: String, now: Instant) { lines.append("\(Self.time(now)) \(text)") }

  private static func time(_ now: Instant) -> String { "\(Double(now.nanoseconds / 1000) / 1000)" }
}
