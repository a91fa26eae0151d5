import Foundation
import Glibc
import Logging
import Testing

@testable import CBActors

@Suite("The names of dumps") struct MRTFileNameTests {
  @Test func asRouteCollectorsWriteThem() {
    // 2026-11-26 06:15:59 UTC.
    #expect("\(MRTFileName(.updates, seconds: 1_795_673_759))" == "updates.20261126.0615")
    #expect("\(MRTFileName(.rib, seconds: 0))" == "rib.19700101.0000")
    for seconds in stride(from: 0, to: 4_000_000_000, by: 86_399 * 77) {
      var name = MRTFileName(.rib, seconds: seconds)
      #expect(MRTFileName("\(name)") == name && MRTFileName(temporary: name.temporary) == name)
      name.number = 12
      #expect(MRTFileName("\(name)") == name)
    }
  }

  @Test(
    arguments: [
      "", "rib", "rib.20261126", "rib.20261126.0600.gz", "rib.20261126.060", "rib.2026112.0600", "rib.20261326.0600",
      "rib.20260230.0600", "rib.20261126.2460", "rib.20261126.0600-", "rib.20261126.0600-1", "rib.20261126.0600-02",
      "rib.20261126.0600-2-3", "bview.20261126.0600", "Rib.20261126.0600", "rib.+2026112.0600", ".rib.20261126.0600",
      "rib.２０２６1126.0600",
    ])
  func anythingElseIsNone(_ text: String) {
    #expect(MRTFileName(text) == nil)
    #expect(MRTFileName(temporary: text) == nil)
  }
}

@Suite("The directory of dumps") struct MRTDirectoryTests {
  /// A folder of its own, and what `body` does there.
  private func withFolder(_ body: (String) async throws -> Void) async throws {
    let folder = FileManager.default.temporaryDirectory.appendingPathComponent("mrt-\(UUID().uuidString.prefix(8))")
    defer { try? FileManager.default.removeItem(at: folder) }
    try await body(folder.path)
  }

  private func content(_ path: String) throws -> [UInt8] { Array(try Data(contentsOf: URL(fileURLWithPath: path))) }
  private func names(_ path: String) throws -> [String] {
    try FileManager.default.contentsOfDirectory(atPath: path).sorted()
  }

  private let name = MRTFileName(.updates, seconds: 1_795_673_759)

  @Test func aFileHasItsNameWhenItIsWhole() async throws {
    try await withFolder { path in
      let directory = try MRTDirectory(path, logger: Logger(label: "test"))
      let file = MRTDirectory.File(name)
      directory.write([1, 2], to: file)
      #expect(await directory.writing([3], to: file))
      #expect(try names(path) == [".updates.20261126.0615.part"])
      #expect(await directory.finishing(file))
      #expect(try names(path) == ["updates.20261126.0615"] && content("\(path)/\(name)") == [1, 2, 3])
      var status = stat()
      #expect(stat("\(path)/\(name)", &status) == 0 && status.st_mode & 0o137 == 0)
      #expect(stat(path, &status) == 0 && status.st_mode & 0o027 == 0)
      // A second one of the same minute, with nothing in it.
      #expect(await directory.finishing(MRTDirectory.File(name)))
      #expect(try names(path) == ["updates.20261126.0615", "updates.20261126.0615-2"])
      #expect(directory.counts.files == 2 && directory.counts.octets == 3 && directory.counts.troubles.isEmpty)
    }
  }

  @Test func olderFilesGo() async throws {
    try await withFolder { path in
      let directory = try MRTDirectory(path, logger: Logger(label: "test"))
      let all = ["rib.20200101.0000", "rib.20200101.0000.gz", "updates.20200101.0000-3", "other", "rib.20261126.0615"]
      for text in all { try Data().write(to: URL(fileURLWithPath: "\(path)/\(text)")) }
      directory.removeFiles(before: name.seconds)
      await directory.settle()
      #expect(try names(path) == ["other", "rib.20200101.0000.gz", "rib.20261126.0615"])
    }
  }

  /// What a process that was killed has left, and what one that runs is writing.
  @Test func whatWasLeftBehind() async throws {
    try await withFolder { path in
      let first = try MRTDirectory(path, logger: Logger(label: "test"))
      let live = MRTDirectory.File(MRTFileName(.updates, seconds: 0))
      #expect(await first.writing([1], to: live))
      for text in [".rib.20200101.0000.part", ".updates.20200101.0000.part", ".something.part"] {
        try Data([7]).write(to: URL(fileURLWithPath: "\(path)/\(text)"))
      }
      try Data().write(to: URL(fileURLWithPath: "\(path)/.updates.20200102.0000.part"))
      let second = try MRTDirectory(path, logger: Logger(label: "test"))
      await second.settle()
      #expect(try names(path) == [".something.part", ".updates.19700101.0000.part", "updates.20200101.0000"])
      #expect(await first.finishing(live))
    }
  }

  @Test func noDirectory() throws {
    #expect(throws: MRTDirectoryError.unusable("/dev/null", code: ENOTDIR)) {
      try MRTDirectory("/dev/null", logger: Logger(label: "test"))
    }
    #expect(throws: MRTDirectoryError.unusable("/nowhere/at/all", code: ENOENT)) {
      try MRTDirectory("/nowhere/at/all", logger: Logger(label: "test"))
    }
  }
}

@Suite("What waits for a monitoring station") struct BMPQueueTests {
  @Test func inOrderAndInPieces() {
    var queue = BMPQueue()
    var expected: [UInt8] = []
    var got: [UInt8] = []
    for round in 0..<3_000 {
      let message = [UInt8](repeating: UInt8(truncatingIfNeeded: round), count: round % 1_500)
      queue.append(message)
      expected += message
      queue.take { bytes in
        let count = min(bytes.count, 700)
        got += bytes.prefix(count)
        return count
      }
      #expect(queue.count == expected.count - got.count && queue.taken == UInt64(got.count))
    }
    queue.take { bytes in
      got += bytes
      return bytes.count
    }
    #expect(got == expected && queue.isEmpty && queue.messages == 3_000)
  }
}
