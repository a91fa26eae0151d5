public import Wire

/// An OPEN message (RFC 4271 §4.2) whose optional parameters are capabilities (RFC 5492).
public struct OpenMessage: Hashable, Sendable {
  /// My Autonomous System: AS_TRANS for a number of four octets, which a capability holds (RFC 6793 §9).
  public var autonomousSystem: UInt16
  /// Seconds; 0 stands for no hold timer.
  public var holdTime: UInt16
  public var identifier: IPv4Address
  public var capabilities: [Capability]

  /// RFC 6793 §9.
  public static let asTrans: UInt16 = 23_456

  /// - Parameter autonomousSystem: goes into the field, or into AS_TRANS, and into a four-octet AS capability.
  public init(autonomousSystem: UInt32, holdTime: UInt16, identifier: IPv4Address, capabilities: [Capability]) {
    self.autonomousSystem = UInt16(exactly: autonomousSystem) ?? Self.asTrans
    self.holdTime = holdTime
    self.identifier = identifier
    self.capabilities = capabilities + [.fourOctetAS(autonomousSystem)]
  }

  /// The AS number that the capability holds, else the field's.
  public var effectiveAS: UInt32 {
    for case .fourOctetAS(let number) in capabilities { return number }
    return UInt32(autonomousSystem)
  }

  public var families: [AddressFamily] {
    capabilities.compactMap { if case .multiprotocol(let family) = $0 { family } else { nil } }
  }
}

extension OpenMessage {
  /// Reads the body, what follows the header, and checks it as far as no configuration is needed.
  ///
  /// - Throws: an OPEN Message Error (RFC 4271 §6.2).
  public init(body: UnsafeRawBufferPointer) throws(NotificationMessage) {
    var reader = ByteReader(body)
    guard let version = reader.readUInt8() else { throw .malformedOpen }
    // RFC 4271 §6.2: "the Error Subcode MUST be set to Unsupported Version Number"
    guard version == 4 else { throw .unsupportedVersion }
    guard let number = reader.readUInt16(), let holdTime = reader.readUInt16(), let identifier = reader.readUInt32(),
      let length = reader.readUInt8()
    else { throw .malformedOpen }
    autonomousSystem = number
    self.holdTime = holdTime
    self.identifier = IPv4Address(rawValue: identifier)
    capabilities = []

    // RFC 9072 §2: 255 as both length and first type announces lengths of two octets.
    let isExtended = length == 255 && reader.peekUInt8() == 255
    if isExtended {
      guard reader.skip(1), let extended = reader.readUInt16(), Int(extended) == reader.remaining else {
        throw .malformedOpen
      }
    } else {
      guard Int(length) == reader.remaining else { throw .malformedOpen }
    }
    while !reader.isAtEnd {
      guard let type = reader.readUInt8(),
        let length = isExtended ? reader.readUInt16().map(Int.init) : reader.readUInt8().map(Int.init),
        let value = reader.readBytes(length)
      else { throw .malformedOpen }
      // RFC 4271 §6.2: "If one of the Optional Parameters in the OPEN message is not recognized, then the Error
      // Subcode MUST be set to Unsupported Optional Parameters."
      guard type == 2 else { throw .unsupportedOptionalParameter }
      try readCapabilities(value)
    }
  }

  private mutating func readCapabilities(_ bytes: UnsafeRawBufferPointer) throws(NotificationMessage) {
    var reader = ByteReader(bytes)
    while !reader.isAtEnd {
      guard let code = reader.readUInt8(), let length = reader.readUInt8(), let value = reader.readBytes(Int(length))
      else { throw .malformedOpen }
      let capability = try Capability(code: code, value: value)
      // RFC 5492 §4: several instances with the same value say no more than one.
      if !capabilities.contains(capability) { capabilities.append(capability) }
    }
  }

  /// The whole message. Capabilities stand in one optional parameter, or in the longer form of RFC 9072.
  public var serialized: [UInt8] {
    let offered = capabilities.flatMap(\.serialized)
    var parameters: [UInt8] = []
    if offered.isEmpty {
      parameters = [0]
    } else if offered.count <= 253 {
      parameters = [UInt8(offered.count + 2), 2, UInt8(offered.count)] + offered
    } else {
      let kept = offered.prefix(MessageHeader.maximumLength - MessageType.open.minimumLength - 6)
      let length = kept.count + 3
      parameters = [
        255, 255, UInt8(length >> 8), UInt8(length & 0xff), 2, UInt8(kept.count >> 8), UInt8(kept.count & 0xff),
      ]
      parameters += kept
    }
    let id = identifier.rawValue
    let body: [UInt8] = [
      4, UInt8(autonomousSystem >> 8), UInt8(autonomousSystem & 0xff), UInt8(holdTime >> 8), UInt8(holdTime & 0xff),
      UInt8(id >> 24), UInt8(id >> 16 & 0xff), UInt8(id >> 8 & 0xff), UInt8(id & 0xff),
    ]
    return MessageHeader.bytes(.open, bodyLength: body.count + parameters.count) + body + parameters
  }
}
