import Crypto
import Foundation
import HTTP3

/// The files of `pages.directory`, read once at start: what a PoP serves to anyone.
///
/// A request is looked up among the names that were read and reaches no file system, so no path can lead elsewhere.
struct PageDirectory: Sendable {
  private var files: [[UInt8]: File] = [:]
  private(set) var byteCount = 0

  private struct File: Sendable {
    var body: [UInt8]
    var contentType: String
    var entityTag: String
  }

  /// What may be kept in memory.
  struct Bounds: Sendable {
    var bytes = 64 << 20
    var files = 10_000
    /// Directories within each other.
    var depth = 32
  }

  /// Reads `directory` and what is in it. Names that begin with a dot are left out.
  ///
  /// - Throws: ``Fault``, which names the file.
  init(_ directory: String, bounds: Bounds = Bounds()) throws(Fault) {
    var isDirectory: ObjCBool = false
    guard FileManager.default.fileExists(atPath: directory, isDirectory: &isDirectory) else {
      throw .unreadable(directory, "No such directory")
    }
    guard isDirectory.boolValue else { throw .unreadable(directory, "It is not a directory") }
    let root = Self.resolved(directory)
    try read(root, as: "/", within: root, depth: bounds.depth, bounds)
  }

  /// Why the directory is not served.
  enum Fault: Error, Hashable, CustomStringConvertible {
    case unreadable(String, String)
    case tooManyBytes(String, limit: Int)
    case tooManyFiles(String, limit: Int)
    case tooDeep(String, limit: Int)
    case leadsOutside(String)
    case notAFile(String)

    var description: String {
      switch self {
      case .unreadable(let path, let reason): "pages.directory: cannot read \(path): \(reason)"
      case .tooManyBytes(let path, let limit):
        "pages.directory: \(path) makes more than the \(limit) bytes that are kept in memory"
      case .tooManyFiles(let path, let limit): "pages.directory: \(path) is one more than \(limit) files"
      case .tooDeep(let path, let limit): "pages.directory: \(path) lies more than \(limit) directories deep"
      case .leadsOutside(let path): "pages.directory: the link \(path) leads to no file within the directory"
      case .notAFile(let path): "pages.directory: \(path) is neither a file nor a directory"
      }
    }
  }

  private static func resolved(_ path: String) -> String {
    URL(fileURLWithPath: path).resolvingSymlinksInPath().path
  }

  private mutating func read(
    _ directory: String, as prefix: String, within root: String, depth: Int, _ bounds: Bounds
  ) throws(Fault) {
    guard depth > 0 else { throw .tooDeep(directory, limit: bounds.depth) }
    for name in try attempt(directory, { try FileManager.default.contentsOfDirectory(atPath: $0) }).sorted()
    where !name.hasPrefix(".") {
      let path = directory + "/" + name
      switch try attempt(path, { try FileManager.default.attributesOfItem(atPath: $0) })[.type] as? FileAttributeType {
      case .typeDirectory:
        try read(path, as: prefix + name + "/", within: root, depth: depth - 1, bounds)
      case .typeRegular: try add(path, as: prefix + name, bounds)
      case .typeSymbolicLink:
        // A link to a directory may lead in circles.
        let target = Self.resolved(path)
        let attributes = try? FileManager.default.attributesOfItem(atPath: target)
        guard target.hasPrefix(root + "/"), attributes?[.type] as? FileAttributeType == .typeRegular else {
          throw .leadsOutside(path)
        }
        try add(target, as: prefix + name, bounds)
      default: throw .notAFile(path)
      }
    }
  }

  private mutating func add(_ path: String, as name: String, _ bounds: Bounds) throws(Fault) {
    guard files.count < bounds.files else { throw .tooManyFiles(path, limit: bounds.files) }
    let room = bounds.bytes - byteCount
    // One byte more than there is room for tells that there are too many, and no more of them is read.
    let data = try attempt(path) { path in
      let handle = try FileHandle(forReadingFrom: URL(fileURLWithPath: path))
      defer { try? handle.close() }
      return try handle.read(upToCount: room + 1) ?? Data()
    }
    guard data.count <= room else { throw .tooManyBytes(path, limit: bounds.bytes) }
    byteCount += data.count
    files[Array(name.utf8)] = File(
      body: Array(data), contentType: MediaType.of(fileName: name),
      entityTag: "\"" + SHA256.hash(data: data).prefix(16).map { String(format: "%02x", $0) }.joined() + "\"")
  }

