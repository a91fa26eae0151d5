public import BGP
public import Wire

/// What is announced besides the settings' own prefixes, and what flow specifications ask for.
extension BGPSpeaker {
  /// - Parameter discards: packets there are dropped here, too, where the kernel forwards by the tables.
  public func announce(_ prefix: IPPrefix, _ attributes: PathAttributes, discards: Bool) {
    if discards { blackholes.insert(prefix) } else { blackholes.remove(prefix) }
    announce(prefix, attributes)
  }

  /// Announces a rule of our own, or changes what becomes of its traffic.
  public func announce(_ rule: FlowspecRule, _ actions: FlowspecActions) {
    tables.value.rib.originate(rule, actions)
    tables.value.changed()
  }

  public func withdraw(_ rule: FlowspecRule) {
    tables.value.rib.withdraw(rule)
    tables.value.changed()
  }

  /// - Parameter body: hears, on the ring's thread, of the rules that are to be enforced as soon as they are known
  ///   (RFC 4724 §4.1), were it that there are none, and then of each change.
  public func observeFlowspecs(_ body: @escaping @Sendable ([FlowspecEvent]) -> Void) { onFlowspecs = body }

  func tellFlowspecs() {
    guard let onFlowspecs, !tables.value.rib.isDeferringSelection else { return }
    let events = tables.value.rib.flowspecEvents()
    if !events.isEmpty || !hasToldFlowspecs { onFlowspecs(events) }
    hasToldFlowspecs = true
  }

  /// All rules of all neighbors, in the order in which they are applied.
  public func flowspecRoutes() -> [RIB.FlowspecRoute] { tables.value.rib.flowspecRoutes() }
}
