import Dispatch
import Foundation
import Glibc
public import QUIC
import Synchronization

/// Writes qlogs, one file for each connection, into a directory: `ID_client.sqlog` or `ID_server.sqlog`, by the
/// connection's first Destination Connection ID.
///
/// A ring never waits for the disk: records are gathered in memory and written by a queue of their own. When that falls
/// behind by ``backlogLimit``, what comes is dropped and counted.
public final class QLogDirectory: Sendable {
  /// Bytes that may wait to be written, of all connections.
  static let backlogLimit = 32 << 20
  /// Bytes that one file may grow to.
  static let fileLimit = 1 << 30

  private let path: String
  private let queue = DispatchQueue(label: "qlog", qos: .utility)
  private let backlog = Atomic<Int>(0)
  private let dropped = Atomic<Int>(0)

  /// - Throws: ``QLogDirectoryError`` for what is no directory, or none that can be written to.
  public init(_ path: String) throws(QLogDirectoryError) {
    var status = stat()
    guard stat(path, &status) == 0 else { throw .unusable(path, code: errno) }
    guard status.st_mode & S_IFMT == S_IFDIR else { throw .unusable(path, code: ENOTDIR) }
    guard access(path, W_OK | X_OK) == 0 else { throw .unusable(path, code: errno) }
    self.path = path
  }

  /// Chunks of records that were left out because the disk was too slow or full.
  public var droppedChunks: Int { dropped.load(ordering: .relaxed) }

  /// A file for a connection's qlog.
  public func sink(_ subject: QLogSubject) -> any QLogSink {
    QLogFile(self, name: "\(subject.originalDestinationID)_\(subject.role == .client ? "client" : "server")")
  }

  /// Waits until everything handed over so far is written.
  public func flush() { queue.sync {} }

  fileprivate func append(_ chunk: [UInt8], to file: FileHandle) {
    guard backlog.load(ordering: .relaxed) + chunk.count <= Self.backlogLimit else {
      dropped.add(1, ordering: .relaxed)
      return
    }
    backlog.add(chunk.count, ordering: .relaxed)
    queue.async { [self] in
      if !file.write(chunk, in: path) { dropped.add(1, ordering: .relaxed) }
      backlog.subtract(chunk.count, ordering: .relaxed)
    }
  }

  /// A file that is opened by the first write. Touched by the queue alone.
  fileprivate final class FileHandle: @unchecked Sendable {
    private let name: String
    private var descriptor: Int32 = -1
    private var written = 0
    private var hasFailed = false

    init(name: String) { self.name = name }
    deinit { if descriptor >= 0 { close(descriptor) } }

    func write(_ chunk: [UInt8], in directory: String) -> Bool {
      if descriptor < 0, !hasFailed { open(in: directory) }
      guard descriptor >= 0, written + chunk.count <= QLogDirectory.fileLimit else { return false }
      var offset = 0
      while offset < chunk.count {
        let count = chunk.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress! + offset, $0.count - offset) }
        if count < 0, errno == EINTR { continue }
        guard count > 0 else { return false }
        offset += count
      }
      written += chunk.count
      return true
    }

    /// A client chooses its connection ID and may choose one twice: no file is written over.
    private func open(in directory: String) {
      for attempt in 1...100 {
        let suffix = attempt == 1 ? "" : "-\(attempt)"
        descriptor = Glibc.open(
          "\(directory)/\(name)\(suffix).sqlog", O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0o600)
        if descriptor >= 0 || errno != EEXIST { break }
      }
      hasFailed = descriptor < 0
    }
  }
}

/// Why qlogs cannot be written.
public enum QLogDirectoryError: Error, Hashable, Sendable, CustomStringConvertible {
  case unusable(String, code: Int32)
  public var description: String {
    switch self {
    case .unusable(let path, let code): "cannot write qlogs into \(path): \(String(cString: strerror(code)))"
    }
  }
}

/// One connection's file. Records are handed over in chunks; the last ones when the connection ends.
private final class QLogFile: QLogSink {
  private static let chunkSize = 32 << 10
  let wallClockTime: String?
  private let directory: QLogDirectory
  private let file: QLogDirectory.FileHandle
  private var pending: [UInt8] = []

  init(_ directory: QLogDirectory, name: String) {
    self.directory = directory
    file = QLogDirectory.FileHandle(name: name)
    wallClockTime = Date().formatted(Date.ISO8601FormatStyle(includingFractionalSeconds: true))
  }

  func write(_ record: UnsafeRawBufferPointer) {
    pending.append(contentsOf: record)
    if pending.count >= Self.chunkSize { handOver() }
  }

  func flush() { handOver() }

  private func handOver() {
    guard !pending.isEmpty else { return }
    directory.append(pending, to: file)
    pending = []
  }
}
