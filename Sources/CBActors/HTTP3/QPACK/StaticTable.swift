/// The static table (RFC 9204 Appendix A): 99 field lines that need no transmission.
enum StaticTable {
  struct Entry {
    let name: String
    let value: String
  }

  static let count = 99

  /// The entry at `index`, or nil beyond the end.
  static func entry(_ index: UInt64) -> Entry? {
    index < UInt64(count) ? entries[Int(index)] : nil
  }

  enum Match {
    case line(UInt64)
    case name(UInt64)
    case none
  }

  /// The entry that says most of a field: the whole line, else the name alone, else nothing.
  static func match(_ name: String, _ value: String) -> Match {
    guard let first = firstIndex[name] else { return .none }
    // Entries of one name are not all neighbours (:status, for one, is in two runs), so look to the end.
    for index in first..<count where entries[index].name == name && entries[index].value == value {
      return .line(UInt64(index))
    }
    return .name(UInt64(first))
  }

  private static let firstIndex: [String: Int] = Dictionary(
    entries.enumerated().map { ($1.name, $0) }, uniquingKeysWith: { first, _ in first })

  static let entries: [Entry] = [
    Entry(name: ":authority", value: ""),
    Entry(name: ":path", value: "/"),
    Entry(name: "age", value: "0"),
    Entry(name: "content-disposition", value: ""),
    Entry(name: "content-length", value: "0"),
    Entry(name: "cookie", value: ""),
    Entry(name: "date", value: ""),
    Entry(name: "etag", value: ""),
    Entry(name: "if-modified-since", value: ""),
    Entry(name: "if-none-match", value: ""),
    Entry(name: "last-modified", value: ""),
    Entry(name: "link", value: ""),
    Entry(name: "location", value: ""),
    Entry(name: "referer", value: ""),
    Entry(name: "set-cookie", value: ""),
    Entry(name: ":method", value: "CONNECT"),
    Entry(name: ":method", value: "DELETE"),
    Entry(name: ":method", value: "GET"),
    Entry(name: ":method", value: "HEAD"),
    Entry(name: ":method", value: "OPTIONS"),
    Entry(name: ":method", value: "POST"),
    Entry(name: ":method", value: "PUT"),
    Entry(name: ":scheme", value: "http"),
    Entry(name: ":scheme", value: "https"),
    Entry(name: ":status", value: "103"),
    Entry(name: ":status", value: "200"),
    Entry(name: ":status", value: "304"),
    Entry(name: ":status", value: "404"),
    Entry(name: ":status", value: "503"),
    Entry(name: "accept", value: "*/*"),
    Entry(name: "accept", value: "application/dns-message"),
    Entry(name: "accept-encoding", value: "gzip, deflate, br"),
    Entry(name: "accept-ranges", value: "bytes"),
    Entry(name: "access-control-allow-headers", value: "cache-control"),
    Entry(name: "access-control-allow-headers", value: "content-type"),
    Entry(name: "access-control-allow-origin", value: "*"),
    Entry(name: "cache-control", value: "max-age=0"),
    Entry(name: "cache-control", value: "max-age=2592000"),
    Entry(name: "cache-control", value: "max-age=604800"),
    Entry(name: "cache-control", value: "no-cache"),
    Entry(name: "cache-control", value: "no-store"),
    Entry(name: "cache-control", value: "public, max-age=31536000"),
    Entry(name: "content-encoding", value: "br"),
    Entry(name: "content-encoding", value: "gzip"),
    Entry(name: "content-type", value: "application/dns-message"),
    Entry(name: "content-type", value: "application/javascript"),
    Entry(name: "content-type", value: "application/json"),
    Entry(name: "content-type", value: "application/x-www-form-urlencoded"),
    Entry(name: "content-type", value: "image/gif"),
    Entry(name: "content-type", value: "image/jpeg"),
    Entry(name: "content-type", value: "image/png"),
    Entry(name: "content-type", value: "text/css"),
    Entry(name: "content-type", value: "text/html; charset=utf-8"),
    Entry(name: "content-type", value: "text/plain"),
    Entry(name: "content-type", value: "text/plain;charset=utf-8"),
    Entry(name: "range", value: "bytes=0-"),
    Entry(name: "strict-transport-security", value: "max-age=31536000"),
    Entry(name: "strict-transport-security", value: "max-age=31536000; includesubdomains"),
    Entry(name: "strict-transport-security", value: "max-age=31536000; includesubdomains; preload"),
    Entry(name: "vary", value: "accept-encoding"),
    Entry(name: "vary", value: "origin"),
    Entry(name: "x-content-type-options", value: "nosniff"),
    Entry(name: "x-xss-protection", value: "1; mode=block"),
    Entry(name: ":status", value: "100"),
    Entry(name: ":status", value: "204"),
    Entry(name: ":status", value: "206"),
    Entry(name: ":status", value: "302"),
    Entry(name: ":status", value: "400"),
    Entry(name: ":status", value: "403"),
    Entry(name: ":status", value: "421"),
    Entry(name: ":status", value: "425"),
    Entry(name: ":status", value: "500"),
    Entry(name: "accept-language", value: ""),
    Entry(name: "access-control-allow-credentials", value: "FALSE"),
    Entry(name: "access-control-allow-credentials", value: "TRUE"),
    Entry(name: "access-control-allow-headers", value: "*"),
    Entry(name: "access-control-allow-methods", value: "get"),
    Entry(name: "access-control-allow-methods", value: "get, post, options"),
    Entry(name: "access-control-allow-methods", value: "options"),
    Entry(name: "access-control-expose-headers", value: "content-length"),
    Entry(name: "access-control-request-headers", value: "content-type"),
    Entry(name: "access-control-request-method", value: "get"),
    Entry(name: "access-control-request-method", value: "post"),
    Entry(name: "alt-svc", value: "clear"),
    Entry(name: "authorization", value: ""),
    Entry(name: "content-security-policy", value: "script-src 'none'; object-src 'none'; base-uri 'none'"),
    Entry(name: "early-data", value: "1"),
    Entry(name: "expect-ct", value: ""),
    Entry(name: "forwarded", value: ""),
    Entry(name: "if-range", value: ""),
    Entry(name: "origin", value: ""),
    Entry(name: "purpose", value: "prefetch"),
    Entry(name: "server", value: ""),
    Entry(name: "timing-allow-origin", value: "*"),
    Entry(name: "upgrade-insecure-requests", value: "1"),
    Entry(name: "user-agent", value: ""),
    Entry(name: "x-forwarded-for", value: ""),
    Entry(name: "x-frame-options", value: "deny"),
    Entry(name: "x-frame-options", value: "sameorigin"),
  ]
}
