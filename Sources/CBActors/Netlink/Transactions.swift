import Wire

/// What is asked of the kernel over one netlink socket, and what it answers.
///
/// One datagram is outstanding at a time: the kernel works it off inside the send, so that more would gain nothing and
/// could overflow the socket's buffer with answers. It carries as many changes as fit; the kernel takes them in order,
/// answers each that it refuses, and the last in any case: its answer says that all others were done.
public struct Transactions {
  public enum Event: Sendable {
    /// Nil: done.
    case completed(Change, KernelError?)
    case found(Item, Dump)
    case dumpEnded(Dump, DumpEnd)
    /// Unasked, of a group that the socket has joined.
    case notified(Item, Notice)
    /// Answers or notifications were lost: what was outstanding may have been done or not. Ask for all again.
    case overrun
  }

  public enum DumpEnd: Hashable, Sendable {
    case complete
    /// What is listed changed meanwhile; it must be asked for again.
    case inconsistent
    case refused(KernelError)
  }

  private var queue: ContiguousArray<Change> = []
  private var queueHead = 0
  private var dumps: [Dump] = []
  /// The changes of the outstanding datagram, and the sequence number of the first.
  private var outstanding: ContiguousArray<Change> = []
  private var refused: [Int] = []
  private var firstSequence: UInt32 = 0
  private var running: (dump: Dump, sequence: UInt32, isTainted: Bool)?
  private var nextSequence: UInt32 = 1
  /// Datagrams or messages that were malformed, or answered nothing that was asked.
  public private(set) var ignored = 0
  /// Changes that were too long for any datagram, and those that the kernel refused.
  public private(set) var refusals = 0

  public init() {}

  public var isIdle: Bool { !isWaiting && queueHead == queue.count && dumps.isEmpty }
  /// An answer is awaited; nothing more is sent before.
  public var isWaiting: Bool { !outstanding.isEmpty || running != nil }
  /// The kernel is sending a list. It waits for room in the socket's buffer: none of it is lost.
  public var isDumping: Bool { running != nil }
  /// Changes not yet sent.
  public var queuedCount: Int { queue.count - queueHead }

  public mutating func enqueue(_ change: Change) { queue.append(change) }

  /// Dumps come before changes that are not sent yet.
  public mutating func enqueue(_ dump: Dump) {
    if !dumps.contains(dump) { dumps.append(dump) }
  }

  // MARK: Sending

  /// Fills `buffer` with what is to be sent next; 0 when there is nothing, or an answer is awaited.
  public mutating func nextDatagram(into buffer: UnsafeMutableRawBufferPointer) -> Int {
    guard !isWaiting else { return 0 }
    var writer = MessageWriter(buffer)
    if let dump = dumps.first {
      guard dump.write(to: &writer, sequence: nextSequence) else { return 0 }
      dumps.removeFirst()
      running = (dump, nextSequence, false)
      nextSequence &+= 1
      return writer.count
    }
    firstSequence = nextSequence
    while queueHead < queue.count {
      let change = queue[queueHead]
      guard change.write(to: &writer, sequence: nextSequence) else { break }
      outstanding.append(change)
      queueHead += 1
      nextSequence &+= 1
    }
    if queueHead == queue.count || queueHead > 4_096 {
      queue.removeFirst(queueHead)
      queueHead = 0
    }
    writer.acknowledgeLast()
    return writer.count
  }

  /// The next change is longer than the whole buffer; it is given up. For an owner whose buffer got nothing.
  public mutating func dropOversized() -> Change? {
    guard !isWaiting, dumps.isEmpty, queueHead < queue.count else { return nil }
    queueHead += 1
    refusals += 1
    return queue[queueHead - 1]
  }

  // MARK: Receiving

  /// Takes a datagram of the kernel's, and hands on what it says.
  public mutating func receive(_ bytes: UnsafeRawBufferPointer, _ deliver: (Event) -> Void) {
    var reader = MessageReader(bytes)
    while let message = reader.next() {
      switch message.type {
      case .noop: break
      case .overrun: overrun(deliver)
      case .error: receiveError(message, deliver)
      case .done: receiveDone(message, deliver)
      default: receiveItem(message, deliver)
      }
    }
    if reader.isMalformed { ignored += 1 }
  }

  /// The socket's buffer was full (ENOBUFS): answers were lost. What is queued is kept.
  public mutating func overrun(_ deliver: (Event) -> Void) {
    outstanding.removeAll()
    refused.removeAll()
    // The kernel goes on with the dump; a second would find it busy. Its end is awaited, and its list not trusted.
    running?.isTainted = true
    deliver(.overrun)
  }

  private mutating func receiveError(_ message: MessageReader.Message, _ deliver: (Event) -> Void) {
    guard let error = KernelError(message.body, message.flags) else { return ignored += 1 }
    if let running, running.sequence == message.sequence {
      self.running = nil
      deliver(.dumpEnded(running.dump, error.number == 0 ? .complete : .refused(error)))
      return
    }
    let place = Int(message.sequence &- firstSequence)
    guard place < outstanding.count else { return ignored += 1 }
    if error.number != 0 {
      refusals += 1
      refused.append(place)
      deliver(.completed(outstanding[place], error))
    }
    guard place == outstanding.count - 1 else { return }
    let done = outstanding
    let failed = refused
    outstanding.removeAll(keepingCapacity: true)
    refused.removeAll(keepingCapacity: true)
    var next = 0
    for (place, change) in done.enumerated() {
      if next < failed.count, failed[next] == place { next += 1 } else { deliver(.completed(change, nil)) }
    }
  }

  private mutating func receiveDone(_ message: MessageReader.Message, _ deliver: (Event) -> Void) {
    guard let running, running.sequence == message.sequence else { return ignored += 1 }
    self.running = nil
    var body = ByteReader(message.body)
    let result = body.readHost(Int32.self) ?? 0
    if (Int32.min + 1..<0).contains(result) {
      deliver(.dumpEnded(running.dump, .refused(KernelError(number: -result))))
    } else {
      let isTainted = running.isTainted || message.flags.contains(.dumpInterrupted)
      deliver(.dumpEnded(running.dump, isTainted ? .inconsistent : .complete))
    }
  }

  private mutating func receiveItem(_ message: MessageReader.Message, _ deliver: (Event) -> Void) {
    guard let (item, notice) = Item.read(message) else { return ignored += 1 }
    if message.sequence == 0 {
      deliver(.notified(item, notice))
    } else if let running, running.sequence == message.sequence, message.flags.contains(.multi) {
      if message.flags.contains(.dumpInterrupted) { self.running?.isTainted = true }
      deliver(.found(item, running.dump))
    } else {
      // Another's change, of which a notification carries that one's number.
      deliver(.notified(item, notice))
    }
  }
}
