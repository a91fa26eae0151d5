import Wire

@testable import Netlink

/// A kernel that keeps routes and next hops as Linux does, as far as this module has to do with it: it reads the
/// requests of ``Transactions`` and writes the answers.
struct KernelModel {
  var routes: [Route.Key: Route] = [:]
  var nextHops: [UInt32: NextHopObject] = [:]
  /// Interfaces that are down: next hops over them are refused.
  var downInterfaces: Set<UInt32> = []
  var requests = 0

  /// Works a datagram off; the datagrams that answer it.
  mutating func handle(_ bytes: UnsafeRawBufferPointer) -> [[UInt8]] {
    var answers: [[UInt8]] = []
    var reader = MessageReader(bytes)
    while let message = reader.next() {
      requests += 1
      if message.flags.isSuperset(of: .dump), [.getRoute, .getNextHop].contains(message.type) {
        answers += dump(message)
        continue
      }
      let error = change(message)
      if error != 0 || message.flags.contains(.ack) { answers.append(Self.answer(message.sequence, error)) }
    }
    return answers
  }

  private mutating func change(_ message: MessageReader.Message) -> Int32 {
    switch message.type {
    case .newRoute:
      guard let route = Route(message.body) else { return KernelError.invalid }
      switch route.path {
      case .object(let id): if nextHops[id] == nil { return KernelError.invalid }
      case .hops(let hops): if hops.contains(where: { downInterfaces.contains($0.interface) }) { return 101 }
      case .none: break
      }
      if message.flags.contains(.exclusive), routes[route.key] != nil { return KernelError.exists }
      if message.flags.contains(.replace), !message.flags.contains(.create), routes[route.key] == nil {
        return KernelError.noSuchEntry
      }
      routes[route.key] = route
    case .deleteRoute:
      guard let key = Self.deletion(message.body), let known = routes[key.key], known.origin == key.origin else {
        return KernelError.noSuchProcess
      }
      routes[key.key] = nil
    case .newNextHop:
      guard let object = NextHopObject(message.body) else { return KernelError.invalid }
      switch object.content {
      case .hop(let hop): if downInterfaces.contains(hop.interface) { return 100 }
      case .group(let members): if members.contains(where: { nextHops[$0.id] == nil }) { return KernelError.invalid }
      case .blackhole: break
      }
      let exists = nextHops[object.id] != nil
      if message.flags.contains(.exclusive), exists { return KernelError.exists }
      if message.flags.contains(.replace), !exists { return KernelError.noSuchEntry }
      nextHops[object.id] = object
    case .deleteNextHop:
      guard let id = Self.identifier(message.body), nextHops[id] != nil else { return KernelError.noSuchEntry }
      remove(id)
    default: return KernelError.notSupported
    }
    return 0
  }

  /// As Linux does: from its groups too, and with the routes that point at it.
  private mutating func remove(_ id: UInt32) {
    nextHops[id] = nil
    routes = routes.filter { $0.value.path != .object(id) }
    for (other, object) in nextHops {
      guard case .group(let members) = object.content, members.contains(where: { $0.id == id }) else { continue }
      let left = members.filter { $0.id != id }
      if left.isEmpty { remove(other) } else { nextHops[other]?.content = .group(left) }
    }
  }

  mutating func takeDown(_ interface: UInt32) {
    downInterfaces.insert(interface)
    for (id, object) in nextHops {
      if case .hop(let hop) = object.content, hop.interface == interface { remove(id) }
    }
    routes = routes.filter { route in
      guard case .hops(let hops) = route.value.path else { return true }
      return !hops.allSatisfy { $0.interface == interface }
    }
  }

  private func dump(_ message: MessageReader.Message) -> [[UInt8]] {
    let isIPv4 = message.body.first == Family.ipv4
    let origin = message.type == .getRoute && message.body.count >= 6 ? message.body[5] : 0
    var answers: [[UInt8]] = []
    if message.type == .getRoute {
      for route in routes.values where route.key.destination.address.isIPv4 == isIPv4 {
        guard origin == 0 || route.origin.rawValue == origin else { continue }
        answers.append(Self.message(.newRoute, .multi, message.sequence) { route.write(to: &$0) })
      }
    } else {
      for object in nextHops.values {
        answers.append(Self.message(.newNextHop, .multi, message.sequence) { object.write(to: &$0) })
      }
    }
    answers.append(Self.message(.done, .multi, message.sequence) { $0.host(Int32(0)) })
    return answers
  }

