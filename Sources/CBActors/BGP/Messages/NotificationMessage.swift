/// A NOTIFICATION message (RFC 4271 §4.5), and so the error of every reader and of the state machine: what is
/// thrown is what goes on the wire.
public struct NotificationMessage: Error, Hashable, Sendable {
  public var code: ErrorCode
  /// 0 is Unspecific.
  public var subcode: UInt8
  /// What the section of the error asks for; else empty.
  public var data: [UInt8]

  public init(_ code: ErrorCode, subcode: UInt8 = 0, data: [UInt8] = []) {
    self.code = code
    self.subcode = subcode
    self.data = data
  }

  /// RFC 4271 §4.5, and later documents where named.
  public struct ErrorCode: RawRepresentable, Hashable, Sendable {
    public let rawValue: UInt8
    public init(rawValue: UInt8) { self.rawValue = rawValue }

    public static let messageHeader = ErrorCode(rawValue: 1)
    public static let openMessage = ErrorCode(rawValue: 2)
    public static let updateMessage = ErrorCode(rawValue: 3)
    public static let holdTimerExpired = ErrorCode(rawValue: 4)
    public static let finiteStateMachine = ErrorCode(rawValue: 5)
    public static let cease = ErrorCode(rawValue: 6)
    /// RFC 7313 §5.
    public static let routeRefreshMessage = ErrorCode(rawValue: 7)
    /// RFC 9687 §3.2.
    public static let sendHoldTimerExpired = ErrorCode(rawValue: 8)
  }
}

// MARK: - Message Header Errors (RFC 4271 §6.1)

extension NotificationMessage {
  public static let connectionNotSynchronized = Self(.messageHeader, subcode: 1)

  // RFC 4271 §6.1: "The Data field MUST contain the erroneous Length field."
  public static func badMessageLength(_ length: UInt16) -> Self {
    Self(.messageHeader, subcode: 2, data: [UInt8(length >> 8), UInt8(length & 0xff)])
  }

  // RFC 4271 §6.1: "The Data field MUST contain the erroneous Type field."
  public static func badMessageType(_ type: UInt8) -> Self { Self(.messageHeader, subcode: 3, data: [type]) }
}

// MARK: - OPEN Message Errors (RFC 4271 §6.2)

extension NotificationMessage {
  /// Recognized but malformed.
  public static let malformedOpen = Self(.openMessage)
  /// The data is the one version that there is, 4.
  public static let unsupportedVersion = Self(.openMessage, subcode: 1, data: [0, 4])
  public static let badPeerAS = Self(.openMessage, subcode: 2)
  public static let badBGPIdentifier = Self(.openMessage, subcode: 3)
  public static let unsupportedOptionalParameter = Self(.openMessage, subcode: 4)
  public static let unacceptableHoldTime = Self(.openMessage, subcode: 6)
  /// RFC 5492 §5: the capabilities that the peer lacks, as they stand in an OPEN.
  public static func unsupportedCapability(_ capabilities: [UInt8]) -> Self {
    Self(.openMessage, subcode: 7, data: capabilities)
  }
  /// RFC 9234 §4.2.
  public static let roleMismatch = Self(.openMessage, subcode: 11)
}

// MARK: - UPDATE Message Errors (RFC 4271 §6.3)

extension NotificationMessage {
  public static let malformedAttributeList = Self(.updateMessage, subcode: 1)
  /// The data is the whole attribute.
  public static func unrecognizedWellKnownAttribute(_ attribute: [UInt8]) -> Self {
    Self(.updateMessage, subcode: 2, data: attribute)
  }
  public static func missingWellKnownAttribute(_ type: UInt8) -> Self {
    Self(.updateMessage, subcode: 3, data: [type])
  }
  public static func attributeFlagsError(_ attribute: [UInt8]) -> Self {
    Self(.updateMessage, subcode: 4, data: attribute)
  }
  public static func attributeLengthError(_ attribute: [UInt8]) -> Self {
    Self(.updateMessage, subcode: 5, data: attribute)
  }
  public static func invalidOrigin(_ attribute: [UInt8]) -> Self { Self(.updateMessage, subcode: 6, data: attribute) }
  public static func invalidNextHop(_ attribute: [UInt8]) -> Self { Self(.updateMessage, subcode: 8, data: attribute) }
  public static func optionalAttributeError(_ attribute: [UInt8]) -> Self {
    Self(.updateMessage, subcode: 9, data: attribute)
  }
  public static let invalidNetworkField = Self(.updateMessage, subcode: 10)
  public static let malformedASPath = Self(.updateMessage, subcode: 11)
}

