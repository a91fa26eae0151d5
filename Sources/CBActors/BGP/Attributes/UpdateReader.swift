public import Wire

/// Reads the UPDATE messages of one session, by RFC 4271 §6.3 as RFC 7606 revises it.
public struct UpdateReader {
  /// What of the session it takes to read one.
  public struct Context: Sendable {
    /// Those negotiated; of others nothing is taken.
    public var families: AddressFamilies
    /// Families whose prefixes come with path identifiers (RFC 7911).
    public var addPathFamilies: AddressFamilies = []
    /// Whether AS numbers have four octets (RFC 6793).
    public var usesFourOctetAS = true
    public var isInternal: Bool
    public var localAS: UInt32
    public var peerAS: UInt32
    /// Our own end of the session; nil where it is not known.
    public var localAddress: IPAddress?
    /// Whether an external peer's path must begin with its AS (RFC 4271 §6.3 leaves it open).
    public var enforcesFirstAS = true

    public init(families: AddressFamilies, localAS: UInt32, peerAS: UInt32) {
      self.families = families
      self.localAS = localAS
      self.peerAS = peerAS
      isInternal = localAS == peerAS
    }
  }

  /// An attribute that is kept: where its value lies in the message.
  struct Kept {
    var type: AttributeType
    var flags: AttributeFlags
    var value: Range<Int>
  }

  public let context: Context
  /// Of the message read last, in its order.
  var kept: ContiguousArray<Kept> = []
  /// Whether the attributes as they came are their own canonical form.
  var isCanonical = false
  private var seen = SeenAttributes()
  var writer = AttributeWriter()

  public init(_ context: Context) {
    self.context = context
    kept.reserveCapacity(64)
  }

  /// Reads the body, what follows the header.
  ///
  /// - Throws: an UPDATE Message Error that ends the session. One that does not is in ``UpdateMessage/fault``.
  public mutating func read(_ body: UnsafeRawBufferPointer) throws(NotificationMessage) -> UpdateMessage {
    var reader = ByteReader(body)
    // RFC 7606 §3 b: "if Withdrawn Routes Length + Total Attribute Length + 23 exceeds the message Length", the
    // session ends.
    guard let withdrawnLength = reader.readUInt16(), let withdrawn = reader.readBytes(Int(withdrawnLength)),
      let attributesLength = reader.readUInt16(), let attributes = reader.readBytes(Int(attributesLength))
    else { throw .malformedAttributeList }
    let identifiers = context.addPathFamilies.contains(.ipv4Unicast)
    var update = UpdateMessage(
      withdrawn: NLRI(.ipv4Unicast, hasPathIdentifiers: identifiers, withdrawn),
      reachable: NLRI(.ipv4Unicast, hasPathIdentifiers: identifiers, reader.rest), attributes: attributes)
    guard update.withdrawn.isWellFormed, update.reachable.isWellFormed else { throw .invalidNetworkField }

    try readAttributes(attributes, of: &update)
    // Of a family that was not negotiated, it is not known what is in it.
    let hasReachable =
      !update.reachable.isEmpty || seen.contains(.mpReachNLRI) && update.mpReachable.map { !$0.isEmpty } ?? true
    checkMandatory(of: &update)
    // RFC 7606 §5.2: attributes that belong to no reachable prefix, and one of them wrong: then where the prefixes
    // are is in doubt too.
    if let fault = update.fault, !hasReachable, seen.containsOther(than: .mpUnreachNLRI) { throw fault }
    if body.count == 4 {
      update.endOfRIB = .ipv4Unicast
    } else if let mpUnreachable = update.mpUnreachable, mpUnreachable.isEmpty, kept.isEmpty, !hasReachable,
      update.withdrawn.isEmpty
    {
      update.endOfRIB = mpUnreachable.family
    }
    if !context.families.contains(.ipv4Unicast) {
      update.withdrawn = .none(.ipv4Unicast)
      update.reachable = .none(.ipv4Unicast)
    }
    return update
  }

  // MARK: Attributes

