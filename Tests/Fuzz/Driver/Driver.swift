import Glibc

/// libFuzzer's own loop. Its parameters and result are passed alike in C and in Swift.
@_silgen_name("LLVMFuzzerRunDriver")
private func runDriver(
  _ argumentCount: UnsafeMutablePointer<Int32>,
  _ arguments: UnsafeMutablePointer<UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>>,
  _ callback: @convention(c) (UnsafePointer<UInt8>?, Int) -> Int32
) -> Int32

/// The package manager gives every executable its own `main`, so that libFuzzer's cannot be used: this is called from
/// it, with what is to be called for each input.
public func runFuzzer(_ callback: @convention(c) (UnsafePointer<UInt8>?, Int) -> Int32) {
  var count = CommandLine.argc
  var arguments = CommandLine.unsafeArgv
  exit(runDriver(&count, &arguments, callback))
}

private let fuzzCase: UInt8? = getenv("FUZZ_CASE").flatMap { UInt8(String(cString: $0)) }

/// Which parser an input is for: its first byte says, unless `FUZZ_CASE` keeps a run to one.
public func chosenCase(_ first: UInt8, of count: UInt8) -> UInt8 { (fuzzCase ?? first) % count }
