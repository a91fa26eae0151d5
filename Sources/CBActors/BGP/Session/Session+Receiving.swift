public import Wire

/// What the peer sends.
extension Session {
  /// Takes one message from the front of what came on a connection.
  ///
  /// Call it until it says ``Received/nothing``, and take the events after each ``Received/other``: what a message
  /// brings about comes before the message behind it.
  public mutating func receive(
    from bytes: inout UnsafeRawBufferPointer, on id: ConnectionID, now: Instant
  ) -> Received {
    guard let place = place(of: id), let track = self[place] else {
      bytes = UnsafeRawBufferPointer(start: nil, count: 0)
      return .nothing
    }
    let maximumLength = track.parameters?.maximumMessageLength ?? MessageHeader.maximumLength
    let message: MessageStream.Message
    do throws(NotificationMessage) {
      guard let next = try track.stream.next(from: &bytes, maximumLength: maximumLength) else { return .nothing }
      message = next
      self.message = next.octets
    } catch {
      self.message = nil
      handle(.bgpHeaderErr(error), on: place, now)
      return .other
    }
    switch message.type {
    case .update where track.machine.state == .established:
      do throws(NotificationMessage) {
        let update = try reader.read(message.body)
        handle(.updateMsg, on: place, now)
        return .update(update)
      } catch {
        handle(.updateMsgErr(error), on: place, now)
      }
    case .update: handle(.updateMsg, on: place, now)
    case .keepalive: handle(.keepAliveMsg, on: place, now)
    case .open: receiveOpen(message, on: place, now)
    case .notification:
      let notification = NotificationMessage(body: message.body)
      handle(
        notification.isVersionError ? .notifMsgVerErr : .notifMsg, on: place, now, cause: .received(notification))
    case .routeRefresh: receiveRouteRefresh(message.body, on: place, now)
    }
    return .other
  }

  private mutating func receiveRouteRefresh(_ body: UnsafeRawBufferPointer, on place: Place, _ now: Instant) {
    // Outside of Established it is as unexpected as an UPDATE.
    guard let track = self[place], track.machine.state == .established, let parameters = track.parameters else {
      return handle(.updateMsg, on: place, now)
    }
    do throws(NotificationMessage) {
      // RFC 2918 §4 and RFC 7313 §4: of a family that was not negotiated, or a mark that was not, it is ignored.
      guard let message = try RouteRefreshMessage(body: body), parameters.families.contains(message.family),
        message.subtype == .request || parameters.marksRefresh
      else { return }
      events.append(.routeRefresh(message))
    } catch {
      handle(.updateMsgErr(error), on: place, now)
    }
  }

  private mutating func receiveOpen(_ message: MessageStream.Message, on place: Place, _ now: Instant) {
    guard let track = self[place] else { return }
    do throws(NotificationMessage) {
      let open = try OpenMessage(body: message.body)
      let parameters = try SessionParameters(configuration, peer: open)
      let isExpected =
        track.machine.state == .openSent
        || track.machine.timers.delayOpen != .distantFuture && [.connect, .active].contains(track.machine.state)
      if isExpected {
        self[place]?.parameters = parameters
        if let id = track.connection { opensByConnection[id, default: Opens()].received = Array(message.octets) }
        guard survivesCollision(place, parameters, now) else { return }
      }
      // A track that won may have moved.
      let place = second?.connection == track.connection ? Place.second : .main
      handle(.bgpOpen(holdTime: parameters.holdTime), on: place, now)
    } catch {
      handle(.bgpOpenMsgErr(error), on: place, now)
    }
  }

  /// Collision detection (RFC 4271 §6.8), with a valid OPEN on one connection. False when that is the one to go.
  private mutating func survivesCollision(_ place: Place, _ parameters: SessionParameters, _ now: Instant) -> Bool {
    let otherPlace: Place = place == .main ? .second : .main
    guard let this = self[place], let other = self[otherPlace] else { return true }
    switch other.machine.state {
    case .established:
      // RFC 4724 §5: of a peer that keeps its routes through a restart, a new connection says that it has restarted, and
      // that the old one is dead.
      if otherPlace == .main, other.parameters?.retention != nil {
        handle(.tcpConnectionFails, on: .main, now, cause: .transport)
        return true
      }
      // RFC 4271 §6.8: "a connection collision with an existing BGP connection that is in the Established state causes
      // closing of the newly created connection"
      handle(.openCollisionDump, on: place, now)
      return false
    case .openConfirm:
      // "to retain only the connection initiated by the BGP speaker with the higher-valued BGP Identifier"; of equal
      // ones, by the larger AS number (RFC 6286 §2.3).
      let ours = (configuration.identifier.rawValue, configuration.localAS)
      let isOursHigher = ours > (parameters.peerIdentifier.rawValue, parameters.peerAS)
      let keepsThis = this.isOurs == other.isOurs ? !isOursHigher : this.isOurs == isOursHigher
      guard keepsThis else {
        handle(.openCollisionDump, on: place, now)
        return false
      }
      handle(.openCollisionDump, on: otherPlace, now, cause: .collision)
      return true
    case .openSent:
      // Its OPEN will settle it.
      return true
    case .idle, .connect, .active:
      // "a connection collision cannot be detected with connections that are in Idle, Connect, or Active states"
      if place == .second { promoteSecond(now) }
      return true
    }
  }
}
