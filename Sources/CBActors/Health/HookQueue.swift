/// What a program is yet to be told of subjects, such as prefixes, that change while it runs: it runs for one change at a
/// time, and of each subject hears the last state alone.
public struct HookQueue<Subject: Hashable & Sendable, State: Hashable & Sendable>: Sendable {
  public struct Run: Hashable, Sendable {
    public var subject: Subject
    public var state: State
  }

  /// In the order in which they first changed.
  private var order: [Subject] = []
  private var waiting: [Subject: State] = [:]
  private var told: [Subject: State] = [:]
  private var isRunning = false

  public init() {}

  /// A subject has come to a state. One that is back where the program knows it to be is not worth a run.
  public mutating func changed(_ subject: Subject, to state: State) {
    if told[subject] == state {
      if waiting.removeValue(forKey: subject) != nil { order.removeAll { $0 == subject } }
      return
    }
    if waiting.updateValue(state, forKey: subject) == nil { order.append(subject) }
  }

  /// The next change to run the program for; nil while it runs, and where there is none.
  public mutating func next() -> Run? {
    guard !isRunning, let subject = order.first, let state = waiting.removeValue(forKey: subject) else { return nil }
    order.removeFirst()
    isRunning = true
    told[subject] = state
    return Run(subject: subject, state: state)
  }

  /// The program has ended, whichever way.
  public mutating func ended() { isRunning = false }

  /// Nothing runs, and nothing waits.
  public var isIdle: Bool { !isRunning && order.isEmpty }
}
