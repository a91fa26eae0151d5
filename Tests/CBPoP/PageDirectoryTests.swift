import Foundation
import HTTP3
import Testing

@testable import CBPoP

/// A directory of its own for each test.
private final class Site {
  let path: String
  init(_ files: [String: String] = [:]) throws {
    path = FileManager.default.temporaryDirectory.appendingPathComponent("pages-\(UUID())").path
    try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
    for (name, text) in files { try write(name, text) }
  }
  deinit { try? FileManager.default.removeItem(atPath: path) }

  func write(_ name: String, _ text: String) throws {
    let file = URL(fileURLWithPath: path).appendingPathComponent(name)
    try FileManager.default.createDirectory(at: file.deletingLastPathComponent(), withIntermediateDirectories: true)
    try Data(text.utf8).write(to: file)
  }
  func link(_ name: String, to target: String) throws {
    try FileManager.default.createSymbolicLink(atPath: path + "/" + name, withDestinationPath: target)
  }
}

private func get(_ path: String, _ extra: HeaderList = [:], method: String = "GET") -> HeaderList {
  HeaderList(
    [Field(":method", method), Field(":scheme", "https"), Field(":authority", "pop.test"), Field(":path", path)]
      + extra.fields)
}

private func fault(_ directory: String, _ bounds: PageDirectory.Bounds = .init()) -> String? {
  do throws(PageDirectory.Fault) {
    _ = try PageDirectory(directory, bounds: bounds)
    return nil
  } catch {
    return error.description
  }
}

@Suite struct PageDirectoryTests {
  private let site: Site
  private let pages: PageDirectory

  init() throws {
    site = try Site([
      "index.html": "<h1>home</h1>", "style.CSS": "a{}", "a b.txt": "spaced", "docs/index.html": "docs",
      "docs/deep/x.svg": "<svg/>", "empty.js": "", "noending": "?", ".secret": "no", ".git/config": "no",
      "docs/.env": "no", "é.txt": "accent",
    ])
    try site.link("alias.txt", to: "docs/deep/x.svg")
    pages = try PageDirectory(site.path)
  }

  @Test(arguments: [
    ("/", "<h1>home</h1>", "text/html; charset=utf-8"),
    ("/index.html", "<h1>home</h1>", "text/html; charset=utf-8"),
    ("/index.html?x=/../y", "<h1>home</h1>", "text/html; charset=utf-8"),
    ("/style.CSS", "a{}", "text/css; charset=utf-8"),
    ("/a%20b.txt", "spaced", "text/plain; charset=utf-8"),
    ("/%61%20b.tx%74", "spaced", "text/plain; charset=utf-8"),
    ("/%C3%A9.txt", "accent", "text/plain; charset=utf-8"),
    ("/docs/", "docs", "text/html; charset=utf-8"),
    ("/docs/deep/x.svg", "<svg/>", "image/svg+xml"),
    ("/alias.txt", "<svg/>", "text/plain; charset=utf-8"),
    ("/empty.js", "", "text/javascript; charset=utf-8"),
    ("/noending", "?", "application/octet-stream"),
  ])
  func aFileIsServed(path: String, body: String, type: String) throws {
    let page = try #require(pages.answer(get(path)))
    #expect(page.fields.status == 200)
    #expect(page.body == Array(body.utf8))
    #expect(page.fields["content-type"] == type)
    #expect(page.fields["content-length"] == "\(body.utf8.count)")
  }

  @Test(arguments: [
    "/nothing", "/.secret", "/%2Esecret", "/.git/config", "/docs/.env", "/docs%2Findex.html", "/docs/../index.html",
    "/../pages", "/docs/deep/", "/docs/deep", "//index.html", "/index.html/", "/a%2", "/a%zz", "/%", "*", "",
    "/index.html%00", "/e\u{301}.txt",
  ])
  func nothingElseIs(path: String) {
    #expect(pages.answer(get(path)) == nil)
  }

  @Test func aDirectoryIsAtItsSlash() throws {
    let page = try #require(pages.answer(get("/docs?x=1")))
    #expect(page.fields.status == 308)
    #expect(page.fields["location"] == "/docs/?x=1")
    #expect(pages.answer(get("/docs", method: "POST")) == nil)
  }

  @Test func whatTheClientHasIsNotSentAgain() throws {
    let tag = try #require(pages.answer(get("/index.html"))?.fields["etag"])
    #expect(tag.count == 34 && tag.hasPrefix("\"") && tag.hasSuffix("\""))
    #expect(pages.answer(get("/style.CSS"))?.fields["etag"] != tag)
    for known in [tag, "W/\(tag)", "\"x\", \(tag)", "*", "W/\"y\",W/\(tag) "] {
      let page = try #require(pages.answer(get("/index.html", ["if-none-match": known])))
      #expect(page.fields.status == 304 && page.body.isEmpty, "\(known)")
      #expect(page.fields["etag"] == tag && page.fields["content-length"] == nil)
    }
    for other in ["\"x\"", "", tag.replacing("\"", with: "")] {
      #expect(pages.answer(get("/index.html", ["if-none-match": other]))?.fields.status == 200, "\(other)")
    }
  }

  @Test func boundsHold() throws {
    let all = "<h1>home</h1>a{}spaceddocs<svg/>?accent<svg/>".utf8.count
    #expect(pages.byteCount == all)
    #expect(fault(site.path, .init(bytes: all)) == nil)
    #expect(fault(site.path, .init(bytes: all - 1))?.contains("makes more than the \(all - 1) bytes") == true)
    #expect(fault(site.path, .init(files: 9)) == nil)
    #expect(fault(site.path, .init(files: 8))?.hasSuffix("is one more than 8 files") == true)
    #expect(fault(site.path, .init(depth: 3)) == nil)
    #expect(fault(site.path, .init(depth: 2))?.hasSuffix("docs/deep lies more than 2 directories deep") == true)
  }

  @Test func faultsAreNamed() throws {
    #expect(fault("/nowhere/at/all") == "pages.directory: cannot read /nowhere/at/all: No such directory")
    #expect(fault(site.path + "/noending")?.hasSuffix("noending: It is not a directory") == true)
    for (name, target) in [("out", "/etc/passwd"), ("up", "../../../etc/passwd"), ("round", "docs"), ("gone", "x")] {
      let other = try Site()
      try other.link(name, to: target)
      #expect(fault(other.path)?.contains("the link \(other.path)/\(name) leads to no file within") == true)
    }
    let other = try Site()
    #expect(mkfifo(other.path + "/pipe", 0o600) == 0)
    #expect(fault(other.path)?.hasSuffix("pipe is neither a file nor a directory") == true)
  }

  @Test func datesAreThoseOfFields() {
    #expect(Date(timeIntervalSince1970: 784_111_777).fieldValue == "Sun, 06 Nov 1994 08:49:37 GMT")
  }
}
