public import Wire

/// A rule of policy routing: which table packets look into (`struct fib_rule_hdr`, linux/fib_rules.h).
public struct Rule: Hashable, Sendable {
  /// `FR_ACT_*`.
  public enum Action: Hashable, Sendable {
    case lookUp(table: UInt32)
    case blackhole
    case unreachable
    case prohibit
  }

  /// A firewall mark under a mask.
  public struct Mark: Hashable, Sendable {
    public var value: UInt32
    public var mask: UInt32

    public init(_ value: UInt32, mask: UInt32 = .max) {
      self.value = value
      self.mask = mask
    }
  }

  public var isIPv4: Bool
  /// The smaller is asked first.
  public var priority: UInt32
  public var action: Action
  public var source: IPPrefix?
  public var destination: IPPrefix?
  public var mark: Mark?
  /// Names of interfaces.
  public var inputInterface: String?
  public var outputInterface: String?
  public var origin: RouteOrigin

  public init(isIPv4: Bool, priority: UInt32, _ action: Action, origin: RouteOrigin = .cloudBridge) {
    self.isIPv4 = isIPv4
    self.priority = priority
    self.action = action
    self.origin = origin
  }

  /// Nil where the message is malformed, of another family or of an action unknown here.
  init?(_ body: UnsafeRawBufferPointer) {
    var reader = ByteReader(body)
    guard let family = reader.readUInt8(), family == Family.ipv4 || family == Family.ipv6,
      let destinationLength = reader.readUInt8(), let sourceLength = reader.readUInt8(), reader.skip(1),
      let shortTable = reader.readUInt8(), reader.skip(2), let actionNumber = reader.readUInt8(), reader.skip(4)
    else { return nil }
    self.init(isIPv4: family == Family.ipv4, priority: 0, .blackhole, origin: RouteOrigin(rawValue: 0))
    var table = UInt32(shortTable)
    var markValue: UInt32?
    var mask = UInt32.max
    var attributes = AttributeReader(reader)
    while let (type, payload) = attributes.next() {
      switch type {
      case RuleAttribute.destination:
        destination = IPAddress(networkBytes: payload).flatMap { IPPrefix($0, length: Int(destinationLength)) }
      case RuleAttribute.source:
        source = IPAddress(networkBytes: payload).flatMap { IPPrefix($0, length: Int(sourceLength)) }
      case RuleAttribute.inputInterface: inputInterface = payload.text
      case RuleAttribute.outputInterface: outputInterface = payload.text
      case RuleAttribute.priority: priority = payload.host(UInt32.self) ?? 0
      case RuleAttribute.mark: markValue = payload.host(UInt32.self)
      case RuleAttribute.markMask: mask = payload.host(UInt32.self) ?? mask
      case RuleAttribute.table: table = payload.host(UInt32.self) ?? table
      case RuleAttribute.origin: origin = RouteOrigin(rawValue: payload.host(UInt8.self) ?? 0)
      default: break
      }
    }
    mark = markValue.map { Mark($0, mask: mask) }
    switch actionNumber {
    case 1: action = .lookUp(table: table)
    case 6: action = .blackhole
    case 7: action = .unreachable
    case 8: action = .prohibit
    default: return nil
    }
  }

  func write(to writer: inout MessageWriter) {
    var table: UInt32 = 0
    let number: UInt8
    switch action {
    case .lookUp(let wanted):
      table = wanted
      number = 1
    case .blackhole: number = 6
    case .unreachable: number = 7
    case .prohibit: number = 8
    }
    writer.host(isIPv4 ? Family.ipv4 : Family.ipv6)
    writer.host(UInt8(destination?.length ?? 0))
    writer.host(UInt8(source?.length ?? 0))
    writer.host(UInt8(0))
    writer.host(table < 256 ? UInt8(table) : 0)
    writer.host(UInt16(0))
    writer.host(number)
    writer.host(UInt32(0))
    writer.attribute(RuleAttribute.priority, priority)
    writer.attribute(RuleAttribute.origin, origin.rawValue)
    if table >= 256 { writer.attribute(RuleAttribute.table, table) }
    if let destination { writer.attribute(RuleAttribute.destination, destination.address) }
    if let source { writer.attribute(RuleAttribute.source, source.address) }
    if let mark {
      writer.attribute(RuleAttribute.mark, mark.value)
      writer.attribute(RuleAttribute.markMask, mark.mask)
    }
    if let inputInterface { writer.attribute(RuleAttribute.inputInterface, inputInterface) }
    if let outputInterface { writer.attribute(RuleAttribute.outputInterface, outputInterface) }
  }
}
