import Identity
public import Ring
import Settings

extension PoPSettings.BGP {
  /// How a neighbor's connections are authenticated by the TCP Authentication Option.
  public struct Authentication: Hashable, Sendable {
    public var keyFile: String
    public var sendID: UInt8
    public var receiveID: UInt8
    public var algorithm: TCPAuthentication.Algorithm

    /// Nil where there is no key.
    init?(_ settings: ResolvedSettings, _ path: String) {
      guard let file = settings.path("\(path).keyFile") else { return nil }
      keyFile = file
      sendID = UInt8(settings.integer("\(path).sendID"))
      receiveID = UInt8(settings.integer("\(path).receiveID"))
      algorithm = settings.text("\(path).algorithm").flatMap { .init(rawValue: $0) } ?? .hmacSHA1
    }
  }

  static let authenticationKeys: [Schema.Key] = [
    .value(
      "keyFile", .path, example: "/etc/cloudbridge/tor1-ao.key",
      "In place of passwordFile, the master key of the TCP Authentication Option (RFC 5925), at most 80 bytes; the kernel "
        + "needs CONFIG_TCP_AO, of 6.7. Must not be readable by others."),
    .value(
      "sendID", .integer(0...255), default: "1", "With keyFile: the KeyID of what is sent; the neighbor's to receive."),
    .value("receiveID", .integer(0...255), default: "1", "With keyFile: the KeyID that the neighbor sends with."),
    .value(
      "algorithm", .choice(TCPAuthentication.Algorithm.allCases.map(\.rawValue)),
      default: TCPAuthentication.Algorithm.hmacSHA1.rawValue, "With keyFile: of RFC 5926."),
  ]
}

extension TCPAuthentication {
  /// Throws what is wrong with the key's file.
  init(_ settings: PoPSettings.BGP.Authentication) throws {
    let key = Array(try Secret(file: settings.keyFile).exposed.utf8)
    guard (1...80).contains(key.count) else { throw SecretFileError.noPassword(settings.keyFile) }
    self.init(key: key, algorithm: settings.algorithm, sendID: settings.sendID, receiveID: settings.receiveID)
  }
}
