import QUIC
import Wire

@testable import HTTP3
@testable import MASQUE

/// A Priority Field Value (RFC 9218 §4): what it says must read back from our own writing of it.
@Sendable func fuzzPriority(_ input: UnsafeRawBufferPointer) {
  let text = String(decoding: input, as: UTF8.self)
  let priority = PriorityParameters(fieldValue: text)
  precondition((priority.urgency ?? 0) <= 7)
  precondition(PriorityParameters(fieldValue: priority.fieldValue) == priority, "a priority reads back as another")
  if let dictionary = StructuredDictionary(text) {
    precondition(dictionary.members.keys.allSatisfy { !$0.isEmpty }, "a member without a name")
  }
}

private let template = try! URITemplate("https://pop.example/{target_host}/udp{?target_port,q}")

/// The path of a request for a UDP tunnel, the authority of one for a TCP tunnel, and a client's own template.
@Sendable func fuzzTarget(_ input: UnsafeRawBufferPointer) {
  let text = String(decoding: input, as: UTF8.self)
  if let target = try? Target(authority: text) {
    precondition((try? Target(authority: target.authority)) == target, "a target reads back as another")
    if let template = try? URITemplate.default(authority: text) { _ = template.expand(target) }
  }
  if let target = try? template.match(text) {
    precondition((try? template.match(template.expand(target))) == target, "a path leads to another target")
  }
  if let own = try? URITemplate(text) { _ = own.expand(Target(host: .name("a.example"), port: 443)) }
  let request: HeaderList = [":method": "CONNECT", ":authority": text, "capsule-protocol": text]
  _ = try? ConnectTCP.target(of: request)
  _ = CapsuleProtocol.isAnnounced(request)
}