// MARK: - The others

extension NotificationMessage {
  public static let holdTimerExpired = Self(.holdTimerExpired)
  public static let sendHoldTimerExpired = Self(.sendHoldTimerExpired)

  /// RFC 6608 §3: which state met a message that it does not expect.
  public enum UnexpectedMessage: UInt8, Sendable { case inOpenSent = 1, inOpenConfirm, inEstablished }
  /// Nil where the event was no message.
  public static func finiteStateMachineError(_ unexpected: UnexpectedMessage?) -> Self {
    Self(.finiteStateMachine, subcode: unexpected?.rawValue ?? 0)
  }

  /// RFC 7313 §5: the data is the whole ROUTE-REFRESH message.
  public static func invalidRouteRefreshLength(_ message: [UInt8]) -> Self {
    Self(.routeRefreshMessage, subcode: 1, data: message)
  }
}

/// Cease subcodes (RFC 4486 §3).
public struct CeaseReason: RawRepresentable, Hashable, Sendable {
  public let rawValue: UInt8
  public init(rawValue: UInt8) { self.rawValue = rawValue }

  public static let maximumPrefixes = CeaseReason(rawValue: 1)
  public static let administrativeShutdown = CeaseReason(rawValue: 2)
  public static let peerDeconfigured = CeaseReason(rawValue: 3)
  public static let administrativeReset = CeaseReason(rawValue: 4)
  public static let connectionRejected = CeaseReason(rawValue: 5)
  public static let otherConfigurationChange = CeaseReason(rawValue: 6)
  public static let collisionResolution = CeaseReason(rawValue: 7)
  public static let outOfResources = CeaseReason(rawValue: 8)
  /// RFC 8538 §3.1.
  public static let hardReset = CeaseReason(rawValue: 9)
  /// RFC 9384 §2.
  public static let bfdDown = CeaseReason(rawValue: 10)

  /// Whether the data is a text for the other operator (RFC 9003 §2).
  var carriesText: Bool { self == .administrativeShutdown || self == .administrativeReset }
}

extension NotificationMessage {
  /// - Parameter text: for the other operator, with an administrative shutdown or reset (RFC 9003). What is beyond
  ///   255 bytes of UTF-8 is cut off between characters.
  public static func cease(_ reason: CeaseReason, _ text: String = "") -> Self {
    guard reason.carriesText, !text.isEmpty else { return Self(.cease, subcode: reason.rawValue) }
    // RFC 9003 §2: an octet of length, then UTF-8.
    var bytes: [UInt8] = []
    for character in text {
      guard bytes.count + character.utf8.count <= 255 else { break }
      bytes += character.utf8
    }
    return Self(.cease, subcode: reason.rawValue, data: [UInt8(bytes.count)] + bytes)
  }

  /// A Hard Reset for the reason of another message (RFC 8538 §3.1): between speakers whose grace survives a
  /// NOTIFICATION, this one ends it.
  public static func hardReset(_ reason: NotificationMessage) -> Self {
    Self(.cease, subcode: CeaseReason.hardReset.rawValue, data: [reason.code.rawValue, reason.subcode] + reason.data)
  }

  var isHardReset: Bool { code == .cease && subcode == CeaseReason.hardReset.rawValue }

  /// The reason that a Hard Reset carries.
  public var hardResetReason: NotificationMessage? {
    guard isHardReset, data.count >= 2 else { return nil }
    return Self(ErrorCode(rawValue: data[0]), subcode: data[1], data: Array(data[2...]))
  }

