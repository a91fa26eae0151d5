import DNS
import Wire

extension ServiceLocation {
  /// The order in which RFC 2782 has a client try targets: by ascending priority, and within one priority
  /// by repeated weighted draws.
  static func selectionOrder(_ records: [ServiceLocation], entropy: any EntropySource) -> [ServiceLocation] {
    var ordered: [ServiceLocation] = []
    for priority in Set(records.map(\.priority)).sorted() {
      // Records of weight 0 stand first, so that they have a very small chance of being drawn.
      var group = records.filter { $0.priority == priority }
      group = group.filter { $0.weight == 0 } + group.filter { $0.weight != 0 }
      while !group.isEmpty {
        let total = group.reduce(UInt64(0)) { $0 + UInt64($1.weight) }
        let draw = entropy.nextUInt64() % (total + 1)
        var running: UInt64 = 0
        let index = group.firstIndex { record in
          running += UInt64(record.weight)
          return running >= draw
        }
        // The running sum reaches `total`, which is at least the draw, so there always is one.
        ordered.append(group.remove(at: index ?? 0))
      }
    }
    return ordered
  }
}
