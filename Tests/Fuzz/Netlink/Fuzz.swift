import FuzzDriver
import Netlink
import Wire

@main enum FuzzNetlink {
  static func main() { runFuzzer(["netlink": fuzzNetlink]) }
}

/// Datagrams as from the kernel, to somebody who waits for a list or for answers. The first byte says for what.
@Sendable func fuzzNetlink(_ bytes: UnsafeRawBufferPointer) {
  let (choice, rest) = bytes.choiceAndRest
  var transactions = Transactions()
  var routes = RouteSynchronizer(RouteSynchronizer.Configuration())
  routes.beginResync()
  switch choice % 4 {
  case 0: transactions.enqueue(.routes(isIPv4: true, origin: RouteSynchronizer.Configuration().origin))
  case 1: transactions.enqueue(.nextHops)
  case 2: transactions.enqueue(.links)
  default:
    for number in 0..<4 as Range<UInt32> {
      guard let prefix = IPPrefix(IPAddress.v4(IPv4Address(rawValue: 0xc633_6400 + number)), length: 32) else { return }
      routes.set(Route.Key(prefix), kind: .blackhole, path: .none)
    }
    routes.endResync()
    while let change = routes.nextChange() { transactions.enqueue(change) }
  }
  withUnsafeTemporaryAllocation(byteCount: 16 << 10, alignment: 8) { _ = transactions.nextDatagram(into: $0) }
  transactions.receive(rest) { event in
    switch event {
    case .completed(let change, let error): routes.completed(change, error)
    case .found(let item, _): routes.found(item)
    default: break
    }
  }
  routes.endResync()
  while routes.nextChange() != nil {}
}
