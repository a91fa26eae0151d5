public import QUIC
import Wire

/// Keys that mean the same in a PoP's settings and in a client's profile.
extension Schema.Key {
  // MARK: Of transport

  public static var congestion: Self {
    .value(
      "congestion", .choice(CongestionAlgorithm.allCases.map(\.rawValue)),
      default: CongestionAlgorithm.bbrV3.rawValue,
      environment: "CBR_CC",
      "The congestion controller: bbrv3 (draft-ietf-ccwg-bbr), cubic (RFC 9438) or newreno (RFC 9002 section 7).")
  }

  public static var handshakeTimeout: Self {
    .value(
      "handshakeTimeout", .duration(.milliseconds(100)...(.seconds(120))), default: "10s",
      "How long a handshake may take.")
  }

  public static var idleTimeout: Self {
    .value(
      "idleTimeout", .duration(.seconds(1)...(.seconds(3600))), default: "30s",
      "Silence after which a connection counts as lost.")
  }

  public static var maximumMTU: Self {
    .value(
      "maximumMTU", .integer(1200...65527), default: "1452",
      "The largest UDP payload in bytes to try.")
  }

  /// - Parameter example: a directory of the program's.
  public static func qlogDirectory(example: String) -> Self {
    .value(
      "qlogDirectory", .path, example: example,
      "An existing directory for a qlog of each connection, readable by the owner alone. They grow fast: for looking "
        + "into a fault.")
  }

  // MARK: Of dns

  public static var resolvers: Self {
    .list(
      "servers", .socketAddress, example: ["192.0.2.53:53"],
      "Resolvers as address:port. Without any, those of /etc/resolv.conf are asked.")
  }
}

extension ResolvedSettings {
  /// What ``Schema/Key/congestion`` of `transport` says.
  public var congestion: CongestionAlgorithm {
    text("transport.congestion").flatMap(CongestionAlgorithm.init) ?? .bbrV3
  }
}
