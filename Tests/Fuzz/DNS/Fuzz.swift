import DNS
import FuzzDriver
import Wire

@main enum FuzzDNS {
  static func main() { runFuzzer(["dns": fuzzDNS]) }
}

private let fuzzResponder: ZoneResponder? = {
  guard let origin = try? DNSName("pop.example") else { return nil }
  var zone = Zone(origin: origin)
  try? zone.insert(Record(origin, ttl: 60, .a(.loopback)))
  return ZoneResponder(zone)
}()

/// What parses must serialize, and parse again to the same.
@Sendable func fuzzDNS(_ bytes: UnsafeRawBufferPointer) {
  if let response = fuzzResponder?.respond(to: bytes, over: .udp) {
    precondition((try? Message(response)) != nil, "the responder sent what does not parse")
  }
  // The bytes as text, for the two parsers of text.
  let text = String(decoding: bytes.prefix(512), as: UTF8.self)
  if let name = try? DNSName(text) {
    precondition((try? DNSName(name.description)) == name, "a name's text reads back as another")
  }
  _ = ResolvConf(text)

  guard let message = try? Message(bytes), !message.header.isTruncated, let again = message.serialized() else { return }
  precondition((try? Message(again)) == message, "what was written reads back as another message")
}
