import Testing
import Wire

@testable import Netlink

@Suite("Netlink transactions") struct TransactionTests {
  static func change(_ number: UInt8) -> Change {
    .addRoute(Route(.init(IPPrefix(.v4(IPv4Address(10, number, 0, 0)), length: 16)!), path: .hops([hop("10.0.0.1")])))
  }

  static func send(_ transactions: inout Transactions, room: Int = 2_048) -> [(flags: MessageFlags, sequence: UInt32)] {
    withUnsafeTemporaryAllocation(byteCount: room, alignment: 8) { buffer in
      let count = transactions.nextDatagram(into: buffer)
      var reader = MessageReader(UnsafeRawBufferPointer(rebasing: buffer[..<count]))
      var messages: [(flags: MessageFlags, sequence: UInt32)] = []
      while let message = reader.next() { messages.append((message.flags, message.sequence)) }
      return messages
    }
  }

  static func receive(_ transactions: inout Transactions, _ bytes: [UInt8]) -> [Transactions.Event] {
    var events: [Transactions.Event] = []
    bytes.withUnsafeBytes { transactions.receive($0) { events.append($0) } }
    return events
  }

  @Test func onlyTheLastOfADatagramIsAcknowledged() {
    var transactions = Transactions()
    for number in 0..<100 { transactions.enqueue(Self.change(UInt8(number))) }
    let sent = Self.send(&transactions)
    #expect(sent.count == 2_048 / 52)
    #expect(sent.dropLast().allSatisfy { !$0.flags.contains(.ack) } && sent.last!.flags.contains(.ack))
    // Nothing more until it is answered.
    #expect(Self.send(&transactions).isEmpty)
    let events = Self.receive(&transactions, KernelModel.answer(sent.last!.sequence, 0))
    #expect(events.count == sent.count)
    #expect(Self.send(&transactions).first?.sequence == sent.last!.sequence + 1)
  }

  @Test func aRefusalIsMatchedToItsChange() {
    var transactions = Transactions()
    for number in 0..<5 { transactions.enqueue(Self.change(UInt8(number))) }
    let sent = Self.send(&transactions)
    var events = Self.receive(&transactions, KernelModel.answer(sent[1].sequence, 17, text: "there is one"))
    events += Self.receive(&transactions, KernelModel.answer(sent[4].sequence, 101))
    var refused: [Change: Int32] = [:]
    var done: Set<Change> = []
    for case .completed(let change, let error) in events {
      if let error { refused[change] = error.number } else { done.insert(change) }
    }
    #expect(refused == [Self.change(1): 17, Self.change(4): 101])
    #expect(done == [Self.change(0), Self.change(2), Self.change(3)])
    #expect(transactions.isIdle)
  }

  @Test func anAnswerToNothingIsIgnored() {
    var transactions = Transactions()
    transactions.enqueue(Self.change(0))
    let sent = Self.send(&transactions)
    #expect(Self.receive(&transactions, KernelModel.answer(sent[0].sequence &+ 1, 0)).isEmpty)
    #expect(Self.receive(&transactions, KernelModel.answer(sent[0].sequence &- 1, 0)).isEmpty)
    #expect(transactions.ignored == 2 && transactions.isWaiting)
  }

  @Test func aDumpThatChangedMeanwhileIsToldSo() {
    for (flags, end) in [
      (MessageFlags.multi, Transactions.DumpEnd.complete), ([.multi, .dumpInterrupted], .inconsistent),
    ] {
      var transactions = Transactions()
      transactions.enqueue(.nextHops)
      transactions.enqueue(Self.change(0))
      let sent = Self.send(&transactions)
      #expect(sent.count == 1)
      let object = NextHopObject(id: 1, .hop(hop("10.0.0.1")))
      let found = Self.receive(
        &transactions, KernelModel.message(.newNextHop, flags, sent[0].sequence) { object.write(to: &$0) })
      guard case .found(.nextHop(object), .nextHops)? = found.first else {
        Issue.record("not found: \(found)")
        return
      }
      let ended = Self.receive(
        &transactions, KernelModel.message(.done, .multi, sent[0].sequence) { $0.host(Int32(0)) })
      guard case .dumpEnded(.nextHops, end)? = ended.first else {
        Issue.record("not ended so: \(ended)")
        return
      }
      #expect(Self.send(&transactions).count == 1)
    }
  }

  @Test func whatIsLostIsNotTakenForDone() {
    var transactions = Transactions()
    transactions.enqueue(Self.change(0))
    let first = Self.send(&transactions)
    var events: [Transactions.Event] = []
    transactions.overrun { events.append($0) }
    guard case .overrun? = events.first, events.count == 1 else {
      Issue.record("\(events)")
      return
    }
    transactions.enqueue(Self.change(1))
    #expect(Self.send(&transactions).count == 1)
    // The late answer of the first belongs to nothing.
    #expect(Self.receive(&transactions, KernelModel.answer(first[0].sequence, 0)).isEmpty)
  }

  @Test func aChangeTooLongForAnyDatagramIsGivenUp() {
    var transactions = Transactions()
    let hops = (0..<200).map { NextHop(gateway: .v4(IPv4Address(10, 0, 0, UInt8($0))), interface: 2) }
    transactions.enqueue(.addRoute(Route(.init(prefix("10.0.0.0/8")), path: .hops(hops))))
    transactions.enqueue(Self.change(1))
    #expect(Self.send(&transactions).isEmpty)
    #expect(transactions.dropOversized() != nil)
    #expect(Self.send(&transactions).count == 1)
  }
}
