extension PrefixTrie {
  /// Goes the ways to several prefixes at once, and hands out the number of the leaf at the end of each: the prefix's own,
  /// if it is there.
  ///
  /// The ways lie all over the memory of a large table. Gone one after the other, each step waits for its own; gone
  /// together, the waits overlap. Whoever works on the prefixes afterwards, one by one, finds all of it near.
  @inlinable public func approach(_ keys: UnsafeBufferPointer<Key>, _ body: (Int) -> Void) {
    guard let root else { return }
    withUnsafeTemporaryAllocation(of: UInt32.self, capacity: keys.count) { places in
      places.initialize(repeating: root.raw)
      nodes.withUnsafeBufferPointer { nodes in
        var isUnderWay = true
        while isUnderWay {
          isUnderWay = false
          for index in 0..<keys.count {
            let at = Reference(raw: places[index])
            if at.isLeaf { continue }
            let node = nodes[at.index]
            places[index] = keys[index].answer(node.position) ? node.yes.raw : node.no.raw
            isUnderWay = true
          }
        }
      }
      for index in 0..<keys.count { body(Reference(raw: places[index]).index) }
    }
  }
}
