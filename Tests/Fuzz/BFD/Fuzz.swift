import BFD
import FuzzDriver
import Wire

@main enum FuzzBFD {
  static func main() { runFuzzer(["bfd": fuzzBFD]) }
}

private let peer = SessionTable.Peer(local: .v4(.loopback), remote: .v4(.loopback))

/// Packets of 24 octets and a rest, each for one session: what is taken reads back the same, the session goes on, and ends
/// its waiting when nothing more comes.
@Sendable func fuzzBFD(_ bytes: UnsafeRawBufferPointer) {
  var now = Instant.zero
  var table = SessionTable(entropy: SeededEntropy(seed: 1))
  let discriminator = table.add(peer, Session.Configuration(), now: now)
  var rest = bytes[...]
  while !rest.isEmpty {
    let packet = rest.prefix(ControlPacket.length)
    rest = rest.dropFirst(packet.count)
    var octets = Array(packet)
    octets.withUnsafeBytes { octets in
      if let read = try? ControlPacket(octets), !read.hasAuthentication {
        var again = [UInt8](repeating: 0, count: ControlPacket.length)
        again.withUnsafeMutableBytes { buffer in
          var writer = ByteWriter(buffer)
          read.write(to: &writer)
        }
        let second = again.withUnsafeBytes { try? ControlPacket($0) }
        precondition(second == read, "what was written reads back as another")
      }
    }
    // To the session itself, where the packet has room for its number.
    if octets.count == ControlPacket.length, octets[8] & 1 == 1 {
      octets.replaceSubrange(8..<12, with: withUnsafeBytes(of: discriminator.bigEndian) { Array($0) })
    }
    octets.withUnsafeBytes { _ = table.receive($0, peer, hopLimit: 255, now: now) }
    for _ in 0..<8 { if table[discriminator]?.nextTransmission(now: now) == nil { break } }
    while table[discriminator]?.nextEvent() != nil {}
    now = now + .milliseconds(Int64(octets.first ?? 0))
    table[discriminator]?.handleTimeout(now: now)
  }
  // 255 intervals of 2^32 microseconds are 12.7 days.
  now = now + .seconds(13 * 86_400)
  table[discriminator]?.handleTimeout(now: now)
  precondition(table[discriminator]?.state != .up, "up, though nothing has come for days")
}
