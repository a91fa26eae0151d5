import DNS
import Wire

/// libFuzzer's entry for DNS messages: what parses must serialize, and parse again to the same.
///
/// Built apart from the package: `swiftc -parse-as-library -sanitize=fuzzer,address`, together with the
/// sources of Wire and DNS or against their modules; run with `corpus/` as its seeds.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzDNSMessage(_ bytes: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
  fuzzDNS(UnsafeRawBufferPointer(start: bytes, count: bytes == nil ? 0 : count))
  return 0
}

private let fuzzResponder: ZoneResponder? = {
  guard let origin = try? DNSName("pop.example") else { return nil }
  var zone = Zone(origin: origin)
  try? zone.insert(Record(origin, ttl: 60, .a(.loopback)))
  return ZoneResponder(zone)
}()

public func fuzzDNS(_ bytes: UnsafeRawBufferPointer) {
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
