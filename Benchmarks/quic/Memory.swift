import CMemory
import Glibc
import HTTP3
import QUIC
import QUICTLS
import Wire

/// Bytes that the allocator has given out for idle server connections and not got back.
enum Memory {
  static func measure(_ count: Int) throws {
    let contexts = try Contexts(onlyX25519: false)
    let tls = try tlsBytes(contexts, count)
    print("| \(count) server connections | bytes each | beyond TLS |\n|---|---|---|")
    print("| TLS session alone | \(tls) | |")
    let loads: [(name: String, load: Load)] = [
      ("after the handshake", Load()),
      ("after 1 MB each way", Load(bytes: 1 << 20)),
      ("with HTTP/3, after the SETTINGS", Load(speaksHTTP: true)),
    ]
    for (name, load) in loads {
      let each = try idleBytes(contexts, load, count)
      print("| idle \(name) | \(each) | \(each - tls) |")
    }
  }

  /// What a connection does before it is idle.
  struct Load {
    var bytes = 0
    var speaksHTTP = false
  }

  private static func idleBytes(_ contexts: Contexts, _ load: Load, _ count: Int) throws -> Int {
    let client = try contexts.client()
    let routes = Routes()
    var kept: [End] = []
    kept.reserveCapacity(count)
    // What the first connection makes for all is not counted.
    _ = try serverEnd(contexts, client, load, seed: 0, routes)
    let before = Int(cb_live_bytes())
    for round in 0..<count { kept.append(try serverEnd(contexts, client, load, seed: UInt64(round), routes)) }
    let each = (Int(cb_live_bytes()) - before) / count
    guard kept.allSatisfy({ !$0.connection.isClosed }) else { fatalError("a connection has ended") }
    return each
  }

  private static func serverEnd(
    _ contexts: Contexts, _ client: ClientTLSContext, _ load: Load, seed: UInt64, _ routes: Routes
  ) throws -> End {
    let joint = try Joint(contexts, client: client, seed: seed, speaksHTTP: load.speaksHTTP, routes: routes)
    joint.connect()
    if load.bytes > 0 { joint.transfer(load.bytes) }
    joint.settle()
    return joint.server!
  }

  /// The server's TLS session after a handshake without QUIC around it.
  private static func tlsBytes(_ contexts: Contexts, _ count: Int) throws -> Int {
    let client = try contexts.client()
    var kept: [any TLSSession] = []
    kept.reserveCapacity(count + 1)
    kept.append(try TLSPair(contexts, client: client).server)
    let before = Int(cb_live_bytes())
    for _ in 0..<count { kept.append(try TLSPair(contexts, client: client).server) }
    return (Int(cb_live_bytes()) - before) / count
  }
}

/// The endpoint that all server connections are behind.
final class Routes {
  var endpoint: Endpoint<End>

  init() {
    endpoint = Endpoint(Endpoint<End>.Configuration(acceptsConnections: true), entropy: SeededEntropy(seed: 99))
  }
}
