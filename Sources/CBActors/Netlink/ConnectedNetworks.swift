public import Wire

/// The machine's links and addresses, as the kernel tells of them.
public struct ConnectedNetworks: Sendable {
  public enum Change: Hashable, Sendable {
    /// It now carries packets, or no longer; a link that is removed does not.
    case link(Link, isUsable: Bool)
    case addressAdded(InterfaceAddress)
    case addressRemoved(InterfaceAddress)
  }

  public private(set) var links: [UInt32: Link] = [:]
  public private(set) var addresses: Set<InterfaceAddress> = []
  private var seenLinks: Set<UInt32> = []
  private var seenAddresses: Set<InterfaceAddress> = []

  public init() {}

  /// Takes what is told; returns what has changed by it.
  public mutating func apply(_ item: Item, isRemoval: Bool) -> Change? {
    switch item {
    case .link(let link):
      let before = links[link.index]
      seenLinks.insert(link.index)
      links[link.index] = isRemoval ? nil : link
      let isUsable = !isRemoval && link.isUsable
      return isUsable == before?.isUsable ?? false ? nil : .link(link, isUsable: isUsable)
    case .address(let address):
      // Of the same address there is one, tentative or not.
      let before = addresses.first {
        $0.interface == address.interface && $0.address == address.address && $0.prefixLength == address.prefixLength
      }
      if let before { addresses.remove(before) }
      if !isRemoval {
        addresses.insert(address)
        seenAddresses.insert(address)
      }
      let wasUsable = before.map { !$0.isTentative } ?? false
      let isUsable = !isRemoval && !address.isTentative
      guard wasUsable != isUsable else { return nil }
      return isUsable ? .addressAdded(address) : .addressRemoved(address)
    case .route, .nextHop, .rule: return nil
    }
  }

  /// Before the kernel's lists are read anew.
  public mutating func beginResync() {
    seenLinks = []
    seenAddresses = []
  }

  /// What the lists no longer had is gone.
  public mutating func endResync() -> [Change] {
    var changes: [Change] = []
    for (index, link) in links where !seenLinks.contains(index) {
      links[index] = nil
      if link.isUsable { changes.append(.link(link, isUsable: false)) }
    }
    for address in addresses where !seenAddresses.contains(address) {
      addresses.remove(address)
      if !address.isTentative { changes.append(.addressRemoved(address)) }
    }
    return changes
  }

  /// The interface of the longest subnet of ours that an address is in. Of a link-local one, which is in a subnet of
  /// each, that says nothing.
  public func interface(toward remote: IPAddress) -> UInt32? {
    guard !remote.isLinkLocal else { return nil }
    var best: (length: Int, interface: UInt32)?
    for own in addresses where !own.isTentative && own.prefixLength > best?.length ?? -1 {
      guard IPPrefix(own.address, length: own.prefixLength)?.contains(remote) == true else { continue }
      best = (own.prefixLength, own.interface)
    }
    return best?.interface
  }

  public func isOurs(_ address: IPAddress) -> Bool { addresses.contains { $0.address == address } }
}
