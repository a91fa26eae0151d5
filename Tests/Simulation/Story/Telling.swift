import Testing

extension Scenario {
  /// Runs something under this scenario and records an issue when a rule is broken. What failed is run once more with a
  /// trace and qlogs, which the issue names beside the seed.
  /// - Parameters:
  ///   - name: what the files' names begin with, before the seed.
  ///   - body: makes the network, runs it, and returns what was wrong, or nil.
  func expectHolds(
    _ name: String = #function, at location: SourceLocation = #_sourceLocation, _ body: (Scenario) -> String?
  ) {
    guard let verdict = body(self) else { return }
    let recorder = Recorder(name: "\(name.prefix { $0 != "(" })-seed-\(seed)")
    var again = self
    again.recorder = recorder
    if body(again) != verdict { recorder.trace.note("the run is not deterministic", now: Self.start) }
    Issue.record("seed \(seed): \(verdict)\n\(self)\nwritten: \(recorder.write())", sourceLocation: location)
  }

  /// Runs a transfer to its end, and expects that every rule holds.
  func expectHolds(_ name: String = #function, at location: SourceLocation = #_sourceLocation) {
    expectHolds(name, at: location) {
      let network = $0.makeNetwork()
      network.runToTheEnd()
      return network.verdict
    }
  }
}
