/// Counters of one connection's sending side, over its life.
package struct RecoveryStatistics: Hashable, Sendable {
  package var packetsSent: UInt64 = 0
  package var bytesSent: UInt64 = 0
  package var packetsLost: UInt64 = 0
  package var bytesLost: UInt64 = 0
  package var probeTimeouts: UInt64 = 0
  package var persistentCongestions: UInt64 = 0
  /// Times that the window was reduced for loss or CE marks.
  package var congestionEvents: UInt64 = 0
  /// Recovery periods all of whose lost packets arrived after all.
  package var spuriousRecoveries: UInt64 = 0
}
