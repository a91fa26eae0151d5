import Wire

@testable import HTTP3
@testable import QUIC

/// One end of a simulated connection that speaks HTTP/3: a client that asks for things and checks what comes, or a
/// server that sends what it is asked for, and may go away while it is asked.
final class HTTP3Peer: Peer {
  /// A request's number says everything about it and its response.
  struct Exchange {
    var number: Int
    var sent = 0
    var received = 0
    var isResponded = false
  }

  static let requests = 40

  private var http: HTTP3.Connection
  private var exchanges: [StreamID: Exchange] = [:]
  private var asked = 0
  /// Requests of early data that was refused, to be made again.
  private var again: [Int] = []
  private(set) var answered = 0
  /// Times that a field section had to wait for its dynamic table entries.
  private(set) var blockings = 0
  private var blockedNow = Set<StreamID>()

  /// A server says GOAWAY once it has been asked for so much.
  private let drainsAfter: Int?
  private var leaving = Leaving.not
  /// Numbers of the requests that a server took, and that came back to a client because of GOAWAY.
  private(set) var taken = Set<Int>()
  private(set) var refused = Set<Int>()
  private(set) var answeredNumbers = Set<Int>()
  private var unfinished = Set<StreamID>()

  private enum Leaving {
    case not, announced(at: Instant), final, over
  }

  /// - Parameters:
  ///   - drainsAfter: a server drains after so many requests.
  ///   - remembered: a client knows the server's SETTINGS, so that it may ask in early data.
  init(
    _ connection: consuming QUIC.Connection, plan: TransferPlan, maxSegments: Int, drainsAfter: Int? = nil,
    remembered: Bool = false
  ) {
    self.drainsAfter = connection.role == .server ? drainsAfter : nil
    http = HTTP3.Connection(role: connection.role, remembered: remembered ? .tunnel : nil)
    super.init(connection, plan: plan, maxSegments: maxSegments)
    checksContent = false
  }

  override var isDone: Bool { role == .client ? answered == Self.requests : http.openRequests == 0 }

  private var isGoingAway: Bool { http.isGoingAway }

  static func bodySize(_ number: Int) -> Int { number % 3 == 0 ? 0 : number * 97 }

  static func byte(_ number: Int, _ offset: Int) -> UInt8 { UInt8(truncatingIfNeeded: number &* 31 &+ offset &* 7) }

  override func handle(_ event: QUIC.Event) {
    super.handle(event)
    if isReady { http.start(on: &connection) }
    http.handle(event, on: &connection)
    noteBlockings()
    while let event = http.nextEvent() { handleHTTP(event) }
  }

  override func act() {
    if role == .client { ask() }
    for id in exchanges.keys.sorted() where role == .server { respond(id) }
    if let drainsAfter { drain(after: drainsAfter) }
  }

  override func streamEvent(_ event: QUIC.Event) {
    if case .streamFinished(let id) = event { unfinished.remove(id) }
  }

  /// RFC 9114 §5.2: a GOAWAY that forbids nothing, then one that refuses what comes later, and the end when everything
  /// that was taken has been answered and acknowledged.
  private func drain(after count: Int) {
    let now = connection.clock
    switch leaving {
    case .not:
      guard taken.count >= count else { return }
      http.goAway(final: false, on: &connection)
      leaving = .announced(at: now)
    case .announced(let time):
      guard now > time + max(connection.statistics.smoothedRTT, .milliseconds(50)) else { return }
      http.goAway(final: true, on: &connection)
      leaving = .final
    case .final:
      guard http.openRequests == 0, unfinished.isEmpty else { return }
      http.shutdown(on: &connection)
      leaving = .over
    case .over: break
    }
  }

  /// What was wrong with a drain: every request was answered or came back, and none was both.
  static func drainFault(_ network: Network) -> String? {
    guard let client = network.client as? HTTP3Peer, let server = network.server as? HTTP3Peer else { return nil }
    guard client.connection.isDrained, server.connection.isDrained else {
      return "drain: no end at \(network.now.nanoseconds / 1_000_000) ms: \(server.leaving), "
        + "\(server.taken.count) taken, \(client.answered) answered, \(client.refused.count) refused"
    }
    guard server.closeReason == .localApplication(code: ErrorCode.noError.rawValue, reason: "") else {
      return "drain: the server ended with \(String(describing: server.closeReason))"
    }
    // The server's CONNECTION_CLOSE may have been lost.
    guard
      client.closeReason == .peerApplication(code: ErrorCode.noError.rawValue, reason: "")
        || client.closeReason == .statelessReset || client.closeReason == .idleTimeout
    else { return "drain: the client ended with \(String(describing: client.closeReason))" }
    if client.answeredNumbers != server.taken {
      return "drain: taken \(server.taken.sorted()), answered \(client.answeredNumbers.sorted())"
    }
    if !client.refused.isDisjoint(with: server.taken) { return "drain: refused and taken: \(client.refused.sorted())" }
    if client.answered + client.refused.count != client.asked || !client.exchanges.isEmpty {
      return "drain: \(client.asked) asked, \(client.answered) answered, \(client.refused.count) refused"
    }
    return nil
  }

