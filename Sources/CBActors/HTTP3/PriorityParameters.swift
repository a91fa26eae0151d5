/// What a Priority field or frame says of a request (RFC 9218 §4, §5). What it does not say stays as it is.
public struct PriorityParameters: Hashable, Sendable {
  /// 0 to 7; 0 is the most urgent.
  public var urgency: UInt8?
  public var incremental: Bool?

  public init(urgency: UInt8? = nil, incremental: Bool? = nil) {
    self.urgency = urgency
    self.incremental = incremental
  }

  /// Reads a Priority Field Value. Parameters that are unknown, out of range or of another type are passed over, and
  /// so is a value that is no structured dictionary (RFC 9218 §4): priorities are advice.
  init(fieldValue: String) {
    guard let dictionary = StructuredDictionary(fieldValue) else { return }
    if case .integer(let value) = dictionary["u"], (0...7).contains(value) { urgency = UInt8(value) }
    if case .boolean(let value) = dictionary["i"] { incremental = value }
  }

  /// Of a header section; nil when it has no Priority field.
  init?(_ list: HeaderList) {
    let values = list.values("priority")
    guard !values.isEmpty else { return nil }
    self.init(fieldValue: values.joined(separator: ", "))
  }

  /// The Priority Field Value, without what is left to its default.
  var fieldValue: String {
    var members: [String] = []
    if let urgency { members.append("u=\(urgency)") }
    if let incremental { members.append(incremental ? "i" : "i=?0") }
    return members.joined(separator: ", ")
  }

  /// RFC 9218 §4.1 and §4.2: an urgency of 3, and not incremental, where nothing is said.
  static let assumed = PriorityParameters(urgency: 3, incremental: false)

  /// `self`, and what it does not say from `other`.
  func completed(by other: PriorityParameters) -> PriorityParameters {
    PriorityParameters(urgency: urgency ?? other.urgency, incremental: incremental ?? other.incremental)
  }
}
