import PacketCrypto
import QUIC

/// A server's TLS session that says other transport parameters than its connection gave it.
final class MisstatingTLS: TLSSession {
  private let session: any TLSSession
  private let change: (inout TransportParameters) -> Void

  init(_ session: any TLSSession, _ change: @escaping (inout TransportParameters) -> Void) {
    self.session = session
    self.change = change
  }

  func setTransportParameters(_ encoded: [UInt8]) {
    // Proof for the unwrap: a server's own parameters are such as a client reads.
    var parameters = try! TransportParameters(encoded, from: .server)
    change(&parameters)
    session.setTransportParameters(parameters.encoded())
  }

  var version: Version {
    get { session.version }
    set { session.version = newValue }
  }
  var resumedVersion: Version? { session.resumedVersion }
  var isResumptionOffered: Bool { session.isResumptionOffered }
  func receive(_ bytes: UnsafeRawBufferPointer, at level: EncryptionLevel) throws(TransportError) {
    try session.receive(bytes, at: level)
  }
  func advance() throws(TransportError) { try session.advance() }
  func nextOutput() -> TLSOutput? { session.nextOutput() }
  var isComplete: Bool { session.isComplete }
  var peerTransportParameters: [UInt8]? { session.peerTransportParameters }
  var applicationProtocol: String? { session.applicationProtocol }
  var isResumed: Bool { session.isResumed }
  var earlyData: EarlyDataState { session.earlyData }
  var rememberedTransportParameters: [UInt8]? { session.rememberedTransportParameters }
  var peerCertificates: [[UInt8]] { session.peerCertificates }
}