  private func noteBlockings() {
    for id in exchanges.keys.sorted() where http.decoder.isBlocked(id) {
      if blockedNow.insert(id).inserted { blockings += 1 }
    }
    blockedNow = blockedNow.filter { http.decoder.isBlocked($0) }
  }

  private func ask() {
    while asked < Self.requests || !again.isEmpty, !isGoingAway {
      let asked = again.first ?? self.asked
      var list = HeaderList()
      list.append(":method", "GET")
      list.append(":scheme", "https")
      list.append(":authority", "simulated.example")
      list.append(":path", "/object/\(asked)")
      // Every third request repeats its neighbours' fields, every fifth brings one of its own.
      list.append("x-group", "the same for several requests \(asked / 3)")
      list.append("x-own", "value \(asked % 5 == 0 ? asked : 0)")
      list.append("user-agent", "simulator with a name long enough to be worth a table entry")
      do throws(SendError) {
        guard let id = try http.sendRequest(list, finish: true, on: &connection) else { return }
        exchanges[id] = Exchange(number: asked)
        if again.isEmpty { self.asked += 1 } else { again.removeFirst() }
      } catch {
        return note("request \(asked): \(error)")
      }
    }
  }

  private func handleHTTP(_ event: HTTP3.Event) {
    switch event {
    case .requestReceived(let id, let list, let finished):
      guard let number = list.path.flatMap({ Int($0.dropFirst("/object/".count)) }),
        list["x-group"] == "the same for several requests \(number / 3)",
        list["x-own"] == "value \(number % 5 == 0 ? number : 0)", list.authority == "simulated.example", finished
      else { return note("request \(list)") }
      exchanges[id] = Exchange(number: number)
      if !taken.insert(number).inserted { note("request \(number) came twice") }
      unfinished.insert(id)
    case .streamReset(let id, .requestRejected) where role == .client:
      guard let exchange = exchanges.removeValue(forKey: id) else { return note("refused on \(id)") }
      if isGoingAway { refused.insert(exchange.number) } else { again.append(exchange.number) }
    case .goAway where role == .client: break
    case .responseReceived(let id, let list, let finished):
      guard let exchange = exchanges[id] else { return note("a response on \(id)") }
      exchanges[id]!.isResponded = true
      let number = exchange.number
      let isRight =
        list[":status"] == "200" && list["x-number"] == "\(number)"
        && list["content-length"] == "\(Self.bodySize(number))" && list["server"] == "simulator, the other end of it"
      if !isRight { note("response to \(number): \(list)") }
      if finished { finish(id) }
    case .dataReadable(let id): read(id)
    case .settingsReceived, .requestsAvailable, .dataWritable, .datagramsReceived, .datagramsSendable, .closed: break
    default: note("\(event)")
    }
  }

  private func respond(_ id: StreamID) {
    guard let exchange = exchanges[id] else { return }
    let number = exchange.number
    let size = Self.bodySize(number)
    if !exchange.isResponded {
      var list = HeaderList()
      list.append(":status", "200")
      list.append("server", "simulator, the other end of it")
      list.append("x-number", "\(number)")
      list.append("content-length", "\(size)")
      do throws(SendError) {
        try http.sendResponse(list, to: id, finish: size == 0, on: &connection)
      } catch {
        return note("response \(number): \(error)")
      }
      exchanges[id]!.isResponded = true
      if size == 0 { exchanges[id] = nil }
    }
    guard let sent = exchanges[id]?.sent else { return }
    let bytes = (sent..<size).map { Self.byte(number, $0) }
    let taken = bytes.withUnsafeBytes { http.sendData(id, $0, finish: true, on: &connection) }
    exchanges[id]!.sent += taken
    if sent + taken == size { exchanges[id] = nil }
  }

  private func read(_ id: StreamID) {
    while true {
      let outcome = http.readData(id, on: &connection) { [self] bytes, _ in
        guard let exchange = exchanges[id] else { return bytes.count }
        for (offset, byte) in bytes.enumerated()
        where byte != Self.byte(exchange.number, exchange.received + offset) {
          note("wrong content of \(exchange.number) at \(exchange.received + offset)")
          break
        }
        exchanges[id]!.received += bytes.count
        return bytes.count
      }
      switch outcome {
      case .progressed: continue
      case .blocked: return
      case .ended: return finish(id)
      }
    }
  }

  private func finish(_ id: StreamID) {
    guard role == .client, let exchange = exchanges.removeValue(forKey: id) else { return }
    if !exchange.isResponded || exchange.received != Self.bodySize(exchange.number) {
      note("response \(exchange.number) of \(exchange.received) bytes")
    }
    answered += 1
    answeredNumbers.insert(exchange.number)
  }
}
