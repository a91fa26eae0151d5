import PacketCrypto
import Wire

@testable import QUIC

/// A real handshake between two real connections, and then, in one end's place, somebody who says what an input says.
final class Attack {
  private static let seed: UInt64 = 1
  private static let start = Instant(nanoseconds: 1_000_000_000)
  private static let path = Path(
    local: SocketAddress("192.0.2.1:40000")!, remote: SocketAddress("198.51.100.1:443")!)
  private static let back = Path(local: path.remote, remote: path.local)
  private static let elsewhere = Path(local: path.remote, remote: SocketAddress("203.0.113.9:5000")!)

  private let victim: Victim
  private var forger: Forger
  private let victimPath: Path
  private var victimID: ConnectionID { victim.connection.localIDs.active.first?.id ?? routedID }
  private let routedID: ConnectionID
  private let ownID: ConnectionID

  init(on role: Role, _ setup: Setup, isAfterHandshake: Bool) {
    let client = Victim(
      QUIC.Connection(
        client: setup.configuration, tls: ScriptedTLS(.client, seed: Self.seed), path: Self.path, now: Self.start,
        entropy: SeededEntropy(seed: 2)),
      speaksHTTP: setup.speaksHTTP, now: Self.start)
    client.settle()
    let hello = client.takeSent()
    let header = hello.first.flatMap { datagram in
      datagram.withUnsafeBytes { try? PacketHeader($0, shortIDLength: 8) }
    }
    guard let header else { fatalError("a client that says nothing") }
    let server = Victim(
      QUIC.Connection(
        server: setup.configuration, tls: ScriptedTLS(.server, seed: Self.seed), path: Self.back,
        initial: InitialRequest(destinationID: header.destinationID, sourceID: header.sourceID), now: Self.start,
        entropy: SeededEntropy(seed: 3)),
      speaksHTTP: setup.speaksHTTP, now: Self.start)
    routedID = header.destinationID
    victim = role == .server ? server : client
    victimPath = role == .server ? Self.back : Self.path
    forger = Forger(role.peer, seed: Self.seed, originalDestination: header.destinationID)
    ownID = role == .server ? client.connection.localIDs.first : server.connection.localIDs.first
    guard isAfterHandshake else { return }

    var toServer = hello
    for _ in 0..<20 {
      for datagram in toServer { server.receive(datagram, path: Self.back, ecn: .notECT) }
      for datagram in server.takeSent() { client.receive(datagram, path: Self.path, ecn: .notECT) }
      toServer = client.takeSent()
      if toServer.isEmpty, client.connection.isHandshakeConfirmed { break }
      client.wait(.milliseconds(1))
      server.wait(.milliseconds(1))
    }
    precondition(client.connection.isHandshakeConfirmed && server.connection.isHandshakeConfirmed, "no handshake")
  }

  func run(_ input: inout Input) {
    var operations = 0
    while !input.isEmpty, operations < 200, !victim.connection.isDrained {
      operations += 1
      step(&input)
    }
    victim.end()
  }

  private func step(_ input: inout Input) {
    let operation = input.byte()
    let detail = operation >> 3
    switch operation & 7 {
    case 0, 1:
      let payload = input.bytes(Int(input.byte()) * (detail & 1 == 1 ? 5 : 1))
      if detail & 2 == 2 { forger.skip(UInt64(detail) << 4) }
      deliver(forger.oneRTTPacket(payload, to: victimID), ecn: detail & 4 == 0 ? .notECT : .ce)
    case 2: deliverLong(detail, &input)
    case 3:
      let datagram = [UInt8](input.bytes(Int(input.byte()) * (detail & 1 == 1 ? 5 : 1)))
      victim.receive(datagram, path: victimPath, ecn: .notECT)
    case 4: victim.wait(.microseconds(1 << Int64(min(detail, 27))))
    case 5: victim.act(detail, input.byte())
    case 6: deliverAcknowledgment(detail, input.byte())
    default:
      let payload = input.bytes(Int(input.byte()))
      guard let packet = forger.oneRTTPacket(payload, to: victimID) else { return }
      victim.receive(packet, path: detail & 1 == 0 ? Self.elsewhere : victimPath, ecn: .ect0)
    }
  }

  private func deliver(_ packet: [UInt8]?, ecn: ECN = .notECT) {
    if let packet { victim.receive(packet, path: victimPath, ecn: ecn) }
  }

  private func deliverLong(_ detail: UInt8, _ input: inout Input) {
    if detail & 3 == 3 {
      forger.updateKeys()
      return
    }
    let payload = input.bytes(Int(input.byte()) * (detail & 4 == 4 ? 4 : 1))
    let level = detail & 1 == 0 ? EncryptionLevel.initial : .handshake
    // A server's first Initial packet comes to the ID that the client made up.
    let destination = victim.connection.role == .server && detail & 2 == 0 ? routedID : victimID
    deliver(forger.longPacket(level, payload, to: destination, from: ownID))
  }

  /// What a peer would say that has received everything, or everything but some.
  private func deliverAcknowledgment(_ detail: UInt8, _ lowest: UInt8) {
    let index = detail & 1 == 0 ? 2 : Int(detail >> 1) % 3
    let next = victim.connection.spaces[index].nextPacketNumber
    guard next > 0 else { return }
    let largest = next - 1
    let smallest = min(largest, UInt64(lowest))
    var bytes = [UInt8](repeating: 0, count: 64)
    let count = bytes.withUnsafeMutableBytes { buffer in
      var writer = ByteWriter(buffer)
      writer.writeAck([smallest...largest], rawDelay: UInt64(detail))
      return writer.count
    }
    bytes.withUnsafeBytes { bytes in
      let payload = UnsafeRawBufferPointer(rebasing: bytes[..<count])
      switch index {
      case 0: deliver(forger.longPacket(.initial, payload, to: victimID, from: ownID))
      case 1: deliver(forger.longPacket(.handshake, payload, to: victimID, from: ownID))
      default: deliver(forger.oneRTTPacket(payload, to: victimID))
      }
    }
  }
}
