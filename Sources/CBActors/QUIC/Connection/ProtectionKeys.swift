import PacketCrypto

/// One direction's keys at one encryption level (RFC 9001 §5.1).
final class ProtectionKeys {
  let packet: PacketKey
  let header: HeaderProtectionKey

  init(suite: CipherSuite, secret: TrafficSecret, version: Version) {
    packet = PacketKey(suite: suite, secret: secret, version: version)
    header = HeaderProtectionKey(suite: suite, secret: secret, version: version)
  }
}

/// The header-protection key of 1-RTT packets, which outlives each ``GenerationKey``.
final class HeaderKey {
  let key: HeaderProtectionKey
  init(suite: CipherSuite, secret: TrafficSecret, version: Version) {
    key = HeaderProtectionKey(suite: suite, secret: secret, version: version)
  }
}

/// A packet key that a later generation will replace.
final class GenerationKey {
  let key: PacketKey
  init(suite: CipherSuite, secret: TrafficSecret, version: Version) {
    key = PacketKey(suite: suite, secret: secret, version: version)
  }
}