  /// The shutdown text of the other operator (RFC 9003), with control characters replaced. Nil where there is none, or
  /// none that is valid UTF-8.
  public var shutdownText: String? {
    guard code == .cease, CeaseReason(rawValue: subcode).carriesText, let length = data.first, length > 0,
      data.count >= 1 + Int(length), let text = String(validating: data[1...Int(length)], as: UTF8.self)
    else { return nil }
    return String(
      String.UnicodeScalarView(text.unicodeScalars.map { $0.properties.generalCategory == .control ? "?" : $0 }))
  }

  /// Whether the peer could not do with our version (Event 24).
  var isVersionError: Bool { code == .openMessage && subcode == 1 }
}

// MARK: - Wire

extension NotificationMessage {
  /// Reads the body, what follows the header. Whatever is in it, there is no error to report back (RFC 4271 §6.4); the
  /// header's check has seen to the two octets.
  init(body: UnsafeRawBufferPointer) {
    code = ErrorCode(rawValue: body.count > 0 ? body[0] : 0)
    subcode = body.count > 1 ? body[1] : 0
    data = body.count > 2 ? Array(body[2...]) : []
  }

  /// The whole message. Data beyond the longest message that there is, is cut off.
  public var serialized: [UInt8] {
    let kept = data.prefix(MessageHeader.maximumLength - MessageHeader.length - 2)
    return MessageHeader.bytes(.notification, bodyLength: 2 + kept.count) + [code.rawValue, subcode] + kept
  }
}

extension NotificationMessage: CustomStringConvertible {
  /// Such as `OPEN Message Error: Bad Peer AS`, with a shutdown text behind a Cease.
  public var description: String {
    let names = Self.names[code]
    let name = names?.first ?? "Error \(code.rawValue)"
    var text = name
    if subcode > 0 {
      let subnames = names?.dropFirst() ?? []
      let index = subnames.startIndex + Int(subcode) - 1
      let known = index < subnames.endIndex && !subnames[index].isEmpty
      text += known ? ": \(subnames[index])" : ": subcode \(subcode)"
    }
    if let shutdownText { text += " (\(shutdownText))" }
    if let reason = hardResetReason, !reason.isHardReset { text += " (\(reason))" }
    return text
  }

  /// By code: its name, then those of subcodes 1, 2 and so on.
  private static let names: [ErrorCode: [String]] = [
    .messageHeader: [
      "Message Header Error", "Connection Not Synchronized", "Bad Message Length", "Bad Message Type",
    ],
    .openMessage: [
      "OPEN Message Error", "Unsupported Version Number", "Bad Peer AS", "Bad BGP Identifier",
      "Unsupported Optional Parameter", "", "Unacceptable Hold Time", "Unsupported Capability", "", "", "",
      "Role Mismatch",
    ],
    .updateMessage: [
      "UPDATE Message Error", "Malformed Attribute List", "Unrecognized Well-known Attribute",
      "Missing Well-known Attribute", "Attribute Flags Error", "Attribute Length Error", "Invalid ORIGIN Attribute",
      "", "Invalid NEXT_HOP Attribute", "Optional Attribute Error", "Invalid Network Field", "Malformed AS_PATH",
    ],
    .holdTimerExpired: ["Hold Timer Expired"],
    .finiteStateMachine: [
      "Finite State Machine Error", "Receive Unexpected Message in OpenSent State",
      "Receive Unexpected Message in OpenConfirm State", "Receive Unexpected Message in Established State",
    ],
    .cease: [
      "Cease", "Maximum Number of Prefixes Reached", "Administrative Shutdown", "Peer De-configured",
      "Administrative Reset", "Connection Rejected", "Other Configuration Change", "Connection Collision Resolution",
      "Out of Resources", "Hard Reset", "BFD Down",
    ],
    .routeRefreshMessage: ["ROUTE-REFRESH Message Error", "Invalid Message Length"],
    .sendHoldTimerExpired: ["Send Hold Timer Expired"],
  ]
}
