import CBActors
import Logging
import QUIC

/// What a PoP has counted since it began, said in its log at the stop and at each SIGUSR1.
struct PoPReport {
  var endpoints = QUICEndpoint.Counters()
  var requests: RequestCounters.Counts

  init(_ endpoints: [QUICEndpoint], _ requests: RequestCounters) async {
    self.requests = requests.snapshot
    for endpoint in endpoints { self.endpoints.add(await endpoint.counters) }
  }

  func write(to logger: Logger) {
    logger.notice(
      "datagrams",
      metadata: [
        "received": "\(endpoints.datagramsReceived)", "dropped": "\(endpoints.drops.values.reduce(0, +))",
        "replies": "\(endpoints.repliesSent)", "accepted": "\(endpoints.connectionsAccepted)",
        "refused": "\(endpoints.connectionsRefused)", "tokens": "\(endpoints.tokensAccepted)",
        "tossed": "\(endpoints.tossed)", "resumed": "\(endpoints.resumed)",
        "earlyData": "\(endpoints.earlyDataAccepted)",
      ])
    // Datagrams of no connection, and packets of one, by reason; those that never came up too, so that every name is
    // there to look for.
    var datagrams: Logger.Metadata = [:]
    for reason in QUIC.Endpoint<HTTP3Session>.DropReason.allCases {
      datagrams["\(reason)"] = "\(endpoints.drops[reason, default: 0])"
    }
    logger.notice("datagrams dropped", metadata: datagrams)
    var packets: Logger.Metadata = [:]
    for (reason, count) in endpoints.packetDrops.byReason { packets[reason] = "\(count)" }
    logger.notice("packets dropped", metadata: packets)
    logger.notice(
      "requests",
      metadata: [
        "connections": "\(requests.connections)", "pages": "\(requests.pages)",
        "early": "\(requests.early)",
        "tcp": "\(requests.tunnels["TCP", default: 0])",
        "udp": "\(requests.tunnels["UDP", default: 0])", "refused": "\(requests.refused.values.reduce(0, +))",
        "tokensRefused": "\(requests.tokensRefused.values.reduce(0, +))",
      ])
  }
}
