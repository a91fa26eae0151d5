import CBClient
import Foundation
import Testing

@testable import cbterm

private let tunnels: [TunnelStatus] = [
  .init(
    name: "resolver", transport: .udp, listen: "127.0.0.1:5353", target: "dns.example.net:53", state: .open,
    openFlows: 3, bytesSent: 4096, bytesReceived: 1_234_567),
  .init(
    name: "a-rather-long-tunnel", transport: .tcp, listen: "[::1]:8080",
    target: "intranet.department.example.net:8443", state: .waiting, openFlows: 0, bytesSent: 0, bytesReceived: 0),
]

@Suite struct TableTests {
  @Test(arguments: [40, 60, 80, 120]) func everyLineFits(_ width: Int) {
    let lines = TunnelRendering.table(tunnels).lines(for: .terminal(width))
    for line in lines { #expect(line.displayWidth <= width, "\(line)") }
  }

  @Test func at120NothingIsCut() {
    let text = TunnelRendering.table(tunnels).lines(for: .terminal(120)).joined(separator: "\n")
    #expect(!text.contains("…"))
    #expect(text.contains("intranet.department.example.net:8443"))
  }

  @Test func at80TheWidestColumnsAreCut() {
    let lines = TunnelRendering.table(tunnels).lines(for: .terminal(80))
    #expect(lines.count == 3)
    #expect(lines[0].hasPrefix("TUNNEL"))
    #expect(lines[1].contains("resolver"))
    #expect(lines[1].contains("127.0.0.1:5353"))
    #expect(lines[2].contains("…"))
    #expect(lines[2].contains("0 B"))
  }

  @Test func at40ColumnsBecomeBlocks() {
    let lines = TunnelRendering.table(tunnels).lines(for: .terminal(40))
    #expect(lines[0] == "TUNNEL    resolver")
    #expect(lines.contains("TARGET    dns.example.net:53"))
    #expect(lines.contains(""))
  }

  @Test func aPipeIsNotCut() {
    let text = TunnelRendering.table(tunnels).lines(for: .plain).joined(separator: "\n")
    #expect(text.contains("a-rather-long-tunnel"))
    #expect(text.contains("intranet.department.example.net:8443"))
  }

  @Test func numbersAreRightAligned() {
    var table = Table([.init("A"), .init("N", trailing: true, minimum: 1)])
    table.rows = [["x", "1"], ["y", "1000"]]
    #expect(table.lines(for: .plain) == ["A     N", "x     1", "y  1000"])
  }

  @Test func wideCharactersKeepTheColumnsStraight() {
    var table = Table([.init("NAME"), .init("B")])
    table.rows = [["日本", "x"], ["é", "y"]]
    #expect(table.lines(for: .plain) == ["NAME  B", "日本  x", "é     y"])
  }

  @Test func fieldsWrapUnderTheirValue() {
    var list = FieldList()
    list.add("Path", "RTT 8.31 ms (least 7.92 ms), MTU 1452, cubic, window 120 KiB")
    let lines = list.lines(for: .terminal(40))
    #expect(lines == ["Path  RTT 8.31 ms (least 7.92 ms), MTU", "      1452, cubic, window 120 KiB"])
  }
}

@Suite struct WidthTests {
  @Test(arguments: [
    ("abc", 3), ("é", 1), ("e\u{301}", 1), ("日本", 4), ("👍", 2), ("👩‍👩‍👧", 2), ("❤️", 2), ("…", 1), ("ｱ", 1), ("Ａ", 2),
  ]) func widths(_ text: String, _ width: Int) { #expect(text.displayWidth == width) }

  @Test func cutting() {
    #expect("abcdef".fitted(to: 6, ellipsis: "…") == "abcdef")
    #expect("abcdef".fitted(to: 5, ellipsis: "…") == "abcd…")
    #expect("日本語".fitted(to: 4, ellipsis: "…") == "日…")
    #expect("abc".fitted(to: 0, ellipsis: "…") == "")
  }

  @Test func wrapping() {
    #expect("one two three".wrapped(to: 7) == ["one two", "three"])
    #expect("abcdefghij".wrapped(to: 4) == ["abcd", "efgh", "ij"])
    #expect("日本語".wrapped(to: 1) == ["日", "本", "語", ""] || "日本語".wrapped(to: 1).joined() == "日本語")
    #expect("".wrapped(to: 5) == [""])
  }

  @Test func whatComesFromTheNetworkCannotSteerTheTerminal() {
    #expect("a\u{1b}[2Jb".printable == "a\u{fffd}[2Jb")
    #expect("a\u{202e}b\u{9b}c\n".printable == "a\u{fffd}b\u{fffd}c\u{fffd}")
    #expect(Table.Cell("\u{1b}x").text == "\u{fffd}x")
    #expect(Session.harmless(Array("a\u{1b}[31m\n".utf8)) == Array("a?[31m\n".utf8))
  }
}

@Suite struct StyleTests {
  @Test func coloursAreForTerminalsThatWantThem() throws {
    let file = FileManager.default.temporaryDirectory.appendingPathComponent(UUID().uuidString)
    _ = FileManager.default.createFile(atPath: file.path, contents: nil)
    defer { try? FileManager.default.removeItem(at: file) }
    let handle = try FileHandle(forWritingTo: file)
    let format = ScreenFormat(
      descriptor: handle.fileDescriptor, environment: ["TERM": "xterm-256color"], allowsColour: true)
    #expect(!format.style.isColoured)
    #expect(format.width == nil)
    #expect(Style(isColoured: true)("x", .bad) == "\u{1b}[31mx\u{1b}[0m")
    #expect(Style(isColoured: false)("x", .bad) == "x")
    #expect(Style(isColoured: true)("x", .plain) == "x")
  }