  private mutating func readAttributes(
    _ bytes: UnsafeRawBufferPointer, of update: inout UpdateMessage
  ) throws(NotificationMessage) {
    kept.removeAll(keepingCapacity: true)
    seen = SeenAttributes()
    isCanonical = context.usesFourOctetAS
    var previous: UInt8 = 0
    var offset = 0
    while offset < bytes.count {
      let left = bytes.count - offset
      // RFC 7606 §4: too few octets for an attribute, or for its value. The fields behind are still found, by the
      // Total Attribute Length.
      guard left >= 3 else { return update.withdraw(.malformedAttributeList) }
      let rawFlags = bytes[offset]
      let flags = AttributeFlags(rawValue: rawFlags)
      let type = AttributeType(rawValue: bytes[offset + 1])
      let start: Int
      let length: Int
      if flags.contains(.extendedLength) {
        guard left >= 4 else { return update.withdraw(.malformedAttributeList) }
        length = Int(bytes[offset + 2]) << 8 | Int(bytes[offset + 3])
        start = offset + 4
        if length <= 255 { isCanonical = false }
      } else {
        length = Int(bytes[offset + 2])
        start = offset + 3
      }
      guard bytes.count - start >= length else {
        return update.withdraw(.attributeLengthError(Array(bytes[offset...])))
      }
      let attribute = UnsafeRawBufferPointer(rebasing: bytes[offset..<start + length])
      let value = UnsafeRawBufferPointer(rebasing: bytes[start..<start + length])
      offset = start + length

      if !seen.insert(type) {
        // RFC 7606 §3 g: the two that hold prefixes may not be there twice; of any other, the first counts.
        if type == .mpReachNLRI || type == .mpUnreachNLRI { throw .malformedAttributeList }
        discard(&update)
        continue
      }
      if type.rawValue <= previous || rawFlags & 0x0f != 0 { isCanonical = false }
      previous = type.rawValue
      let keeps =
        switch type {
        case .mpReachNLRI: try readMPReach(value, attribute, flags, &update)
        case .mpUnreachNLRI: try readMPUnreach(value, attribute, flags, &update)
        default: try readAttribute(type, flags, value, attribute, &update)
        }
      guard keeps else {
        isCanonical = false
        continue
      }
      var keptFlags = flags.subtracting([.extendedLength]).intersection([.optional, .transitive, .partial])
      if AttributeRule.of(type) == nil, !keptFlags.contains(.partial) {
        // RFC 4271 §9: "the Partial bit (the third high-order bit) in the attribute flags octet is set to 1"
        keptFlags.insert(.partial)
        isCanonical = false
      }
      kept.append(Kept(type: type, flags: keptFlags, value: start..<start + length))
    }
  }

  private mutating func discard(_ update: inout UpdateMessage) {
    update.discardedAttributes += 1
    isCanonical = false
  }

  /// Judges one attribute that is not of RFC 4760, and notes what it says. Returns whether it is kept.
  @inline(__always)
  private mutating func readAttribute(
    _ type: AttributeType, _ flags: AttributeFlags, _ value: UnsafeRawBufferPointer,
    _ attribute: UnsafeRawBufferPointer, _ update: inout UpdateMessage
  ) throws(NotificationMessage) -> Bool {
    guard let rule = AttributeRule.of(type) else {
      // RFC 4271 §6.3: "If any of the well-known mandatory attributes are not recognized, then the Error Subcode MUST
      // be set to Unrecognized Well-known Attribute."
      guard flags.contains(.optional) else { throw .unrecognizedWellKnownAttribute(Array(attribute)) }
      // RFC 4271 §9: "If an optional non-transitive attribute is unrecognized, it is quietly ignored."
      return flags.contains(.transitive)
    }
    if rule.isInternalOnly, !context.isInternal {
      discard(&update)
      return false
    }
    let fault: NotificationMessage
    if flags.intersection(.defined) != rule.flags {
      // RFC 7606 §3 c: treat-as-withdraw, whatever the attribute's own handling.
      update.withdraw(.attributeFlagsError(Array(attribute)))
      return false
    } else if !rule.fits(value.count) {
      fault = .attributeLengthError(Array(attribute))
    } else if let wrong = note(type, value, attribute, &update) {
      fault = wrong
    } else {
      // RFC 6793 §4.1: between speakers of four octets these two have no place.
      if context.usesFourOctetAS, type == .as4Path || type == .as4Aggregator {
        discard(&update)
        return false
      }
      return true
    }
    switch rule.handling {
    case .attributeDiscard: discard(&update)
    case .treatAsWithdraw: update.withdraw(fault)
    case .sessionReset: throw fault
    }
    return false
  }

