import PacketCrypto
import Wire

struct Usage: Error, CustomStringConvertible {
  var description: String
  init(_ description: String) { self.description = description }
}

/// The command line: `cbquic serve|get ADDRESS [switches] [NAME...]`.
struct Options {
  static let usage = """
    usage: cbquic serve ADDRESS:PORT --cert FILE --key FILE --dir DIR [--retry] [switches]
           cbquic get ADDRESS:PORT --ca FILE --name SERVERNAME --dir DIR [--connections one|two|each] [switches] NAME...
      --alpn NAME          hq-interop (HTTP/0.9, the default) or h3
      --versions LIST      versions of QUIC spoken, the preferred one first (v1,v2)
      --initial-version V  what a client begins with (v1)
      --early              offers or takes 0-RTT
      --key-update N       updates keys every N packets
      --migrate BYTES      a client moves to another address after so many bytes
      --preferred ADDRESS  a server would rather be reached there, and listens there too
      --no-ecn             sends without ECN marks
      --keylog FILE        appends TLS secrets
      --timeout SECONDS    a client gives up after so long (60)
    """
  enum Role: String { case serve, get }
  enum ALPN: String {
    case hq = "hq-interop"
    case h3
  }
  /// How a client spreads its files over connections: two are the first file on one and the rest on another.
  enum Connections: String { case one, two, each }

  var role: Role
  var address: SocketAddress
  var certificate = ""
  var key = ""
  var authorities = ""
  var name = "localhost"
  var directory = "."
  var alpn = ALPN.hq
  var versions = Version.supported
  var initialVersion = Version.v1
  var retry = false
  var early = false
  var ecn = true
  var keyUpdate: UInt64?
  var migrate: Int?
  var preferred: SocketAddress?
  var keyLog: String?
  var timeout = 60
  var connections = Connections.one
  var names: [String] = []

  init(_ arguments: some Collection<String>) throws {
    var rest = Array(arguments)[...]
    guard let role = rest.popFirst().flatMap({ Role(rawValue: $0) }),
      let address = rest.popFirst().flatMap({ SocketAddress($0) })
    else { throw Usage(Self.usage) }
    self.role = role
    self.address = address
    while let word = rest.popFirst() {
      func value() throws -> String {
        guard let value = rest.popFirst() else { throw Usage("\(word) needs a value") }
        return value
      }
      func number<Value: LosslessStringConvertible>() throws -> Value {
        guard let value = try Value(value()) else { throw Usage("\(word) needs a number") }
        return value
      }
      switch word {
      case "--cert": certificate = try value()
      case "--key": key = try value()
      case "--ca": authorities = try value()
      case "--name": name = try value()
      case "--dir": directory = try value()
      case "--alpn":
        guard let choice = ALPN(rawValue: try value()) else { throw Usage("--alpn hq-interop|h3") }
        alpn = choice
      case "--versions": versions = try value().split(separator: ",").map(Self.version)
      case "--initial-version": initialVersion = try Self.version(value())
      case "--retry": retry = true
      case "--early": early = true
      case "--no-ecn": ecn = false
      case "--key-update": keyUpdate = try number()
      case "--migrate": migrate = try number()
      case "--preferred":
        guard let address = try SocketAddress(value()) else { throw Usage("\(word) needs an address and a port") }
        preferred = address
      case "--keylog": keyLog = try value()
      case "--timeout": timeout = try number()
      case "--connections":
        guard let choice = Connections(rawValue: try value()) else { throw Usage("--connections one|two|each") }
        connections = choice
      default:
        guard !word.hasPrefix("-") else { throw Usage("\(word)?\n" + Self.usage) }
        names.append(word)
      }
    }
  }

  private static func version(_ name: some StringProtocol) throws -> Version {
    switch name {
    case "v1": .v1
    case "v2": .v2
    default: throw Usage("\(name)? versions are v1 and v2")
    }
  }
}
