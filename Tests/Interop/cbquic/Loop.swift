import Foundation
import HTTP3
import QUIC
import QUICTLS
import Wire

/// Drives the cores with poll(2): the plainest loop there is.
final class Loop {
  private let options: Options
  private let directory: URL
  private var configuration = QUIC.Configuration()
  private let batch = UnsafeMutableRawBufferPointer.allocate(byteCount: 65_536, alignment: 16)

  init(_ options: Options) {
    self.options = options
    directory = URL(fileURLWithPath: options.directory)
    configuration.ecn = options.ecn
    configuration.keyUpdateInterval = options.keyUpdate
    // Lossy links need patience.
    configuration.handshakeTimeout = .seconds(60)
    configuration.maxStreamsBidi = 1_000
    configuration.versions = options.versions
    configuration.initialVersion = options.initialVersion
  }

  deinit { batch.deallocate() }

  private var now: Instant {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return Instant(nanoseconds: Int64(time.tv_sec) * 1_000_000_000 + Int64(time.tv_nsec))
  }

  private func wait(_ ports: [UDPPort], until deadline: Instant?) {
    var list = ports.map { pollfd(fd: $0.descriptor, events: Int16(POLLIN), revents: 0) }
    let left = deadline.map { ($0 - now).nanoseconds } ?? 1_000_000_000
    // Rounded up, so that the deadline has come when the call returns.
    let milliseconds = Int32(clamping: min(max(left, 0), 1_000_000_000) / 1_000_000 + (left > 0 ? 1 : 0))
    poll(&list, nfds_t(list.count), milliseconds)
  }

  private func flush(_ exchange: Exchange, from ports: [UDPPort]) {
    while let sent = exchange.connection.transmit(into: batch, maxSegments: 16, now: now) {
      let port = ports.first { $0.local == sent.path.local } ?? ports[0]
      port.send(
        UnsafeRawBufferPointer(rebasing: batch[..<sent.byteCount]), segmentSize: sent.segmentSize,
        to: sent.path.remote, ecn: sent.ecn)
    }
  }

  private func say(_ line: String) {
    print(line)
    fflush(nil)
  }

  // MARK: Client

  /// True when every file is there.
  func get() throws -> Bool {
    let tls = try ClientTLSContext(
      trust: .certificateFiles(options.authorities), applicationProtocols: [options.alpn.rawValue],
      offersEarlyData: options.early, keyLogFile: options.keyLog)
    let names = options.names
    let groups: [[String]] =
      switch options.connections {
      case .one: [names]
      case .two: [Array(names.prefix(1)), Array(names.dropFirst())]
      case .each: names.map { [$0] }
      }
    for (index, group) in groups.enumerated() {
      guard try get(group, tls: tls, awaitsTicket: index + 1 < groups.count && options.connections == .two) else {
        return false
      }
    }
    return true
  }

  private func get(_ names: [String], tls: ClientTLSContext, awaitsTicket: Bool) throws -> Bool {
    let files = Files(in: directory, wanted: names)
    var chosen = configuration
    while case .versionMismatch(let offered)? = try connect(files, chosen, tls: tls, awaitsTicket: awaitsTicket),
      let next = chosen.following(offered)
    {
      chosen = next
    }
    return files.areComplete
  }

  /// One connection, to its end.
  private func connect(
    _ files: Files, _ configuration: QUIC.Configuration, tls: ClientTLSContext, awaitsTicket: Bool
  ) throws -> CloseReason? {
    var ports = [try UDPPort(SocketAddress(.v4(.loopback), port: 0))]
    let session = try tls.makeSession(serverName: options.name)
    let exchange = Exchange(
      Connection(
        client: configuration, tls: session, path: Path(local: ports[0].local, remote: options.address), now: now,
        entropy: SystemEntropy.shared),
      tls: session, files: files, options: options)
    let end = now + .seconds(Int64(options.timeout))
    var migrateAt = options.migrate
    // Tickets follow the handshake; they are given a moment.
    var completedAt: Instant?
    while !exchange.connection.isDrained {
      exchange.run()
      if files.areComplete, completedAt == nil { completedAt = now }
      if let completedAt, now >= completedAt + (awaitsTicket ? .milliseconds(300) : .zero) {
        exchange.connection.close(code: 0, reason: "")
      }
      if now >= end { exchange.connection.close(code: 1, reason: "out of time") }
      if let bytes = migrateAt, files.bytesReceived >= bytes, exchange.connection.isHandshakeConfirmed {
        let port = try UDPPort(SocketAddress(.v4(IPv4Address(127, 0, 0, 2)), port: 0))
        ports.append(port)
        if exchange.connection.migrate(to: Path(local: port.local, remote: options.address), now: now) {
          migrateAt = nil
        } else {
          ports.removeLast()
        }
      }
      flush(exchange, from: ports)
      if exchange.closeReason != nil { break }
      let short = now + .milliseconds(50)
      wait(ports, until: min(exchange.connection.deadline ?? short, completedAt == nil ? .distantFuture : short))
      for port in ports {
        while port.receive({ datagram, remote, ecn in
          exchange.connection.receive(datagram, path: Path(local: port.local, remote: remote), ecn: ecn, now: now)
        }) {}
      }
      if let deadline = exchange.connection.deadline, deadline <= now { exchange.connection.handleTimeout(now: now) }
    }
    exchange.run()
    flush(exchange, from: ports)
    say(exchange.summary(ecn: codepoints(ports)))
    return exchange.closeReason
  }

