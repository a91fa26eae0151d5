import FoundationEssentials
import Wire

/// The address of an OAuth endpoint: https, or plain http on this very machine.
public struct EndpointURL: Sendable, Hashable, CustomStringConvertible {
  public let text: String
  public let host: String
  /// Whether the scheme is https. Plain http is accepted for loopback hosts alone.
  public let isHTTPS: Bool

  /// - Throws: ``OAuthFailure/unusableURL(_:)`` for anything but an absolute https URL (or http to
  ///   loopback) without user information and fragment, of at most 2048 bytes.
  public init(_ text: String) throws(OAuthFailure) {
    let shown = text.printable(limit: 200)
    guard text.utf8.count <= 2048, let parts = URLComponents(string: text), let host = parts.host, !host.isEmpty,
      parts.user == nil, parts.password == nil, parts.fragment == nil
    else { throw .unusableURL(shown) }
    switch parts.scheme?.lowercased() {
    case "https": isHTTPS = true
    case "http" where EndpointURL.isLoopback(host: host): isHTTPS = false
    default: throw .unusableURL(shown)
    }
    self.text = text
    self.host = host
  }

  public var description: String { text }

  /// Whether a URL's host names this machine: `localhost`, 127.0.0.0/8 or ::1, brackets or not.
  public static func isLoopback(host: String) -> Bool {
    var bare = host.lowercased()[...]
    if bare.hasPrefix("["), bare.hasSuffix("]") { bare = bare.dropFirst().dropLast() }
    if bare == "localhost" { return true }
    guard let address = IPAddress(String(bare))?.unmapped else { return false }
    let bytes = address.networkBytes
    return address.isIPv4 ? bytes[0] == 127 : bytes.dropLast().allSatisfy { $0 == 0 } && bytes.last == 1
  }
}
