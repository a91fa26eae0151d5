import Glibc

/// libFuzzer's own loop. Its parameters and result are passed alike in C and in Swift.
@_silgen_name("LLVMFuzzerRunDriver")
private func runDriver(
  _ argumentCount: UnsafeMutablePointer<Int32>,
  _ arguments: UnsafeMutablePointer<UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>>,
  _ callback: @convention(c) (UnsafePointer<UInt8>?, Int) -> Int32
) -> Int32

/// What a fuzzer does with one input. Whatever the input, it must return.
public typealias FuzzTarget = @Sendable (UnsafeRawBufferPointer) -> Void

// Proof: written once below, before the loop that reads it begins.
nonisolated(unsafe) private var chosen: FuzzTarget = { _ in }

/// Runs the one of `targets` that `FUZZ_TARGET` names, until libFuzzer has enough.
///
/// The package manager gives every executable its own `main`, so that libFuzzer's cannot be used: this is called from
/// it.
public func runFuzzer(_ targets: [String: FuzzTarget]) -> Never {
  let name = getenv("FUZZ_TARGET").map { String(cString: $0) } ?? ""
  guard let target = targets[name] else {
    print("FUZZ_TARGET must be one of \(targets.keys.sorted().joined(separator: " "))")
    exit(64)
  }
  chosen = target
  var count = CommandLine.argc
  var arguments = CommandLine.unsafeArgv
  exit(
    runDriver(&count, &arguments) { bytes, count in
      chosen(UnsafeRawBufferPointer(start: bytes, count: bytes == nil ? 0 : count))
      return 0
    })
}

extension UnsafeRawBufferPointer {
  /// The first byte, which says how the rest is to be used, and the rest.
  public var choiceAndRest: (choice: UInt8, rest: UnsafeRawBufferPointer) {
    (first ?? 0, UnsafeRawBufferPointer(rebasing: dropFirst()))
  }
}
