/// The OPT pseudo-record (RFC 6891 §6.1), apart from the extended RCODE, which is in ``Header``.
public struct EDNS: Hashable, Sendable {
  /// The largest UDP payload that the sender can take, in octets.
  public var udpPayloadSize: UInt16
  public var version: UInt8 = 0
  /// DO (RFC 3225).
  public var dnssecOK = false
  public var options: [Option] = []

  public struct Option: Hashable, Sendable {
    public var code: UInt16
    public var value: [UInt8]

    public init(code: UInt16, value: [UInt8]) {
      self.code = code
      self.value = value
    }
  }

  /// The payload that crosses nearly every path unfragmented: IPv6's least MTU less the headers.
  public static let safePayloadSize: UInt16 = 1232

  public init(udpPayloadSize: UInt16 = EDNS.safePayloadSize) { self.udpPayloadSize = udpPayloadSize }
}