  /// Datagrams received with each ECN codepoint.
  private func codepoints(_ ports: [UDPPort]) -> [Int] {
    ports.reduce([0, 0, 0, 0]) { total, port in zip(total, port.received).map { $0 + $1 } }
  }

  // MARK: Server

  func serve() throws {
    configuration.statelessResetKey = SystemEntropy.shared.bytes(32)
    // What early data goes by, and so must be the same as when its ticket was given: limits, and HTTP/3's settings.
    let earlyDataContext =
      configuration.earlyDataContext + (options.alpn == .h3 ? HTTP3.Settings.tunnel.encoded : [])
    let tls = try ServerTLSContext(
      identity: TLSIdentity(certificateChainFile: options.certificate, privateKeyFile: options.key),
      applicationProtocols: [options.alpn.rawValue], earlyDataContext: options.early ? earlyDataContext : nil,
      keyLogFile: options.keyLog)
    var endpointConfiguration = Endpoint<Exchange>.Configuration(acceptsConnections: true)
    endpointConfiguration.statelessResetKey = configuration.statelessResetKey
    endpointConfiguration.versions = configuration.versions
    endpointConfiguration.retry = options.retry ? .always : .never
    var endpoint = Endpoint<Exchange>(endpointConfiguration, entropy: SystemEntropy.shared)
    configuration.preferredAddresses = options.preferred.map { [$0] } ?? []
    let ports = try ([options.address] + configuration.preferredAddresses).map { try UDPPort($0) }
    let reply = UnsafeMutableRawBufferPointer.allocate(byteCount: 2_048, alignment: 16)
    defer { reply.deallocate() }
    var exchanges: [Exchange] = []
    say("cbquic serves at \(ports[0].local)")
    while true {
      wait(ports, until: exchanges.compactMap { $0.connection.deadline }.min())
      for port in ports {
        while port.receive({ datagram, remote, ecn in
          let path = Path(local: port.local, remote: remote)
          switch endpoint.route(UnsafeRawBufferPointer(datagram), from: path, now: now, reply: reply) {
          case .connection(let exchange): exchange.connection.receive(datagram, path: path, ecn: ecn, now: now)
          case .accept(let request):
            let session = tls.makeSession()
            let exchange = Exchange(
              Connection(
                server: configuration, tls: session, path: path, initial: request, now: now,
                entropy: SystemEntropy.shared),
              tls: session, files: Files(in: directory), options: options)
            exchanges.append(exchange)
            exchange.connection.receive(datagram, path: path, ecn: ecn, now: now)
            exchange.run()
            for id in exchange.takeRoutes().issued { endpoint.add(id, exchange) }
          case .reply(let count):
            port.send(
              UnsafeRawBufferPointer(rebasing: reply[..<count]), segmentSize: count, to: remote, ecn: .notECT)
          // This server has one ring.
          case .drop, .ring: break
          }
        }) {}
      }
      for exchange in exchanges {
        if let deadline = exchange.connection.deadline, deadline <= now { exchange.connection.handleTimeout(now: now) }
        let wasOpen = exchange.closeReason == nil
        exchange.run()
        let routes = exchange.takeRoutes()
        for id in routes.issued { endpoint.add(id, exchange) }
        for id in routes.retired { endpoint.remove(id) }
        flush(exchange, from: ports)
        if wasOpen, exchange.closeReason != nil { say(exchange.summary(ecn: codepoints(ports))) }
      }
      exchanges.removeAll { $0.connection.isDrained }
    }
  }
}
