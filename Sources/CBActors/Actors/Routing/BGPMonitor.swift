public import BGP
import Ring
public import Wire

/// Hears what a speaker's sessions hear, on the thread of the speaker's ring and within the turn in which it comes.
///
/// It must not wait, nor keep the octets that it is lent.
public protocol BGPMonitor: AnyObject, Sendable {
  /// A message has come, whole and with a valid header; it is acted on next. With what was read of an UPDATE.
  func received(_ message: UnsafeRawBufferPointer, _ update: UpdateMessage?, from subject: BGPSession.Subject)
  func stateChanged(
    of subject: BGPSession.Subject, from: FiniteStateMachine.State, to: FiniteStateMachine.State)
  func sessionUp(_ subject: BGPSession.Subject)
  func sessionDown(_ subject: BGPSession.Subject, _ cause: BGP.Session.EndCause)
}

extension BGPSession {
  /// Whose messages a monitor hears.
  public struct Subject: Sendable {
    public let peer: PeerID
    public let localAS: UInt32
    public let remoteAS: UInt32
    public let remote: SocketAddress
    /// Our end; the address 0.0.0.0 or :: where there is no connection.
    public let local: SocketAddress
    /// Nil before both OPEN messages are known.
    public let parameters: SessionParameters?
    /// Empty until the session is established.
    public let opens: BGP.Session.Opens
    /// The monotonic instant of it.
    public let since: Instant
  }

  func makeSubject(of connection: BGPConnection?, _ parameters: SessionParameters? = nil) -> Subject {
    let any: IPAddress = neighbor.address.ip.isIPv4 ? .v4(.any) : .v6(.any)
    let ends = connection?.ends ?? (SocketAddress(any, port: 0), neighbor.address)
    return Subject(
      peer: peer, localAS: neighbor.peer.localAS, remoteAS: neighbor.peer.peerAS, remote: ends.remote,
      local: ends.local, parameters: parameters, opens: core.opens, since: ring.now)
  }

  /// What an established session is to a monitor that comes later.
  var establishedSubject: Subject? { established == nil ? nil : subject }

  func tellReceived(_ update: UpdateMessage? = nil, on id: BGP.Session.ConnectionID) {
    guard let message = core.message else { return }
    // Of another connection than the established one, there are few.
    let isEstablished = connections[id].map { $0 === established } ?? false
    let subject = (isEstablished ? subject : nil) ?? makeSubject(of: connections[id])
    for monitor in monitors { monitor.received(message, update, from: subject) }
  }

  func tellState(_ from: FiniteStateMachine.State, _ to: FiniteStateMachine.State) {
    let subject = from == .established ? self.subject : nil
    for monitor in monitors {
      monitor.stateChanged(of: subject ?? makeSubject(of: connections.values.first), from: from, to: to)
    }
  }

  func tellUp() {
    guard let subject else { return }
    for monitor in monitors { monitor.sessionUp(subject) }
  }

  func tellDown(_ cause: BGP.Session.EndCause) {
    guard let subject else { return }
    for monitor in monitors { monitor.sessionDown(subject, cause) }
  }
}

extension BGPSpeaker {
  /// Has a monitor, an actor of the speaker's ring, hear all sessions from now on.
  public func add(_ monitor: any BGPMonitor) {
    for session in sessions { session.assumeIsolated { $0.monitors.append(monitor) } }
  }

  /// A monitor hears nothing more.
  public func remove(_ monitor: any BGPMonitor) {
    for session in sessions { session.assumeIsolated { $0.monitors.removeAll { $0 === monitor } } }
  }

  /// The sessions that are established.
  public func subjects() -> [BGPSession.Subject] {
    sessions.compactMap { $0.assumeIsolated { $0.establishedSubject } }
  }

  /// The next records of a dump of the tables, of at most so many destinations.
  public func records(of dump: TableDump, destinations: Int) -> (dump: TableDump, octets: [UInt8]) {
    var dump = dump
    var octets: [UInt8] = []
    dump.write(tables.value.rib, destinations: destinations, to: &octets)
    return (dump, octets)
  }
}