  @Test func theLocaleDecidesOnUnicode() {
    #expect(ScreenFormat.isUnicode([:]))
    #expect(ScreenFormat.isUnicode(["LANG": "de_DE.UTF-8"]))
    #expect(!ScreenFormat.isUnicode(["LANG": "de_DE.UTF-8", "LC_ALL": "C"]))
    #expect(ScreenFormat.isUnicode(["LC_ALL": "", "LC_CTYPE": "C.utf8"]))
  }

  @Test func quantities() {
    #expect(Quantity.bytes(0) == "0 B")
    #expect(Quantity.bytes(1023) == "1023 B")
    #expect(Quantity.bytes(1024) == "1.00 KiB")
    #expect(Quantity.bytes(1_048_575) == "1.00 MiB")
    #expect(Quantity.bytes(.max) == "16.0 EiB")
    #expect(Quantity.milliseconds(0.1234) == "0.123 ms")
    #expect(Quantity.milliseconds(12.345) == "12.3 ms")
    #expect(Quantity.milliseconds(999.9) == "1.00 s")
    #expect(Quantity.elapsed(4.9) == "4s")
    #expect(Quantity.elapsed(125) == "2m 05s")
    #expect(Quantity.elapsed(11_520) == "3h 12m")
    #expect(Quantity.elapsed(-1) == "0s")
    #expect(Quantity.elapsed(.infinity) == "11574074d 1h")
  }

  @Test func prompts() {
    let up = PromptState(profile: "local", state: .connected, pop: "fra1")
    #expect(up.text(.terminal(80), marksInvisible: true) == "local ● fra1> ")
    #expect(PromptState(profile: "local").text(.terminal(80), marksInvisible: true) == "local ○> ")
    #expect(PromptState().text(.terminal(80), marksInvisible: true) == "○> ")
    let lost = PromptState(profile: "local", state: .reconnecting, pop: "fra1")
    #expect(lost.text(.terminal(80), marksInvisible: true) == "local ◐ fra1> ")
    let coloured = up.text(.terminal(80, coloured: true), marksInvisible: true)
    #expect(coloured.contains("\u{1}\u{1b}[32m\u{2}●\u{1}\u{1b}[0m\u{2}"))
    let ascii = ScreenFormat(width: 80, style: .init(isColoured: false), isUnicode: false)
    #expect(up.text(ascii, marksInvisible: true) == "local * fra1> ")
    let long = PromptState(profile: String(repeating: "x", count: 64), state: .connected, pop: "fra1")
    #expect(long.text(.terminal(40), marksInvisible: true).displayWidth <= 24)
  }

  @Test func progressNeverWraps() {
    var line = ProgressLine(String(repeating: "waiting ", count: 30))
    let drawn = line.draw(.terminal(40)).replacing(ProgressLine.erase, with: "")
    #expect(drawn.displayWidth < 40)
  }
}

@Suite struct HistoryTests {
  @Test func linesAreKeptPrivately() throws {
    let folder = FileManager.default.temporaryDirectory.appendingPathComponent("cb-\(UUID().uuidString)").path
    defer { try? FileManager.default.removeItem(atPath: folder) }
    var history = History(folder: folder)
    let lines = [
      "connect fra1", "connect fra1", " status", "get https://user:secret@a.test/", "get https://a.test/@x",
      String(repeating: "x", count: 5000),
    ]
    #expect(lines.map { history.add($0) } == [true, false, false, false, true, false])
    #expect(History(folder: folder).lines == ["connect fra1", "get https://a.test/@x"])
    let attributes = try FileManager.default.attributesOfItem(atPath: "\(folder)/history")
    #expect(attributes[.posixPermissions] as? Int == 0o600)
  }

  @Test func theFileIsBounded() throws {
    let folder = FileManager.default.temporaryDirectory.appendingPathComponent("cb-\(UUID().uuidString)").path
    defer { try? FileManager.default.removeItem(atPath: folder) }
    var history = History(folder: folder)
    for index in 0..<1500 { _ = history.add("ping host\(index)") }
    #expect(history.lines.count <= History.maximumLines + 100)
    #expect(History(folder: folder).lines.count <= History.maximumLines)
    #expect(History(folder: folder).lines.last == "ping host1499")
  }
}
