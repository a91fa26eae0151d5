extension PrefixTrie {
  /// Stands for no number.
  @inlinable public static var noNumber: UInt32 { .max }

  /// The numbers of several prefixes, ``noNumber`` for those that are not there. Bits beyond a length must be clear.
  ///
  /// The ways lie all over the memory of a large table. Gone one after the other, each step waits for its own; gone
  /// together, the waits overlap. Whoever works on the prefixes afterwards, one by one, finds all of it near.
  ///
  /// - Parameter numbers: as many as there are keys.
  @inlinable public func find(_ sought: UnsafeBufferPointer<Key>, _ numbers: UnsafeMutableBufferPointer<UInt32>) {
    guard let root else { return numbers.update(repeating: Self.noNumber) }
    // First, the places on the way.
    for index in 0..<sought.count { numbers[index] = (start(of: sought[index]) ?? root).raw }
    nodes.withUnsafeBufferPointer { nodes in
      var isUnderWay = true
      while isUnderWay {
        isUnderWay = false
        for index in 0..<sought.count {
          let at = Reference(raw: numbers[index])
          if at.isLeaf { continue }
          let node = nodes[at.index]
          numbers[index] = sought[index].answer(node.position) ? node.yes.raw : node.no.raw
          isUnderWay = true
        }
      }
    }
    keys.withUnsafeBufferPointer { keys in
      for index in 0..<sought.count {
        let number = Reference(raw: numbers[index]).index
        let isThere = keys[number].bits == sought[index].bits && keys[number].length == sought[index].length
        numbers[index] = isThere ? UInt32(number) : Self.noNumber
      }
    }
  }
}
