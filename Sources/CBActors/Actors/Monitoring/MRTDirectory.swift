import Dispatch
import Glibc
import Logging
import Synchronization

/// Where dumps are written: each under another name until it is whole, and readable by its owner and group at most.
///
/// A queue of its own writes, so that no ring waits for the disk. Trouble with a kind of file is logged when it begins, and
/// when one is whole again; what could not be written meanwhile is lost and counted, and no record is left in half.
final class MRTDirectory: Sendable {
  /// Octets that may wait to be written; more are dropped.
  static let backlogLimit = 32 << 20

  struct Counts: Sendable {
    var files = 0
    var octets = 0
    /// Pieces that were not written, or not kept.
    var lost = 0
    var lastFile: String?
    /// What is wrong now, by the kind of file.
    var troubles: [MRTFileName.Kind: String] = [:]
  }

  let path: String
  private let queue = DispatchQueue(label: "mrt", qos: .utility)
  private let backlog = Atomic<Int>(0)
  private let counted = Mutex(Counts())
  private let logger: Logger

  /// Opens the directory, making it where it is missing.
  ///
  /// - Throws: ``MRTDirectoryError`` for what is no directory, or none that can be written to.
  init(_ path: String, logger: Logger) throws(MRTDirectoryError) {
    self.path = path
    self.logger = logger
    var status = stat()
    if stat(path, &status) != 0 {
      guard errno == ENOENT, mkdir(path, 0o750) == 0 else { throw .unusable(path, code: errno) }
    } else {
      guard status.st_mode & S_IFMT == S_IFDIR else { throw .unusable(path, code: ENOTDIR) }
    }
    guard access(path, R_OK | W_OK | X_OK) == 0 else { throw .unusable(path, code: errno) }
    queue.async { [self] in recover() }
  }

  var counts: Counts { counted.withLock { $0 } }

  // MARK: Files

  /// A file that is opened by the first piece that is written. Touched by the queue alone.
  final class File: @unchecked Sendable {
    fileprivate var name: MRTFileName
    fileprivate var descriptor: Int32 = -1
    fileprivate var length = 0
    /// Something that belongs into it was lost.
    fileprivate var lacks = false

    init(_ name: MRTFileName) { self.name = name }
    deinit { if descriptor >= 0 { close(descriptor) } }
  }

  /// Writes a piece some time; drops it where too many wait.
  func write(_ piece: [UInt8], to file: File) {
    guard backlog.load(ordering: .relaxed) + piece.count <= Self.backlogLimit else {
      queue.async { [self] in failed(file, "more comes than the disk takes") }
      return
    }
    backlog.add(piece.count, ordering: .relaxed)
    queue.async { [self] in
      _ = append(piece, to: file)
      backlog.subtract(piece.count, ordering: .relaxed)
    }
  }

  /// Writes a piece; returns when it is written, or false when it cannot be.
  func writing(_ piece: [UInt8], to file: File) async -> Bool {
    await perform { self.append(piece, to: file) }
  }

  /// Gives the file its name, some time.
  func finish(_ file: File) { queue.async { [self] in _ = publish(file) } }

  /// Gives the file its name; false when it cannot have it.
  func finishing(_ file: File) async -> Bool { await perform { self.publish(file) } }

  func discard(_ file: File) { queue.async { [self] in unlink("\(path)/\(file.name.temporary)") } }

  /// Removes what is older, some time.
  func removeFiles(before seconds: Int) {
    queue.async { [self] in
      for text in listing() {
        guard let name = MRTFileName(text), name.seconds < seconds else { continue }
        guard unlink("\(path)/\(text)") != 0 else { continue }
        logger.warning("old dump stays", metadata: ["file": "\(path)/\(text)", "error": "\(Self.reason(errno))"])
      }
    }
  }

  /// Waits until everything handed over so far is done.
  func settle() async { await perform {} }

  private func perform<Result: Sendable>(_ body: @escaping @Sendable () -> Result) async -> Result {
    await withCheckedContinuation { continuation in queue.async { continuation.resume(returning: body()) } }
  }

  // MARK: On the queue

