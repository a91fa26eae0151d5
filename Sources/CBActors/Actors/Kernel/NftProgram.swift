import Dispatch
import Foundation
import Glibc
import Ring
import Wire

/// Runs nftables' program, on a thread that may wait.
struct NftProgram: Sendable {
  let path: String
  private let queue = DispatchQueue(label: "nft")
  /// One that takes longer is killed.
  private static let patience = Interval.seconds(10)

  init(path: String) { self.path = path }

  struct Failure: Error, CustomStringConvertible {
    let description: String
  }

  /// What it prints.
  ///
  /// - Throws: ``Failure`` with its own words, or why it cannot be run.
  func run(_ arguments: [String], input: String = "") async throws -> String {
    try await withCheckedThrowingContinuation { continuation in
      queue.async { continuation.resume(with: Result { try wait(arguments, input) }) }
    }
  }

  private func wait(_ arguments: [String], _ input: String) throws -> String {
    guard access(path, X_OK) == 0 else {
      let why = Self.text(errno)
      throw Failure(description: "\(path) cannot be run (\(why)): install nftables, or set bgp.flowspec.program")
    }
    // Files, and not pipes: neither end ever waits for the other.
    let files = try [0, 1, 2].map { _ in
      guard let file = tmpfile() else { throw Failure(description: "no temporary file: \(Self.text(errno))") }
      return file
    }
    defer { for file in files { fclose(file) } }
    let bytes = Array(input.utf8)
    guard fwrite(bytes, 1, bytes.count, files[0]) == bytes.count, fflush(files[0]) == 0 else {
      throw Failure(description: "no temporary file: \(Self.text(errno))")
    }
    rewind(files[0])
    let outcome = ChildProcess.runWaiting(
      [path] + arguments, environment: [:],
      files: .init(input: fileno(files[0]), output: fileno(files[1]), errors: fileno(files[2])),
      timeout: Self.patience)
    let errors = Self.contents(files[2])
    switch outcome {
    case .exited(0): return Self.contents(files[1])
    case .exited, .killed:
      throw Failure(description: errors.isEmpty ? "\(path) ended without a word: \(outcome)" : errors)
    case .timedOut: throw Failure(description: "\(path) took longer than \(Self.patience)")
    case .notStarted(let error): throw Failure(description: "\(error)")
    }
  }

  private static func contents(_ file: UnsafeMutablePointer<FILE>) -> String {
    let handle = FileHandle(fileDescriptor: fileno(file), closeOnDealloc: false)
    try? handle.seek(toOffset: 0)
    return String(decoding: (try? handle.readToEnd()) ?? Data(), as: UTF8.self)
  }

  private static func text(_ code: Int32) -> String { String(cString: strerror(code)) }
}