  // MARK: Bytes

  static func message(
    _ type: MessageType, _ flags: MessageFlags, _ sequence: UInt32, _ body: (inout MessageWriter) -> Void
  ) -> [UInt8] {
    withUnsafeTemporaryAllocation(byteCount: 8_192, alignment: 8) { buffer in
      var writer = MessageWriter(buffer)
      guard writer.message(type, flags, sequence: sequence, body) else { return [] }
      return Array(writer.bytes.written)
    }
  }

  static func answer(_ sequence: UInt32, _ error: Int32, text: String? = nil) -> [UInt8] {
    message(.error, text == nil ? .capped : [.capped, .ackAttributes], sequence) { writer in
      writer.host(-error)
      for _ in 0..<4 { writer.host(UInt32(16)) }
      if let text { writer.attribute(1, text) }
    }
  }

  private static func deletion(_ body: UnsafeRawBufferPointer) -> (key: Route.Key, origin: RouteOrigin)? {
    // A deletion says no kind; as one of a unicast route it can be read.
    var bytes = Array(body)
    guard bytes.count >= 12 else { return nil }
    bytes[7] = 1
    return bytes.withUnsafeBytes { Route($0) }.map { ($0.key, $0.origin) }
  }

  private static func identifier(_ body: UnsafeRawBufferPointer) -> UInt32? {
    var reader = ByteReader(body)
    guard reader.skip(8) else { return nil }
    var attributes = AttributeReader(reader)
    while let (type, payload) = attributes.next() {
      if type == NextHopAttribute.id { return payload.host(UInt32.self) }
    }
    return nil
  }
}

/// Transactions and a synchronizer against the model, without a socket.
struct Bench {
  var kernel = KernelModel()
  var transactions = Transactions()
  var routes: RouteSynchronizer
  var datagrams = 0

  init(_ configuration: RouteSynchronizer.Configuration = .init()) { routes = RouteSynchronizer(configuration) }

  /// Goes on until nothing is left to do. `loses` says which answers the socket has no room for.
  mutating func settle(losing loses: (Int) -> Bool = { _ in false }) {
    for _ in 0..<10_000 {
      while transactions.queuedCount < 64, let change = routes.nextChange() { transactions.enqueue(change) }
      let answers = withUnsafeTemporaryAllocation(byteCount: 2_048, alignment: 8) { buffer -> [[UInt8]]? in
        let count = transactions.nextDatagram(into: buffer)
        guard count > 0 else { return nil }
        return kernel.handle(UnsafeRawBufferPointer(rebasing: buffer[..<count]))
      }
      guard let answers else { return }
      datagrams += 1
      if !transactions.isDumping, loses(datagrams) {
        overrun()
      } else {
        for answer in answers { receive(answer) }
      }
    }
  }

  private mutating func receive(_ bytes: [UInt8]) {
    var ended: [Dump] = []
    bytes.withUnsafeBytes { bytes in
      transactions.receive(bytes) { event in
        switch event {
        case .completed(let change, let error): routes.completed(change, error)
        case .found(let item, _): routes.found(item)
        case .dumpEnded(let dump, _): ended.append(dump)
        case .notified, .overrun: break
        }
      }
    }
    if ended.contains(.routes(isIPv4: false, origin: .cloudBridge)) { routes.endResync() }
  }

  private mutating func overrun() {
    transactions.overrun { _ in }
    resync()
  }

  mutating func resync() {
    routes.beginResync()
    transactions.enqueue(.nextHops)
    transactions.enqueue(.routes(isIPv4: true, origin: .cloudBridge))
    transactions.enqueue(.routes(isIPv4: false, origin: .cloudBridge))
  }
}
