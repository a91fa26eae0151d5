import Wire

/// A server's preferred address (RFC 9000 §9.6): clients find it at an address that many servers share, and go on at
/// one that is its own.
extension Connection {
  /// What the server's transport parameters say of it.
  mutating func offerPreferredAddress() -> PreferredAddress? {
    let four = configuration.preferredAddresses.first { $0.ip.isIPv4 }
    let six = configuration.preferredAddresses.first { !$0.ip.isIPv4 }
    guard four != nil || six != nil, let id = localIDs.issuePreferred(entropy) else { return nil }
    events.append(.connectionIDIssued(id))
    return PreferredAddress(
      ipv4: four, ipv6: six, connectionID: id, resetToken: localIDs.resetKey.token(for: id))
  }

  mutating func takePreferredAddress(_ preferred: PreferredAddress) throws(TransportError) {
    // RFC 9000 §18.2: "a zero-length connection ID MUST NOT provide a preferred address." "A client MUST treat a
    // violation of these requirements as a connection error of type TRANSPORT_PARAMETER_ERROR."
    guard peerInitialSourceID?.length != 0 else {
      throw TransportError(.transportParameterError, "preferred_address beside a zero-length connection ID")
    }
    peerIDs.addPreferred(preferred)
  }

  /// The client is where the server prefers it to be.
  var isAtPreferredAddress: Bool {
    guard let preferred = peerTransportParameters?.preferredAddress else { return false }
    return active.path.remote == preferred.ipv4 || active.path.remote == preferred.ipv6
  }

  /// RFC 9000 §9.6.1: "Once the handshake is confirmed, the client SHOULD select one of the two addresses provided by the
  /// server and initiate path validation".
  mutating func probePreferredAddress() {
    guard !isAtPreferredAddress, let preferred = peerTransportParameters?.preferredAddress else { return }
    let remote = active.path.remote.ip.unmapped.isIPv4 ? preferred.ipv4 : preferred.ipv6
    guard let remote, let fresh = peerIDs.takeUnused() else { return }
    var path = PathState(
      Path(local: active.path.local, remote: remote), role: role, isValidated: false,
      peerIDSequence: fresh.sequence)
    path.isPreferred = true
    // RFC 9000 §9.6.2: "A client that migrates to a preferred address MUST validate the address it chooses before
    // migrating".
    path.beginValidation(until: clock + validationPeriod)
    others.append(path)
  }

  /// RFC 9000 §9.6.1: "As soon as path validation succeeds, the client SHOULD begin sending all future packets to the new
  /// server address using the new connection ID and discontinue use of the old server address."
  mutating func moveToPreferredAddress(_ index: Int) {
    var old = active
    active = others.remove(at: index)
    active.isPreferred = false
    spin.reset()
    switchPath(from: old)
    // RFC 9000 §9.6.3: "the client MUST abandon validation of the original address and migrate to using the server's preferred
    // address."
    old.leave(until: clock + validationPeriod)
    others.append(old)
    // Something that is no probe makes the server follow.
    isPingDue = true
  }
}
