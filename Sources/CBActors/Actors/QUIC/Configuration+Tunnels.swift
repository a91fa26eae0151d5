public import QUIC
import Wire

extension QUIC.Configuration {
  /// For a connection that carries many tunnels: each stream begins small and grows while its reader keeps
  /// up, and the connection's window is many of those, so that readers that have stopped hold back no other. A path
  /// that comes and goes is found again while it works (docs/decisions/0008-probes-that-keep-on.md).
  public static var tunnels: QUIC.Configuration {
    var configuration = QUIC.Configuration()
    configuration.initialMaxStreamDataBidiLocal = 512 << 10
    configuration.initialMaxStreamDataBidiRemote = 512 << 10
    configuration.maximumStreamWindow = 8 << 20
    configuration.initialMaxData = 32 << 20
    configuration.maximumConnectionWindow = 64 << 20
    configuration.maxStreamsBidi = 2_048
    configuration.probeTimeoutLimit = .seconds(1)
    return configuration
  }
}
