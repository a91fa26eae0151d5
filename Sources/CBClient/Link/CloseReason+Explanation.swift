import PacketCrypto
import QUIC

extension CloseReason {
  /// What a user should read.
  var explanation: String {
    switch self {
    case .localTransport(let error): error.code.alert != nil ? "TLS failed: \(error.reason)" : "\(error)"
    case .peerTransport(let error): "the PoP closed the connection: \(error)"
    case .localApplication(let code, let reason): reason.isEmpty ? "closed (0x\(String(code, radix: 16)))" : reason
    case .peerApplication(let code, let reason):
      "the PoP closed the connection" + (reason.isEmpty ? " (0x\(String(code, radix: 16)))" : ": \(reason)")
    case .idleTimeout: "the PoP has fallen silent"
    case .handshakeTimeout: "no answer"
    case .statelessReset: "the PoP was restarted and no longer knows the connection"
    case .versionMismatch(let offered):
      "the PoP speaks QUIC \(Self.names(offered)), this client \(Self.names(Version.supported))"
    }
  }

  /// Versions that are not there to exercise those who read them (RFC 9000 §15).
  private static func names(_ versions: [Version]) -> String {
    let names = versions.filter { !$0.isReserved }.map(\.description)
    return names.isEmpty ? "in no version that it names" : names.joined(separator: ", ")
  }

  /// What a user may do about it.
  var hint: String? {
    switch self {
    case .localTransport(let error) where error.code.alert != nil:
      "pop.trust of the profile says whom to trust (caFile, systemRoots, pins)"
    case .handshakeTimeout: "is UDP to the PoP allowed on this network?"
    default: nil
    }
  }
}
