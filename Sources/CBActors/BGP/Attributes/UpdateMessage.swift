public import Wire

/// An UPDATE message that was read (RFC 4271 §4.3). Borrows the message's memory.
public struct UpdateMessage {
  /// The WITHDRAWN ROUTES field.
  public internal(set) var withdrawn: NLRI
  /// The NLRI field.
  public internal(set) var reachable: NLRI
  /// MP_UNREACH_NLRI of a negotiated family.
  public internal(set) var mpUnreachable: NLRI?
  /// MP_REACH_NLRI of a negotiated family.
  public internal(set) var mpReachable: NLRI?
  /// What the attributes say, without the next hops.
  public internal(set) var summary = AttributeSummary()
  /// NEXT_HOP, of ``reachable``.
  public internal(set) var nextHop: IPAddress?
  /// The next hop in MP_REACH_NLRI, of ``mpReachable``.
  public internal(set) var mpNextHop: IPAddress?
  /// The link-local address beside a global one (RFC 2545 §3).
  var mpLinkLocalNextHop: IPv6Address?
  /// Our own AS is in the path (RFC 4271 §9.1.2).
  public internal(set) var isLoop = false
  /// Why the routes that this message advertises count as withdrawn (RFC 7606 §2); nil where they do not.
  public internal(set) var fault: NotificationMessage?
  /// Attributes that were dropped for being malformed, out of place or there twice.
  public internal(set) var discardedAttributes = 0

  /// The family whose routes have all been sent (RFC 4724 §2).
  public internal(set) var endOfRIB: AddressFamily?

  /// The Path Attributes field.
  let attributes: UnsafeRawBufferPointer

  /// Prefixes in it have path identifiers (RFC 7911).
  public var hasPathIdentifiers: Bool {
    func has(_ nlri: NLRI?) -> Bool { nlri.map { $0.hasPathIdentifiers && !$0.isEmpty } ?? false }
    return has(withdrawn) || has(reachable) || has(mpReachable) || has(mpUnreachable)
  }

  init(withdrawn: NLRI, reachable: NLRI, attributes: UnsafeRawBufferPointer) {
    self.withdrawn = withdrawn
    self.reachable = reachable
    self.attributes = attributes
  }
}

extension IPv6Address {
  init(_ bits: UInt128) {
    self.init(high: UInt64(truncatingIfNeeded: bits >> 64), low: UInt64(truncatingIfNeeded: bits))
  }

  var bits: UInt128 { UInt128(high) << 64 | UInt128(low) }
}
