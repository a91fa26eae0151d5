import PacketCrypto
import QUIC
import Wire

/// What a client and a service know of each other from an earlier connection: a ticket, a token, and the limits that
/// early data goes by.
final class Acquaintance {
  let wallet = Wallet()
  /// Of all servers of the service; another is one that has lost its ticket keys.
  var book = TicketBook()
  /// With a key that does not depend on a seed: a server that restarts has it still.
  let tokens = AddressTokens(secret: AuthenticationKey([UInt8](repeating: 9, count: 32)))
  /// What the server allowed when it gave the ticket.
  private(set) var remembered: Configuration?

  /// Has the two meet on a clean path before `scenario` begins.
  /// - Parameter server: how the server was configured then, if otherwise than now.
  /// - Returns: what went wrong, or nil.
  static func make(for scenario: inout Scenario, server: Configuration? = nil) -> String? {
    let acquaintance = Acquaintance()
    var first = scenario
    first.seed ^= 1 << 40
    (first.up, first.down, first.second) = (LinkConditions(), LinkConditions(), nil)
    first.plan = TransferPlan(streams: 1, bytes: 500, datagrams: 0)
    first.retry = .never
    first.server = server ?? scenario.server
    first.acquaintance = acquaintance
    let network = first.makeNetwork(start: .zero + .milliseconds(1))
    network.run(until: .zero + .milliseconds(900)) {
      network.isTransferDone && acquaintance.wallet.ticket != nil && !network.client.tokens.isEmpty
    }
    acquaintance.keep(of: network.client)
    guard network.firstFault == nil, acquaintance.wallet.ticket != nil, !acquaintance.wallet.token.isEmpty else {
      return "acquaintance: \(network.firstFault ?? "no ticket, or no token")"
    }
    acquaintance.remembered = first.server
    scenario.acquaintance = acquaintance
    return nil
  }

  func keep(of client: Peer) {
    if let token = client.tokens.last { wallet.token = token }
  }
}
