internal import CNIOBoringSSL
internal import Glibc
internal import PacketCrypto
internal import Synchronization

/// The latest tickets of each server, in memory, with what early data under them goes by.
///
/// A ticket is given out once: using it twice would let an observer link the two connections (RFC 8446 §C.4). One that no
/// server answered to may come back: there was no connection. Holds the ``ticketsPerServer`` latest tickets of at most
/// ``maximumServers`` servers, and forgets any one of these to make room.
final class SessionTickets: Sendable {
  static let maximumServers = 256
  static let ticketsPerServer = 4

  /// What a client knows of a server from the connection that the ticket came in.
  struct Remembered: Sendable {
    /// Of the connection, negotiated if it was (RFC 9369 §5).
    var version: Version
    /// The server's transport parameters, encoded (RFC 9000 §7.4.1).
    var parameters: [UInt8]
    /// The application protocol's own.
    var applicationState: [UInt8]?
  }

  /// An `SSL_SESSION` that its holder owns a reference of.
  struct Ticket: @unchecked Sendable {
    // Proof: an SSL_SESSION is immutable once BoringSSL hands it out, but for its time, which is set before it goes to its
    // one connection; its reference count is atomic.
    let session: OpaquePointer
    var remembered: Remembered
    private let received = ContinuousClock.now

    init(session: OpaquePointer, remembered: Remembered) {
      self.session = session
      self.remembered = remembered
    }

    /// What a connection begun now tells the server, in seconds.
    var claimedAge: Int { time(nil) - Int(SSL_SESSION_get_time(session)) }

    /// BoringSSL counts how often the wall clock's second has changed, which can be a second more than has passed. A
    /// server may take a ticket that is older than possible for a replay (RFC 8446 §8.3), as GnuTLS does, and refuse early
    /// data: the whole seconds that have passed are claimed instead.
    func correctAge() {
      let age = ContinuousClock.now - received
      SSL_SESSION_set_time(session, UInt64(time(nil)) - UInt64(age.components.seconds))
    }
  }

  private struct Table {
    /// The latest one last.
    var tickets: [String: [Ticket]] = [:]
    /// Outlives the ticket: the next one of the same server goes by it too.
    var applicationStates: [String: [UInt8]] = [:]
  }
  private let table = Mutex(Table())

  deinit { table.withLock { $0.tickets.values.joined().forEach { SSL_SESSION_free($0.session) } } }

  /// Takes over the caller's reference.
  func store(_ session: OpaquePointer, version: Version, parameters: [UInt8], for serverName: String) {
    let ticket = Ticket(session: session, remembered: Remembered(version: version, parameters: parameters))
    change(serverName) { $0.append(ticket) }
  }

  /// Takes back a ticket that came to nothing, with the caller's reference.
  func giveBack(_ ticket: Ticket, for serverName: String) {
    // Behind those that came since.
    change(serverName) { $0.insert(ticket, at: 0) }
  }

  private func change(_ serverName: String, _ body: @Sendable (inout [Ticket]) -> Void) {
    let dropped = table.withLock { table -> [Ticket] in
      var dropped: [Ticket] = []
      if table.tickets[serverName] == nil, table.tickets.count >= Self.maximumServers,
        let other = table.tickets.popFirst()
      {
        table.applicationStates[other.key] = nil
        dropped = other.value
      }
      body(&table.tickets[serverName, default: []])
      if table.tickets[serverName, default: []].count > Self.ticketsPerServer {
        dropped += table.tickets[serverName, default: []].prefix(1)
        table.tickets[serverName]?.removeFirst()
      }
      return dropped
    }
    dropped.forEach { SSL_SESSION_free($0.session) }
  }

  func remember(_ state: [UInt8], for serverName: String) {
    table.withLock {
      if $0.applicationStates[serverName] == nil, $0.applicationStates.count >= Self.maximumServers {
        _ = $0.applicationStates.popFirst()
      }
      $0.applicationStates[serverName] = state
    }
  }

  /// A ticket whose reference the caller must free.
  func take(for serverName: String) -> Ticket? {
    table.withLock {
      var ticket = $0.tickets[serverName]?.popLast()
      if $0.tickets[serverName]?.isEmpty == true { $0.tickets[serverName] = nil }
      ticket?.remembered.applicationState = $0.applicationStates[serverName]
      ticket?.correctAge()
      return ticket
    }
  }
}
