import CMemory
import Glibc
import QUIC
import QUICTLS
import Wire

/// Handshakes a second on one core, and memory of idle connections: `quicbench handshakes [N]`, `quicbench memory [N]`.
@main enum Benchmarks {
  static func main() throws {
    let arguments = CommandLine.arguments
    let count = arguments.count > 2 ? Int(arguments[2]) ?? 0 : 0
    switch arguments.dropFirst().first {
    case "handshakes": try handshakes(count > 0 ? count : 3_000)
    case "memory": try memory(count > 0 ? count : 1_000)
    default:
      print("usage: quicbench handshakes [N] | memory [N]")
      exit(64)
    }
  }

  // MARK: Handshakes

  /// CPU-seconds of both ends, from the first packet until both have confirmed the handshake.
  static func handshakes(_ count: Int) throws {
    print("| handshake | server only, 1/s | client only, 1/s | both on one core, 1/s |\n|---|---|---|---|")
    for onlyX25519 in [false, true] {
      let contexts = try Contexts(onlyX25519: onlyX25519)
      let group = onlyX25519 ? "X25519" : "X25519MLKEM768"
      for isResumed in [false, true] {
        var client = 0.0
        var server = 0.0
        var acquainted = try contexts.client()
        if isResumed {
          let first = try Joint(contexts, client: acquainted, seed: 1)
          first.connect()
          first.settle()
        }
        for round in 0..<count {
          if !isResumed { acquainted = try contexts.client() }
          let joint = try Joint(contexts, client: acquainted, seed: UInt64(round))
          joint.connect()
          client += joint.client.spent
          server += joint.server!.spent
          guard joint.server!.connection.isResumed == isResumed else { fatalError("resumed or not: not as meant") }
          // The next one needs the ticket that comes after the handshake.
          while isResumed, joint.exchange() {}
        }
        let rounds = Double(count)
        print(
          "| \(isResumed ? "0-RTT" : "full"), \(group) | \(Int(rounds / server)) | \(Int(rounds / client))"
            + " | \(Int(rounds / (server + client))) |")
      }
    }
  }

  // MARK: Memory

  static func memory(_ count: Int) throws {
    let contexts = try Contexts(onlyX25519: false)
    let tls = try tlsBytes(contexts, count)
    print("| \(count) server connections | live bytes each | beyond TLS |\n|---|---|---|")
    print("| TLS session alone | \(tls) | |")
    for (name, bytes) in [("idle after the handshake", 0), ("idle after 1 MB each way", 1 << 20)] {
      let clientContext = try contexts.client()
      var kept: [End] = []
      kept.reserveCapacity(count)
      // What is made once, by the first connection, is not counted.
      try keep(contexts, clientContext, bytes, seed: 0, in: &kept)
      kept.removeAll(keepingCapacity: true)
      let before = cb_live_bytes()
      let residentBefore = residentBytes()
      for round in 0..<count { try keep(contexts, clientContext, bytes, seed: UInt64(round), in: &kept) }
      let each = (Int(cb_live_bytes()) - Int(before)) / count
      print("| \(name) | \(each) | \(each - tls) |")
      print("| — resident set | \((residentBytes() - residentBefore) / count) | |")
    }
  }

  /// Keeps the server's end of one connection.
  private static func keep(
    _ contexts: Contexts, _ client: ClientTLSContext, _ bytes: Int, seed: UInt64, in kept: inout [End]
  ) throws {
    let joint = try Joint(contexts, client: client, seed: seed)
    joint.connect()
    if bytes > 0 { joint.transfer(bytes) }
    joint.settle()
    kept.append(joint.server!)
  }

  /// Live bytes of the server's TLS session after a handshake without QUIC around it.
  private static func tlsBytes(_ contexts: Contexts, _ count: Int) throws -> Int {
    let context = try contexts.client()
    var kept: [any TLSSession] = []
    kept.reserveCapacity(count)
    kept.append(try handshake(context.makeSession(serverName: "pop.example"), contexts.server.makeSession()))
    let before = cb_live_bytes()
    for _ in 0..<count {
      kept.append(try handshake(context.makeSession(serverName: "pop.example"), contexts.server.makeSession()))
    }
    return (Int(cb_live_bytes()) - Int(before)) / count
  }

  private static func handshake(_ client: any TLSSession, _ server: any TLSSession) throws -> any TLSSession {
    var parameters = TransportParameters()
    parameters.initialMaxData = 1 << 20
    client.setTransportParameters(parameters.encoded())
    server.setTransportParameters(parameters.encoded())
    for _ in 0..<10 {
      for (from, to) in [(client, server), (server, client)] {
        try from.advance()
        while let output = from.nextOutput() {
          if case .handshakeData(let level, let bytes) = output {
            try bytes.withUnsafeBytes { bytes throws(TransportError) in try to.receive(bytes, at: level) }
          }
        }
      }
    }
    guard client.isComplete, server.isComplete else { fatalError("TLS does not end") }
    return server
  }

  private static func residentBytes() -> Int {
    guard let file = fopen("/proc/self/statm", "r") else { return 0 }
    defer { fclose(file) }
    var text = [CChar](repeating: 0, count: 128)
    guard fgets(&text, 128, file) != nil else { return 0 }
    let words = String(decoding: text.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self).split(
      separator: " ")
    return (words.count > 1 ? Int(words[1]) ?? 0 : 0) * 4_096
  }
}
