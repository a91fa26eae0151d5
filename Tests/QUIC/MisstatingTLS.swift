import PacketCrypto
import QUIC

/// A TLS session that says other transport parameters than its connection gave it, or keeps from its connection that the
/// handshake is complete.
final class MisstatingTLS: TLSSession {
  private let session: any TLSSession
  private let change: (inout TransportParameters) -> Void
  var hidesCompletion = false

  init(_ session: any TLSSession, _ change: @escaping (inout TransportParameters) -> Void = { _ in }) {
    self.session = session
    self.change = change
  }

  func setTransportParameters(_ encoded: [UInt8]) {
    // Proof for the unwrap: an end's own parameters are such as its peer reads, and a client takes all of a server's.
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
  var isComplete: Bool { session.isComplete && !hidesCompletion }
  var peerTransportParameters: [UInt8]? { session.peerTransportParameters }
  var applicationProtocol: String? { session.applicationProtocol }
  var isResumed: Bool { session.isResumed }
  var earlyData: EarlyDataState { session.earlyData }
  var rememberedTransportParameters: [UInt8]? { session.rememberedTransportParameters }
  var peerCertificates: [[UInt8]] { session.peerCertificates }
}
