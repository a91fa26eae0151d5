import QUIC
import QUICTLS

/// CPU time of whole handshakes, and of BoringSSL's part in them alone: the floor that nothing around it can go below.
enum Handshakes {
  /// CPU-seconds of one handshake, at either end.
  struct Cost {
    var server = 0.0
    var client = 0.0

    static func / (cost: Cost, count: Int) -> Cost {
      Cost(server: cost.server / Double(count), client: cost.client / Double(count))
    }
  }

  static func measure(count: Int, runs: Int) throws {
    print("Medians of \(runs) runs of \(count) handshakes, by CPU time; 1/s on one core, µs of the server's end")
    print("| handshake | server | client | both on one core | server's µs | of which TLS alone | ratio |")
    print("|---|---|---|---|---|---|---|")
    for onlyX25519 in [true, false] {
      let contexts = try Contexts(onlyX25519: onlyX25519)
      for isResumed in [false, true] {
        // What is compared is measured in turns, so that the machine's mood is the same for both.
        var whole: [Cost] = []
        var floor: [Cost] = []
        for _ in 0..<runs {
          whole.append(try connections(contexts, isResumed, count))
          floor.append(try tlsAlone(contexts, isResumed, count))
        }
        let server = whole.map(\.server).median
        let client = whole.map(\.client).median
        let tls = floor.map(\.server).median
        let name = "\(isResumed ? "0-RTT" : "full"), \(onlyX25519 ? "X25519" : "X25519MLKEM768")"
        print(
          "| \(name) | \(Int(1 / server)) | \(Int(1 / client)) | \(Int(1 / whole.map { $0.server + $0.client }.median))"
            + " | \(tenths(server * 1e6)) | \(tenths(tls * 1e6)) | \(tenths(server / tls)) |")
      }
    }
  }

  private static func tenths(_ value: Double) -> String {
    let scaled = Int((value * 10).rounded())
    return "\(scaled / 10).\(scaled % 10)"
  }

  /// A client that has met no server yet for each handshake, or one that has for all; made beforehand.
  private static func clients(_ contexts: Contexts, _ isResumed: Bool, _ count: Int) throws -> [ClientTLSContext] {
    if isResumed { return [ClientTLSContext](repeating: try contexts.client(), count: count) }
    return try (0..<count).map { _ in try contexts.client() }
  }

  /// From the first packet until both have confirmed the handshake and the ticket for the next has come.
  private static func connections(_ contexts: Contexts, _ isResumed: Bool, _ count: Int) throws -> Cost {
    let clients = try clients(contexts, isResumed, count)
    if isResumed {
      let first = try Joint(contexts, client: clients[0], seed: 1)
      first.connect()
      first.settle()
    }
    var sum = Cost()
    for (round, client) in clients.enumerated() {
      let joint = try Joint(contexts, client: client, seed: UInt64(round))
      joint.connect()
      while joint.exchange() {}
      guard let server = joint.server, server.connection.isResumed == isResumed else {
        fatalError("resumed or not: not as meant")
      }
      sum.client += joint.client.spent
      sum.server += server.spent
    }
    return sum / count
  }

  /// The same with nothing around TLS: no packets, no keys but TLS's own.
  private static func tlsAlone(_ contexts: Contexts, _ isResumed: Bool, _ count: Int) throws -> Cost {
    let clients = try clients(contexts, isResumed, count)
    if isResumed { _ = try TLSPair(contexts, client: clients[0]) }
    var sum = Cost()
    for client in clients {
      let pair = try TLSPair(contexts, client: client)
      guard pair.server.isResumed == isResumed else { fatalError("resumed or not: not as meant") }
      sum.client += pair.cost.client
      sum.server += pair.cost.server
    }
    return sum / count
  }
}

/// Two TLS sessions that have shaken hands without QUIC around them.
struct TLSPair {
  let server: any TLSSession
  private(set) var cost = Handshakes.Cost()

  init(_ contexts: Contexts, client context: ClientTLSContext) throws {
    var parameters = TransportParameters()
    parameters.initialMaxData = 1 << 20
    let encoded = parameters.encoded()
    var start = Processor.seconds()
    let client = try context.makeSession(serverName: Contexts.name)
    client.setTransportParameters(encoded)
    cost.client += Processor.since(start)
    start = Processor.seconds()
    let server = contexts.server.makeSession()
    server.setTransportParameters(encoded)
    cost.server += Processor.since(start)
    self.server = server
    var moved = true
    while moved {
      moved = try Self.move(from: client, to: server, &cost.client, &cost.server)
      moved = try Self.move(from: server, to: client, &cost.server, &cost.client) || moved
    }
    guard client.isComplete, server.isComplete else { fatalError("TLS does not end") }
  }

  private static func move(
    from sender: any TLSSession, to receiver: any TLSSession, _ sending: inout Double, _ receiving: inout Double
  ) throws(TransportError) -> Bool {
    var moved = false
    var start = Processor.seconds()
    // Twice: a server's waits once for its transport parameters.
    try sender.advance()
    try sender.advance()
    while let output = sender.nextOutput() {
      guard case .handshakeData(let level, let bytes) = output else { continue }
      moved = true
      sending += Processor.since(start)
      start = Processor.seconds()
      try bytes.span.bytes.withUnsafeBytes { bytes throws(TransportError) in try receiver.receive(bytes, at: level) }
      try receiver.advance()
      receiving += Processor.since(start)
      start = Processor.seconds()
    }
    sending += Processor.since(start)
    return moved
  }
}
