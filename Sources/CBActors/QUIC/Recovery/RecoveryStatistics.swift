/// Counters of one connection's sending side, over its life.
struct RecoveryStatistics: Hashable, Sendable {
  var packetsSent: UInt64 = 0
  var bytesSent: UInt64 = 0
  var packetsLost: UInt64 = 0
  var bytesLost: UInt64 = 0
  var probeTimeouts: UInt64 = 0
  var persistentCongestions: UInt64 = 0
  /// Times that the window was reduced for loss or CE marks.
  var congestionEvents: UInt64 = 0
  /// Recovery periods all of whose lost packets arrived after all.
  var spuriousRecoveries: UInt64 = 0
}
