import CLinux
import Glibc

/// Files that only their owner may touch: mode 0600 in a directory of mode 0700, checked on every use.
enum PrivateFile {
  static let fileMode: mode_t = 0o600
  static let directoryMode: mode_t = 0o700

  /// Creates `path` and its parents where they are missing. The directory itself must be private.
  static func makeDirectory(_ path: String) throws(TokenStoreError) {
    var parent = ""
    for component in path.split(separator: "/") {
      parent += "/" + component
      if mkdir(parent, directoryMode) != 0, errno != EEXIST {
        throw .system(operation: "mkdir", path: parent, code: errno)
      }
    }
    let descriptor = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    guard descriptor >= 0 else { throw .system(operation: "open", path: path, code: errno) }
    defer { close(descriptor) }
    try check(descriptor, path, kind: S_IFDIR, wanted: directoryMode)
  }

  /// The file's bytes, or nil where there is none. Refuses links, foreign owners and loose modes.
  static func read(_ path: String, limit: Int) throws(TokenStoreError) -> [UInt8]? {
    let descriptor = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK)
    guard descriptor >= 0 else {
      if errno == ENOENT { return nil }
      throw errno == ELOOP
        ? .notARegularFile(path: path) : .system(operation: "open", path: path, code: errno)
    }
    defer { close(descriptor) }
    try check(descriptor, path, kind: S_IFREG, wanted: fileMode)
    var bytes: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 4096)
    defer { wipe(&buffer) }
    while true {
      let count = Glibc.read(descriptor, &buffer, buffer.count)
      if count < 0 {
        if errno == EINTR { continue }
        throw .system(operation: "read", path: path, code: errno)
      }
      if count == 0 { return bytes }
      guard bytes.count + count <= limit else { throw .corrupt(path: path) }
      bytes += buffer[..<count]
    }
  }

  /// Puts `bytes` in the place of `path` at once: whoever reads sees the old or the new, also after a crash.
  static func replace(_ path: String, with bytes: [UInt8]) throws(TokenStoreError) {
    let temporary = try write(beside: path, bytes)
    guard rename(temporary, path) == 0 else {
      let code = errno
      unlink(temporary)
      throw .system(operation: "rename", path: path, code: code)
    }
    try syncDirectory(of: path)
  }

  /// Creates `path` unless it exists. Returns whether it did; of two processes one does.
  static func create(_ path: String, with bytes: [UInt8]) throws(TokenStoreError) -> Bool {
    let temporary = try write(beside: path, bytes)
    defer { unlink(temporary) }
    if link(temporary, path) == 0 {
      try syncDirectory(of: path)
      return true
    }
    guard errno == EEXIST else { throw .system(operation: "link", path: path, code: errno) }
    return false
  }

  /// Returns whether there was anything to remove.
  static func remove(_ path: String) throws(TokenStoreError) -> Bool {
    if unlink(path) == 0 {
      try syncDirectory(of: path)
      return true
    }
    guard errno == ENOENT else { throw .system(operation: "unlink", path: path, code: errno) }
    return false
  }

  /// Opens a file for locking, creating it when it is missing.
  static func openLock(_ path: String) throws(TokenStoreError) -> Int32 {
    let descriptor = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, fileMode)
    guard descriptor >= 0 else { throw .system(operation: "open", path: path, code: errno) }
    return descriptor
  }

  private static func check(
    _ descriptor: Int32, _ path: String, kind: mode_t, wanted: mode_t
  ) throws(TokenStoreError) {
    var mode: UInt32 = 0
    var owner: UInt32 = 0
    let result = cb_file_status(descriptor, &mode, &owner)
    guard result == 0 else { throw .system(operation: "stat", path: path, code: -result) }
    guard mode & S_IFMT == kind else { throw .notARegularFile(path: path) }
    guard owner == geteuid() else { throw .foreignOwner(path: path) }
    guard mode & 0o077 == 0 else { throw .permissions(path: path, mode: mode & 0o7777, wanted: wanted) }
  }

  private static func write(beside path: String, _ bytes: [UInt8]) throws(TokenStoreError) -> String {
    let temporary = "\(path).\(getpid()).\(String(UInt64.random(in: .min ... .max), radix: 36))"
    let descriptor = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, fileMode)
    guard descriptor >= 0 else { throw .system(operation: "create", path: temporary, code: errno) }
    var failure: (operation: String, code: Int32)?
    var written = 0
    while written < bytes.count, failure == nil {
      let count = bytes.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress! + written, $0.count - written) }
      if count >= 0 { written += count } else if errno != EINTR { failure = ("write", errno) }
    }
    if failure == nil, fsync(descriptor) != 0 { failure = ("fsync", errno) }
    if close(descriptor) != 0, failure == nil { failure = ("close", errno) }
    if let failure {
      unlink(temporary)
      throw .system(operation: failure.operation, path: temporary, code: failure.code)
    }
    return temporary
  }

  /// Makes a rename last: the directory's entry is data too.
  private static func syncDirectory(of path: String) throws(TokenStoreError) {
    let directory = path[..<(path.lastIndex(of: "/") ?? path.startIndex)]
    let descriptor = open(directory.isEmpty ? "/" : String(directory), O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    guard descriptor >= 0 else { throw .system(operation: "open", path: String(directory), code: errno) }
    defer { close(descriptor) }
    guard fsync(descriptor) == 0 else { throw .system(operation: "fsync", path: String(directory), code: errno) }
  }
}
