import Testing
import Wire

@testable import Health

/// An object, so that what changes it can stand in an expectation.
private final class Load {
  private var check: LoadCheck
  init(_ limits: [LoadCheck.Quantity: LoadCheck.Limit]) { check = LoadCheck(limits) }
  func judge(_ sample: [LoadCheck.Quantity: Int]) -> Bool { check.judge(sample) }
  var exceeded: Set<LoadCheck.Quantity> { check.exceeded }
  func account(of sample: [LoadCheck.Quantity: Int]) -> String { check.account(of: sample) }
}

@Suite("Load") struct LoadCheckTests {
  @Test func theWaterMarksKeepItFromComingAndGoing() {
    let check = Load([.processors: .init(high: 400, low: 300)])
    var states: [Bool] = []
    for load in [100, 399, 400, 350, 399, 300, 299, 350, 399, 1_000, 0] {
      states.append(check.judge([.processors: load]))
    }
    #expect(states == [true, true, false, false, false, false, true, true, true, false, true])
  }

  @Test func eachQuantityHasItsOwn() {
    let check = Load([.memory: .init(high: 95, low: 90), .connections: .init(high: 100, low: 80)])
    #expect(check.judge([.processors: 100_000, .memory: 94, .connections: 99]))
    #expect(!check.judge([.memory: 95, .connections: 100]))
    #expect(check.exceeded == [.memory, .connections])
    #expect(!check.judge([.memory: 10, .connections: 80]) && check.exceeded == [.connections])
    // What could not be measured stays as it was.
    #expect(!check.judge([.memory: 10]))
    #expect(check.judge([.connections: 79]))
  }

  @Test func oneMarkAloneIsALimit() {
    let check = Load([.connections: .init(high: 50, low: 60)])
    #expect(check.judge([.connections: 49]) && !check.judge([.connections: 50]) && check.judge([.connections: 49]))
  }

  @Test func itAccountsForWhatHasALimit() {
    let check = Load([.memory: .init(high: 95, low: 90), .connections: .init(high: 80, low: 60)])
    let sample: [LoadCheck.Quantity: Int] = [.processors: 7, .connections: 81]
    _ = check.judge(sample)
    #expect(
      check.account(of: sample)
        == "memory unknown, too high from 95 % on; connections 81 %, too high until below 60 %")
  }

  @Test func theKernelsTextsAreRead() {
    #expect(LoadCheck.processorLoad("3.07 2.15 1.90 2/1021 4242\n", processors: 2) == 153)
    #expect(LoadCheck.processorLoad("0.00 0.01 0.05 1/80 1\n", processors: 8) == 0)
    for text in ["", "nan 1 1", "-", "\n"] { #expect(LoadCheck.processorLoad(text, processors: 2) == nil) }
    #expect(LoadCheck.processorLoad("1e300 1 1", processors: 1) == 100_000_000_000)
    #expect(LoadCheck.processorLoad("1.0", processors: 0) == nil)
    let text = "MemTotal:       16000000 kB\nMemFree:         1000000 kB\nMemAvailable:    4000000 kB\n"
    #expect(LoadCheck.memoryUse(text) == 75)
    for text in [
      "", "MemTotal: 0 kB\nMemAvailable: 0 kB", "MemTotal: 5 kB\nMemAvailable: 6 kB", "MemTotal: x\nMemAvailable: 1",
    ] {
      #expect(LoadCheck.memoryUse(text) == nil)
    }
  }
}

@Suite("Hooks") struct HookQueueTests {
  /// As above.
  private final class Queue {
    typealias Run = HookQueue<String, String>.Run
    private var core = HookQueue<String, String>()
    func changed(_ subject: String, to state: String) { core.changed(subject, to: state) }
    func next() -> Run? { core.next() }
    func ended() { core.ended() }
    var isIdle: Bool { core.isIdle }
  }

  @Test func oneRunAtATimeAndTheLastStateWins() {
    let queue = Queue()
    queue.changed("a", to: "up")
    #expect(queue.next() == Queue.Run(subject: "a", state: "up"))
    for state in ["down", "up", "degraded"] { queue.changed("a", to: state) }
    queue.changed("b", to: "down")
    #expect(queue.next() == nil, "one is running")
    queue.ended()
    #expect(queue.next() == Queue.Run(subject: "a", state: "degraded"))
    queue.ended()
    #expect(queue.next() == Queue.Run(subject: "b", state: "down"))
    #expect(!queue.isIdle)
    queue.ended()
    #expect(queue.next() == nil && queue.isIdle)
  }

  @Test func whatIsBackWhereItWasIsNotTold() {
    let queue = Queue()
    queue.changed("a", to: "up")
    _ = queue.next()
    queue.changed("a", to: "down")
    queue.changed("a", to: "up")
    queue.ended()
    #expect(queue.next() == nil && queue.isIdle)
  }

  /// Whatever comes while runs take their time: in the end the program knows each subject's last state, and never had two
  /// runs at once.
  @Test(arguments: 1...30) func inTheEndTheLastStateIsKnown(seed: Int) {
    let entropy = SeededEntropy(seed: UInt64(seed))
    var queue = HookQueue<UInt64, UInt64>()
    var known: [UInt64: UInt64] = [:]
    var last: [UInt64: UInt64] = [:]
    var isRunning = false
    func step() {
      if let run = queue.next() {
        #expect(!isRunning)
        isRunning = true
        known[run.subject] = run.state
      } else if isRunning, entropy.nextUInt64() % 3 == 0 {
        isRunning = false
        queue.ended()
      }
    }
    for _ in 0..<1_000 {
      let (subject, state) = (entropy.nextUInt64() % 5, entropy.nextUInt64() % 4)
      last[subject] = state
      queue.changed(subject, to: state)
      step()
    }
    while !queue.isIdle { step() }
    #expect(known == last)
  }
}
