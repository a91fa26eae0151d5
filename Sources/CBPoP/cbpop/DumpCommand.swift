import ArgumentParser
import CBPoP
import Foundation
import Glibc

struct DumpCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "dump", abstract: "Write the tables to a file, in the MRT format (RFC 6396, TABLE_DUMP_V2).",
    discussion: """
      Each prefix is as it was when its turn came. The file has its name when it is whole, and is not written over; \
      - is the standard output.
      """)
  @Argument(help: "The file, or - for the standard output.") var file: String
  @OptionGroup var place: Place

  func validate() throws {
    if place.json { throw ValidationError("a dump is MRT, not JSON: leave --json out") }
    if file == "-", isatty(STDOUT_FILENO) == 1 { throw ValidationError("a dump is not for a terminal: name a file") }
  }

  func run() throws {
    guard file != "-" else {
      try write(to: STDOUT_FILENO)
      return
    }
    do {
      let target = try DumpFile(file)
      let routes = try write(to: target.descriptor)
      try target.finish()
      print("\(routes) routes in \(file)")
    } catch let error as DumpFile.Failure {
      FileHandle.standardError.write(Data("cbpop: \(error)\n".utf8))
      throw ExitCode.failure
    }
  }

  /// How many routes.
  @discardableResult
  private func write(to descriptor: Int32) throws -> Int {
    var routes = 0
    try place.ask(.dump, as: DumpPiece.self) { piece in
      routes = piece.routes
      var rest = piece.records[...]
      while !rest.isEmpty {
        let count = rest.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) }
        if count < 0, errno == EINTR { continue }
        guard count > 0 else { throw DumpFile.Failure(path: file, code: errno) }
        rest = rest.dropFirst(count)
      }
    }
    return routes
  }
}

/// A file that has its name when it is whole.
private struct DumpFile: ~Copyable {
  struct Failure: Error, CustomStringConvertible {
    var path: String
    var code: Int32
    var description: String { "cannot write \(path): \(String(cString: strerror(code)))" }
  }

  let descriptor: Int32
  private let path: String
  private let temporary: String

  init(_ path: String) throws(Failure) {
    self.path = path
    temporary = "\(path).part"
    guard access(path, F_OK) != 0 else { throw Failure(path: path, code: EEXIST) }
    let opened = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0o640)
    // Not yet ours to remove.
    guard opened >= 0 else { throw Failure(path: temporary, code: errno) }
    descriptor = opened
  }

  /// What was not finished is removed.
  deinit {
    close(descriptor)
    unlink(temporary)
  }

  consuming func finish() throws(Failure) {
    guard fsync(descriptor) == 0, rename(temporary, path) == 0 else { throw Failure(path: path, code: errno) }
  }
}
