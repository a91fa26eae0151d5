import Foundation

/// The lines typed in earlier sessions, in a file that only its owner can read.
struct History {
  static let maximumLines = 1000
  static let maximumLineLength = 4096

  private let path: String
  private(set) var lines: [String] = []

  /// Reads `history` in the folder; a file that cannot be read is as if empty.
  init(folder: String) {
    path = "\(folder)/history"
    guard let data = FileManager.default.contents(atPath: path) else { return }
    lines = String(decoding: data.suffix(Self.maximumLines * 256), as: UTF8.self).split(separator: "\n")
      .suffix(Self.maximumLines).map(String.init).filter { Self.isWorthKeeping($0) }
  }

  /// A line that begins with a blank is private by custom, and one with a password in a URL is none to keep.
  static func isWorthKeeping(_ line: String) -> Bool {
    guard let first = line.first, first != " ", line.utf8.count <= maximumLineLength else { return false }
    for piece in line.split(separator: " ") {
      guard let scheme = piece.range(of: "://") else { continue }
      if piece[scheme.upperBound...].prefix(while: { !"/?#".contains($0) }).contains("@") { return false }
    }
    return !line.contains("\0")
  }

  /// Appends a line, to the file too.
  ///
  /// - Returns: false where it is not kept: private, or the same as the last.
  mutating func add(_ text: String) -> Bool {
    let line = text.replacing("\n", with: "; ")
    guard Self.isWorthKeeping(line), line != lines.last else { return false }
    lines.append(line)
    if lines.count > Self.maximumLines + 100 {
      lines.removeFirst(lines.count - Self.maximumLines)
      rewrite()
    } else {
      append(line)
    }
    return true
  }

  private func append(_ line: String) {
    let folder = (path as NSString).deletingLastPathComponent
    try? FileManager.default.createDirectory(
      atPath: folder, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])
    let descriptor = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0o600)
    guard descriptor >= 0 else { return }
    // An older file may have been made with wider permissions.
    _ = fchmod(descriptor, 0o600)
    writeAll(line + "\n", to: descriptor)
    close(descriptor)
  }

  private func rewrite() {
    let partial = path + ".part"
    let descriptor = open(partial, O_WRONLY | O_TRUNC | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0o600)
    guard descriptor >= 0 else { return }
    writeAll(lines.joined(separator: "\n") + "\n", to: descriptor)
    close(descriptor)
    _ = rename(partial, path)
  }
}