  private func attempt<R>(_ path: String, _ body: (String) throws -> R) throws(Fault) -> R {
    do { return try body(path) } catch {
      throw .unreadable(path, (error as? CocoaError)?.underlying?.localizedDescription ?? error.localizedDescription)
    }
  }
}

extension CocoaError {
  /// The system's own words, such as "Permission denied".
  fileprivate var underlying: (any Error)? { userInfo[NSUnderlyingErrorKey] as? any Error }
}

// MARK: - Answers

extension PageDirectory {
  /// The answer to a GET or HEAD of one of the files; nil when there is none of that name.
  func answer(_ request: HeaderList) -> PoPPage? {
    guard let target = request.path, request.method == "GET" || request.method == "HEAD" else { return nil }
    let query = target.utf8.firstIndex(of: UInt8(ascii: "?")) ?? target.endIndex
    let path = target[..<query]
    guard path.hasPrefix("/"), let name = Self.decoded(path.utf8) else { return nil }
    if let file = files[name.last == UInt8(ascii: "/") ? name + Self.index : name] {
      return answer(request, with: file)
    }
    // Links in the page are relative to its directory, which the client knows by the slash alone.
    guard files[name + [UInt8(ascii: "/")] + Self.index] != nil else { return nil }
    return PoPPage(status: 308, text: "The page is at \(path)/", extra: ["location": "\(path)/\(target[query...])"])
  }

  private static let index = Array("index.html".utf8)

  private func answer(_ request: HeaderList, with file: File) -> PoPPage {
    // Kept copies are good as long as we say so when asked: what a directory holds may change with each start.
    var fields: HeaderList = [":status": "200", "etag": file.entityTag, "cache-control": "no-cache"]
    // RFC 9110 §13.1.2: the weak comparison. None of our entity tags has a comma in it.
    let known = request.values("if-none-match").flatMap { $0.split(separator: ",") }.map { tag in
      let tag = tag.trimmingCharacters(in: .whitespaces)
      return tag.hasPrefix("W/") ? String(tag.dropFirst(2)) : tag
    }
    if known.contains(file.entityTag) || known.contains("*") {
      fields.fields[0].value = "304"
      return PoPPage(fields: fields, body: [])
    }
    fields.append("content-type", file.contentType)
    fields.append("content-length", "\(file.body.count)")
    return PoPPage(fields: fields, body: file.body)
  }

  /// A path without its percent-encoding (RFC 3986 §2.1); nil when that is wrong, or hides a slash.
  static func decoded(_ path: Substring.UTF8View) -> [UInt8]? {
    var bytes: [UInt8] = []
    bytes.reserveCapacity(path.count)
    var rest = path[...]
    while let byte = rest.popFirst() {
      guard byte == UInt8(ascii: "%") else {
        bytes.append(byte)
        continue
      }
      guard let high = rest.popFirst().flatMap({ Character(UnicodeScalar($0)).hexDigitValue }),
        let low = rest.popFirst().flatMap({ Character(UnicodeScalar($0)).hexDigitValue }),
        high << 4 | low != UInt8(ascii: "/")
      else { return nil }
      bytes.append(UInt8(high << 4 | low))
    }
    return bytes
  }
}

/// Media types by the endings of file names (RFC 9110 §8.3).
enum MediaType {
  static func of(fileName: String) -> String {
    let ending = fileName.split(separator: "/").last?.split(separator: ".").dropFirst().last
    return byEnding[ending?.lowercased() ?? ""] ?? "application/octet-stream"
  }

  private static let byEnding = [
    "html": "text/html; charset=utf-8", "htm": "text/html; charset=utf-8", "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8", "mjs": "text/javascript; charset=utf-8",
    "txt": "text/plain; charset=utf-8", "md": "text/markdown; charset=utf-8", "csv": "text/csv; charset=utf-8",
    "json": "application/json", "webmanifest": "application/manifest+json", "xml": "application/xml",
    "pdf": "application/pdf", "wasm": "application/wasm", "zip": "application/zip", "gz": "application/gzip",
    "svg": "image/svg+xml", "png": "image/png", "jpg": "image/jpeg", "jpeg": "image/jpeg", "gif": "image/gif",
    "webp": "image/webp", "avif": "image/avif", "ico": "image/vnd.microsoft.icon", "bmp": "image/bmp",
    "woff": "font/woff", "woff2": "font/woff2", "ttf": "font/ttf", "otf": "font/otf",
    "mp3": "audio/mpeg", "ogg": "audio/ogg", "wav": "audio/wav", "mp4": "video/mp4", "webm": "video/webm",
  ]
}