  /// Notes what a well-sized attribute says; returns what is wrong with it.
  @inline(__always)
  private func note(
    _ type: AttributeType, _ value: UnsafeRawBufferPointer, _ attribute: UnsafeRawBufferPointer,
    _ update: inout UpdateMessage
  ) -> NotificationMessage? {
    switch type {
    case .origin:
      guard let origin = Origin(rawValue: value[0]) else { return .invalidOrigin(Array(attribute)) }
      update.summary.origin = origin
    case .asPath:
      let scan = ASPath.scan(value, fourOctet: context.usesFourOctetAS, localAS: context.localAS)
      if scan.isMalformed { return .malformedASPath }
      if context.enforcesFirstAS, !context.isInternal, scan.first != expectedFirstAS { return .malformedASPath }
      update.summary.asPathLength = UInt16(clamping: scan.length)
      update.summary.neighborAS = scan.first
      update.isLoop = update.isLoop || scan.containsLocalAS
    case .nextHop:
      let address = IPv4Address(rawValue: value.bigEndianWord(at: 0))
      guard Self.isHost(.v4(address)) else { return .invalidNextHop(Array(attribute)) }
      update.nextHop = .v4(address)
    case .multiExitDisc: update.summary.multiExitDisc = value.bigEndianWord(at: 0)
    case .localPreference: update.summary.localPreference = value.bigEndianWord(at: 0)
    case .aggregator:
      // RFC 7606 §7.7; RFC 7607 §2.
      guard value.count == (context.usesFourOctetAS ? 8 : 6) else { return .attributeLengthError(Array(attribute)) }
      if value.prefix(value.count - 4).allSatisfy({ $0 == 0 }) { return .optionalAttributeError(Array(attribute)) }
    case .communities:
      for at in stride(from: 0, to: value.count, by: 4) where value[at] == 0xff && value[at + 1] == 0xff {
        update.summary.wellKnownCommunities.formUnion(WellKnownCommunities(community: value.bigEndianWord(at: at)))
      }
    case .originatorID: update.summary.originatorID = value.bigEndianWord(at: 0)
    case .clusterList: update.summary.clusterListLength = UInt16(clamping: value.count / 4)
    case .as4Path where !context.usesFourOctetAS:
      let scan = ASPath.scan(value, fourOctet: true, localAS: context.localAS)
      if scan.isMalformed { return .optionalAttributeError(Array(attribute)) }
      update.isLoop = update.isLoop || scan.containsLocalAS
    case .onlyToCustomer: update.summary.onlyToCustomer = value.bigEndianWord(at: 0)
    default: break
    }
    return nil
  }

  /// What an external peer's path begins with, as its octets allow.
  private var expectedFirstAS: UInt32 {
    context.usesFourOctetAS ? context.peerAS : UInt32(UInt16(exactly: context.peerAS) ?? OpenMessage.asTrans)
  }

  /// RFC 4271 §6.3: "Syntactic correctness means that the NEXT_HOP attribute represents a valid IP host address."
  static func isHost(_ address: IPAddress) -> Bool {
    switch address {
    case .v4(let four): four.rawValue >> 24 != 0 && four.rawValue < 0xe000_0000
    case .v6(let six): six != .any && six.high >> 56 != 0xff
    }
  }

  // MARK: Multiprotocol attributes (RFC 4760)

  private func readMPReach(
    _ value: UnsafeRawBufferPointer, _ attribute: UnsafeRawBufferPointer, _ flags: AttributeFlags,
    _ update: inout UpdateMessage
  ) throws(NotificationMessage) -> Bool {
    if flags.intersection(.defined) != [.optional] { update.withdraw(.attributeFlagsError(Array(attribute))) }
    var reader = ByteReader(value)
    // RFC 7606 §7.11: a next hop of a wrong length hides where the prefixes begin.
    guard let afi = reader.readUInt16(), let safi = reader.readUInt8(), let length = reader.readUInt8(),
      let nextHop = reader.readBytes(Int(length)), reader.skip(1)
    else { throw .optionalAttributeError(Array(attribute)) }
    let family = AddressFamily(afi: afi, safi: safi)
    // RFC 4760 §8: what was not negotiated is not taken.
    guard context.families.contains(family) else { return false }
    let nlri = NLRI(family, hasPathIdentifiers: context.addPathFamilies.contains(family), reader.rest)
    // RFC 8955 §4: a flow specification has no next hop, and one that it comes with does not count.
    if family.isFlowspec {
      guard nlri.isWellFormed else { throw .optionalAttributeError(Array(attribute)) }
      update.mpReachable = nlri
      return true
    }
    let isOfLength = family == .ipv4Unicast ? length == 4 : length == 16 || length == 32
    guard isOfLength, nlri.isWellFormed,
      var address = IPAddress(
        networkBytes: UnsafeRawBufferPointer(rebasing: nextHop.prefix(length == 32 ? 16 : Int(length))))
    else { throw .optionalAttributeError(Array(attribute)) }
    if length == 32, let second = IPAddress(networkBytes: UnsafeRawBufferPointer(rebasing: nextHop[16...])),
      case .v6(let six) = second, six.isLinkLocal
    {
      // RFC 2545 §3 wants a global address first; speakers that have none on the link write none, or the other twice.
      if address.isUnspecified { address = second }
      if !address.isLinkLocal { update.mpLinkLocalNextHop = six }
    }
    if !Self.isHost(address) { update.withdraw(.optionalAttributeError(Array(attribute))) }
    update.mpNextHop = address
    update.mpReachable = nlri
    return true
  }

