import Wire

/// Something about each of many routes, by their keys, in a third of the memory that a dictionary of ``Route/Key`` takes:
/// a full table has a million of them.
struct RouteEntries<Entry> {
  private struct Context: Hashable {
    var table: UInt32
    var metric: UInt32
  }

  private struct SixKey: Hashable {
    var high: UInt64
    var low: UInt64
    var rest: UInt32
  }

  /// Tables and metrics, of which there are few, by their place.
  private var contexts: [Context] = []
  private var places: [Context: UInt16] = [:]
  private var four: [UInt64: Entry] = [:]
  private var six: [SixKey: Entry] = [:]
  /// What has no place any more: more than 65,535 pairs of a table and a metric.
  private var others: [Route.Key: Entry] = [:]

  subscript(key: Route.Key) -> Entry? {
    get {
      guard let context = places[Context(table: key.table, metric: key.metric)] else { return others[key] }
      switch key.destination.address {
      case .v4(let address): return four[Self.packed(address, key.destination.length, context)]
      case .v6(let address): return six[Self.packed(address, key.destination.length, context)]
      }
    }
    set {
      guard let context = place(of: key, adding: newValue != nil) else {
        others[key] = newValue
        return
      }
      switch key.destination.address {
      case .v4(let address): four[Self.packed(address, key.destination.length, context)] = newValue
      case .v6(let address): six[Self.packed(address, key.destination.length, context)] = newValue
      }
    }
  }

  /// Visits every entry; one that `body` returns false of is removed.
  mutating func update(_ body: (Route.Key, inout Entry) -> Bool) {
    var goneFour: [UInt64] = []
    for index in four.indices {
      let packed = four.keys[index]
      if !body(key(packed), &four.values[index]) { goneFour.append(packed) }
    }
    for packed in goneFour { four[packed] = nil }
    var goneSix: [SixKey] = []
    for index in six.indices {
      let packed = six.keys[index]
      if !body(key(packed), &six.values[index]) { goneSix.append(packed) }
    }
    for packed in goneSix { six[packed] = nil }
    var gone: [Route.Key] = []
    for index in others.indices {
      let key = others.keys[index]
      if !body(key, &others.values[index]) { gone.append(key) }
    }
    for key in gone { others[key] = nil }
  }

  private mutating func place(of key: Route.Key, adding: Bool) -> UInt16? {
    let context = Context(table: key.table, metric: key.metric)
    if let place = places[context] { return place }
    guard adding, let place = UInt16(exactly: contexts.count) else { return nil }
    contexts.append(context)
    places[context] = place
    return place
  }

  private static func packed(_ address: IPv4Address, _ length: Int, _ context: UInt16) -> UInt64 {
    UInt64(address.rawValue) << 32 | UInt64(length) << 16 | UInt64(context)
  }

  private static func packed(_ address: IPv6Address, _ length: Int, _ context: UInt16) -> SixKey {
    SixKey(high: address.high, low: address.low, rest: UInt32(length) << 16 | UInt32(context))
  }

  private func key(_ packed: UInt64) -> Route.Key {
    let address = IPv4Address(rawValue: UInt32(truncatingIfNeeded: packed >> 32))
    return key(.v4(address), UInt32(truncatingIfNeeded: packed))
  }

  private func key(_ packed: SixKey) -> Route.Key {
    key(.v6(IPv6Address(high: packed.high, low: packed.low)), packed.rest)
  }

  private func key(_ address: IPAddress, _ rest: UInt32) -> Route.Key {
    let context = contexts[Int(rest & 0xffff)]
    // Proof for the unwrap: the length has been that of a prefix of this family.
    return Route.Key(
      IPPrefix(address, length: Int(rest >> 16))!, table: context.table, metric: context.metric)
  }
}
