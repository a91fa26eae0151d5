import Foundation
import HTTP3
import Identity

/// A page that a PoP itself serves over HTTP/3.
struct PoPPage {
  var fields: HeaderList
  var body: [UInt8]

  /// Where a client learns, with its token, which PoP it reached and as whom.
  static let sessionPath = "/.well-known/cloudbridge/session"

  init(fields: HeaderList, text: String) {
    self.fields = fields
    body = Array((text + "\n").utf8)
    self.fields.append("content-type", "text/plain; charset=utf-8")
    self.fields.append("content-length", "\(body.count)")
  }

  init(status: Int, text: String, extra: [String: String] = [:]) {
    var fields: HeaderList = [":status": "\(status)"]
    for (name, value) in extra.sorted(by: { $0.key < $1.key }) { fields.append(name, value) }
    self.init(fields: fields, text: text)
  }

  init(json: some Encodable) {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys]
    encoder.dateEncodingStrategy = .iso8601
    body = Array((try? encoder.encode(json)) ?? Data())
    fields = [
      ":status": "200", "content-type": "application/json", "cache-control": "no-store",
      "content-length": "\(body.count)",
    ]
  }

  /// What anyone may read.
  static func open(path: String, pop: String) -> PoPPage {
    switch path {
    case "/":
      PoPPage(
        status: 200,
        text: "This is \(pop), a CloudBridge point of presence. Tunnels open by CONNECT and connect-udp, with a token.")
    case "/healthz": PoPPage(status: 200, text: "ok")
    default: PoPPage(status: 404, text: "There is no such page.")
    }
  }

  static func session(pop: String, identity: VerifiedIdentity) -> PoPPage {
    struct Session: Encodable {
      var pop: String
      var subject: String
      var name: String?
      var expiresAt: Date
    }
    return PoPPage(
      json: Session(pop: pop, subject: identity.subject, name: identity.name, expiresAt: identity.expiresAt))
  }
}
