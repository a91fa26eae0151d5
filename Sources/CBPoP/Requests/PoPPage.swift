import Foundation
import HTTP3
import Identity

/// A page that a PoP itself serves over HTTP/3.
struct PoPPage {
  var fields: HeaderList
  var body: [UInt8]

  /// Where a client learns, with its token, which PoP it reached and as whom.
  static let sessionPath = "/.well-known/cloudbridge/session"
  /// Says that the PoP is there, whatever `pages.directory` holds.
  static let healthPath = "/healthz"

  init(fields: HeaderList, body: [UInt8]) {
    self.fields = fields
    self.body = body
  }

  init(fields: HeaderList, text: String) {
    self.fields = fields
    body = Array((text + "\n").utf8)
    self.fields.append("content-type", "text/plain; charset=utf-8")
    self.fields.append("content-length", "\(body.count)")
  }

  /// The fields with the date that a server with a clock says (RFC 9110 §6.6.1).
  func dated(_ now: Date) -> HeaderList {
    var fields = fields
    fields.append("date", now.fieldValue)
    return fields
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
    case healthPath: PoPPage(status: 200, text: "ok")
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

extension Date {
  /// As fields have it (RFC 9110 §5.6.7), such as `Sun, 06 Nov 1994 08:49:37 GMT`.
  var fieldValue: String {
    var seconds = time_t(timeIntervalSince1970)
    var parts = tm()
    gmtime_r(&seconds, &parts)
    return withUnsafeTemporaryAllocation(of: CChar.self, capacity: 64) { text in
      // The C locale's names, since nothing here sets another.
      let count = strftime(text.baseAddress!, text.count, "%a, %d %b %Y %H:%M:%S GMT", &parts)
      return String(decoding: text[..<count].map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }
  }
}
