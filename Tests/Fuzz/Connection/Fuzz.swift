import FuzzDriver
import PacketCrypto
import Wire

@testable import QUIC

/// The first byte says how the connections are set up; each operation after it begins with a byte of its own.
@main enum FuzzConnection {
  static func main() {
    runFuzzer([
      "server": { attack($0, on: .server, isAfterHandshake: true) },
      "client": { attack($0, on: .client, isAfterHandshake: true) },
      "handshake": { attack($0, on: .server, isAfterHandshake: false) },
    ])
  }
}

@Sendable private func attack(_ bytes: UnsafeRawBufferPointer, on role: Role, isAfterHandshake: Bool) {
  var input = Input(rest: bytes)
  let setup = Setup(input.byte())
  Attack(on: role, setup, isAfterHandshake: isAfterHandshake).run(&input)
}

/// How the connections are configured.
struct Setup {
  let speaksHTTP: Bool
  let isTight: Bool
  let congestion: CongestionAlgorithm

  init(_ bits: UInt8) {
    speaksHTTP = bits & 1 != 0
    isTight = bits & 2 != 0
    congestion = bits & 4 != 0 ? .newReno : .cubic
  }

  var configuration: Configuration {
    var configuration = Configuration()
    configuration.congestion = congestion
    if isTight {
      configuration.initialMaxData = 2_000
      configuration.initialMaxStreamDataBidiLocal = 1_000
      configuration.initialMaxStreamDataBidiRemote = 1_000
      configuration.initialMaxStreamDataUni = 1_000
      configuration.maximumStreamWindow = 4_000
      configuration.maximumConnectionWindow = 8_000
      configuration.maxStreamsBidi = 2
      configuration.maxStreamsUni = 3
      configuration.sendBufferLimit = 2_000
      configuration.datagramQueueLimit = 1_000
    }
    return configuration
  }
}
