public import PacketCrypto

/// Agreeing on a version of QUIC (RFC 9368, RFC 9369 §4).
extension Connection {
  func ourVersionInformation() -> VersionInformation {
    var available = configuration.versions
    // RFC 9368 §3: "the version in the Chosen Version field MUST be included in this list"
    if !available.contains(version) { available.append(version) }
    // RFC 9368 §3: "Clients and servers MAY both include versions following the pattern 0x?a?a?a?a"
    if configuration.greases { available.insert(.reserved(UInt32(truncatingIfNeeded: greaseSeed >> 32)), at: 0) }
    return VersionInformation(chosen: version, available: available)
  }

  /// A server chooses when it has seen the client's parameters and before it answers them.
  mutating func chooseVersion(_ encoded: [UInt8]) throws(TransportError) {
    let theirs = try TransportParameters(encoded, from: .client).versionInformation
    if let theirs {
      // RFC 9368 §4: "the server MUST validate that the client's Chosen Version matches the version in use for the
      // connection."
      guard theirs.chosen == originalVersion else {
        throw TransportError(.versionNegotiationError, "chosen version \(theirs.chosen) in \(originalVersion)")
      }
      // A session that is resumed stays in its version: RFC 9369 §5: "Servers MUST validate the originating version of any
      // session ticket or token and not accept one issued from a different version."
      if !tls.isResumptionOffered,
        let preferred = theirs.available.first(where: configuration.versions.contains), preferred != version
      {
        change(to: preferred)
      }
    }
    tls.setTransportParameters(ourTransportParameters().encoded())
  }

  /// From now on packets go out in the negotiated version. RFC 9369 §4.1: "The server MUST NOT discard its original version
  /// Initial receive keys until it successfully processes a Handshake packet with the negotiated version."
  private mutating func change(to negotiated: Version) {
    originalInitialKeys = spaces[0].readKeys
    version = negotiated
    isVersionSettled = true
    installInitialKeys()
    tls.version = negotiated
  }

  /// Packets of other versions than these are dropped.
  mutating func isExpected(_ header: PacketHeader) -> Bool {
    switch header.type {
    // RFC 9369 §4.1: "The client MUST NOT send 0-RTT packets using the negotiated version"
    case .zeroRTT: header.version == originalVersion
    // RFC 9369 §4.1: "Both endpoints MUST send Handshake and 1-RTT packets using the negotiated version. An endpoint MUST
    // drop packets using any other version."
    case .handshake: header.version == version || !isVersionSettled
    case .initial:
      header.version == version || header.version == originalVersion
        || (role == .client && !isVersionSettled && configuration.versions.contains(header.version))
    case .retry, .versionNegotiation, .oneRTT: true
    }
  }

  /// The keys for an Initial packet; to a client, one in another version may say what the server chose.
  mutating func initialReadKeys(_ version: Version) -> ProtectionKeys? {
    if version == self.version || spaces[0].isDiscarded { return spaces[0].readKeys }
    return version == originalVersion ? originalInitialKeys : initialKeys(version).read
  }

  /// An Initial packet of a version was authentic. RFC 9369 §4.1: "The client learns the negotiated version by observing the
  /// first long header Version field that differs from the original version."
  mutating func noteVersion(_ version: Version) {
    if version != self.version, version != originalVersion { change(to: version) }
  }

  /// What a server says in its parameters must be what its packets said (RFC 9368 §4).
  func checkVersion(_ theirs: VersionInformation?) throws(TransportError) {
    guard role == .client else { return }
    guard let theirs = theirs ?? assumedVersionInformation else {
      // RFC 9368 §4: "If a client has reacted to a Version Negotiation packet and the server's Version Information was
      // missing, the client MUST close the connection with a version negotiation error."
      guard !configuration.followsVersionNegotiation, version == originalVersion else {
        throw TransportError(.versionNegotiationError, "no version information")
      }
      return
    }
    // RFC 9368 §4: "clients MUST validate that the server's Chosen Version is equal to the Negotiated Version; if they do
    // not match, the client MUST close the connection with a version negotiation error."
    guard theirs.chosen == version else {
      throw TransportError(.versionNegotiationError, "chosen version \(theirs.chosen) in \(version)")
    }
    guard configuration.followsVersionNegotiation else { return }
    // RFC 9368 §4: "if the client reacted to a Version Negotiation packet and the server's Available Versions field is
    // empty, the client MUST close the connection with a version negotiation error."
    // RFC 9368 §4: "If the client would have selected a different version, the client MUST close the connection with a
    // version negotiation error."
    guard !theirs.available.isEmpty, configuration.choice(among: theirs.available + [version]) == originalVersion else {
      throw TransportError(.versionNegotiationError, "the server offered other versions: a downgrade")
    }
  }

  /// RFC 9368 §8: "the client SHALL proceed as if the server's transport parameters contained a version_information
  /// transport parameter with a Chosen Version set to 0x00000001 and an Available Version list containing exactly one
  /// version set to 0x00000001."
  private var assumedVersionInformation: VersionInformation? {
    guard configuration.followsVersionNegotiation, originalVersion == .v1 else { return nil }
    return VersionInformation(chosen: .v1, available: [.v1])
  }
}

extension Configuration {
  /// What a client begins with. RFC 9369 §5: "Clients MUST NOT use a session ticket or token from a QUIC version 1 connection
  /// to initiate a QUIC version 2 connection, and vice versa."
  func firstVersion(resuming resumed: Version?) -> Version {
    guard !followsVersionNegotiation, let resumed, versions.contains(resumed) else { return initialVersion }
    return resumed
  }

  func choice(among offered: [Version]) -> Version? { versions.first(where: offered.contains) }

  /// What a client begins again with after ``CloseReason/versionMismatch(offered:)``; nil when the server speaks none of
  /// our versions (RFC 9368 §2.1).
  public func following(_ offered: [Version]) -> Configuration? {
    guard let version = choice(among: offered) else { return nil }
    var next = self
    next.initialVersion = version
    next.followsVersionNegotiation = true
    return next
  }
}