  private func append(_ piece: [UInt8], to file: File) -> Bool {
    if file.descriptor < 0, !open(file) { return false }
    var offset = 0
    while offset < piece.count {
      let count = piece.withUnsafeBytes { Glibc.write(file.descriptor, $0.baseAddress! + offset, $0.count - offset) }
      if count < 0, errno == EINTR { continue }
      guard count > 0 else {
        let code = errno
        // The piece that did not fit goes whole.
        ftruncate(file.descriptor, off_t(file.length))
        lseek(file.descriptor, off_t(file.length), SEEK_SET)
        failed(file, "cannot write \(path)/\(file.name.temporary): \(Self.reason(code))")
        return false
      }
      offset += count
    }
    file.length += piece.count
    counted.withLock { $0.octets += piece.count }
    return true
  }

  private func open(_ file: File) -> Bool {
    for _ in 0..<1_000 {
      let name = "\(path)/\(file.name.temporary)"
      if access("\(path)/\(file.name)", F_OK) != 0 {
        file.descriptor = Glibc.open(name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0o640)
        if file.descriptor >= 0 {
          // Whoever starts in the same directory leaves it alone.
          flock(file.descriptor, LOCK_EX | LOCK_NB)
          return true
        }
        guard errno == EEXIST else {
          failed(file, "cannot open \(name): \(Self.reason(errno))")
          return false
        }
      }
      file.name.number += 1
    }
    failed(file, "\(path) has too many files called \(file.name)")
    return false
  }

  private func publish(_ file: File) -> Bool {
    if file.descriptor < 0, !open(file) { return false }
    defer {
      close(file.descriptor)
      file.descriptor = -1
    }
    guard fsync(file.descriptor) == 0, rename(file.name) else {
      failed(file, "cannot finish \(path)/\(file.name.temporary): \(Self.reason(errno))")
      return false
    }
    if !file.lacks { succeeded(file) }
    return true
  }

  private func rename(_ name: MRTFileName) -> Bool {
    guard Glibc.rename("\(path)/\(name.temporary)", "\(path)/\(name)") == 0 else { return false }
    counted.withLock { counts in
      counts.files += 1
      counts.lastFile = "\(name)"
    }
    logger.info("dump written", metadata: ["file": "\(path)/\(name)"])
    return true
  }

  /// What a process that was killed has left: its updates are good up to where they break off, a dump of the tables is
  /// of no use.
  private func recover() {
    for text in listing() {
      guard let name = MRTFileName(temporary: text) else { continue }
      let descriptor = Glibc.open("\(path)/\(text)", O_RDONLY | O_NOFOLLOW | O_CLOEXEC)
      guard descriptor >= 0 else { continue }
      defer { close(descriptor) }
      guard flock(descriptor, LOCK_EX | LOCK_NB) == 0 else { continue }
      var status = stat()
      if name.kind == .updates, fstat(descriptor, &status) == 0, status.st_size > 0,
        access("\(path)/\(name)", F_OK) != 0
      {
        _ = rename(name)
      } else {
        unlink("\(path)/\(text)")
      }
    }
  }

  private func listing() -> [String] {
    guard let directory = opendir(path) else {
      logger.warning("cannot look for old dumps", metadata: ["path": "\(path)", "error": "\(Self.reason(errno))"])
      return []
    }
    defer { closedir(directory) }
    var names: [String] = []
    while let entry = readdir(directory) {
      names.append(
        withUnsafePointer(to: &entry.pointee.d_name) {
          $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
        })
    }
    return names
  }

  // MARK: Trouble

  private func failed(_ file: File, _ trouble: String) {
    file.lacks = true
    let isNew = counted.withLock { counts in
      counts.lost += 1
      return counts.troubles.updateValue(trouble, forKey: file.name.kind) == nil
    }
    if isNew { logger.error("dumps are lost", metadata: ["error": "\(trouble)"]) }
  }

  private func succeeded(_ file: File) {
    let wasTrouble = counted.withLock { $0.troubles.removeValue(forKey: file.name.kind) != nil }
    if wasTrouble { logger.notice("dumps are written again", metadata: ["file": "\(path)/\(file.name)"]) }
  }

  private static func reason(_ code: Int32) -> String { String(cString: strerror(code)) }
}

/// Why dumps cannot be written.
public enum MRTDirectoryError: Error, Hashable, Sendable, CustomStringConvertible {
  case unusable(String, code: Int32)
  public var description: String {
    switch self {
    case .unusable(let path, let code): "cannot write dumps into \(path): \(String(cString: strerror(code)))"
    }
  }
}