  private func readMPUnreach(
    _ value: UnsafeRawBufferPointer, _ attribute: UnsafeRawBufferPointer, _ flags: AttributeFlags,
    _ update: inout UpdateMessage
  ) throws(NotificationMessage) -> Bool {
    if flags.intersection(.defined) != [.optional] { update.withdraw(.attributeFlagsError(Array(attribute))) }
    var reader = ByteReader(value)
    guard let afi = reader.readUInt16(), let safi = reader.readUInt8() else {
      throw .optionalAttributeError(Array(attribute))
    }
    let family = AddressFamily(afi: afi, safi: safi)
    guard context.families.contains(family) else { return false }
    let nlri = NLRI(family, hasPathIdentifiers: context.addPathFamilies.contains(family), reader.rest)
    guard nlri.isWellFormed else { throw .optionalAttributeError(Array(attribute)) }
    update.mpUnreachable = nlri
    return false
  }

  // MARK: The whole

  /// RFC 7606 §3 d: a mandatory attribute that is missing is treat-as-withdraw.
  private func checkMandatory(of update: inout UpdateMessage) {
    let hasMP = update.mpReachable.map { !$0.isEmpty } ?? false
    guard !update.reachable.isEmpty || hasMP else { return }
    if !seen.contains(.origin) { update.withdraw(.missingWellKnownAttribute(AttributeType.origin.rawValue)) }
    if !seen.contains(.asPath) { update.withdraw(.missingWellKnownAttribute(AttributeType.asPath.rawValue)) }
    if !update.reachable.isEmpty, !seen.contains(.nextHop) {
      update.withdraw(.missingWellKnownAttribute(AttributeType.nextHop.rawValue))
    }
    // RFC 4271 §6.3: "It MUST NOT be the IP address of the receiving speaker."
    if let local = context.localAddress, update.nextHop == local || update.mpNextHop == local {
      update.withdraw(.invalidNextHop(local.networkBytes))
    }
  }
}

extension UpdateMessage {
  /// The first fault is the one that is told.
  mutating func withdraw(_ reason: NotificationMessage) {
    if fault == nil { fault = reason }
  }
}

extension UnsafeRawBufferPointer {
  /// Of a value whose length has been checked.
  @inline(__always)
  func bigEndianWord(at offset: Int) -> UInt32 {
    UInt32(bigEndian: loadUnaligned(fromByteOffset: offset, as: UInt32.self))
  }
}

/// Which types of attribute a message has.
private struct SeenAttributes {
  private var bits = SIMD4<UInt64>(repeating: 0)

  /// False where it was there already.
  mutating func insert(_ type: AttributeType) -> Bool {
    let bit = UInt64(1) << UInt64(type.rawValue & 63)
    let word = Int(type.rawValue >> 6)
    guard bits[word] & bit == 0 else { return false }
    bits[word] |= bit
    return true
  }

  func contains(_ type: AttributeType) -> Bool { bits[Int(type.rawValue >> 6)] >> UInt64(type.rawValue & 63) & 1 == 1 }

  func containsOther(than type: AttributeType) -> Bool {
    var others = bits
    others[Int(type.rawValue >> 6)] &= ~(UInt64(1) << UInt64(type.rawValue & 63))
    return others != SIMD4(repeating: 0)
  }
}
