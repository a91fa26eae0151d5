import HTTP3
import QUIC
import QUICTLS

/// HTTP/3 (RFC 9114): GET of each file, and 404 for what is not there.
final class HTTP3Transfer: FileTransfer {
  private let role: Role
  private let files: Files
  private let tls: TLSHandshake
  private let authority: String
  private var http: HTTP3.Connection
  private let remembersSettings: Bool
  private var sending = Answers()
  private var mayAsk = false

  init(role: Role, files: Files, tls: TLSHandshake, authority: String, greaseSeed: UInt64) {
    self.role = role
    self.files = files
    self.tls = tls
    self.authority = authority
    let remembered = (tls as? TLSClientSession)?.rememberedApplicationState.flatMap { HTTP3.Settings(encoded: $0) }
    remembersSettings = remembered != nil
    http = HTTP3.Connection(role: role, settings: .tunnel, remembered: remembered, greaseSeed: greaseSeed)
  }

  func handle(_ event: QUIC.Event, on connection: inout QUIC.Connection) {
    switch event {
    case .handshakeCompleted:
      http.start(on: &connection)
      mayAsk = true
    case .earlyDataReady:
      // A client's requests need settings to go by; a server's SETTINGS need not wait for the client's Finished.
      guard role == .server || remembersSettings else { break }
      http.start(on: &connection)
      mayAsk = true
    case .earlyDataRejected:
      sending.removeAll()
      mayAsk = false
    default: break
    }
    http.handle(event, on: &connection)
    while let event = http.nextEvent() { act(on: event, on: &connection) }
    if role == .client, mayAsk { ask(on: &connection) }
  }

  private func ask(on connection: inout QUIC.Connection) {
    while let name = files.next {
      let request: HeaderList = [":method": "GET", ":scheme": "https", ":authority": authority, ":path": "/\(name)"]
      guard let stream = try? http.sendRequest(request, finish: true, on: &connection) else { return }
      files.asked(on: stream)
    }
  }

  private func act(on event: HTTP3.Event, on connection: inout QUIC.Connection) {
    switch event {
    case .settingsReceived(let settings): (tls as? TLSClientSession)?.rememberApplicationState(settings.encoded)
    case .requestReceived(let stream, let fields, _): answer(fields, on: stream, &connection)
    case .responseReceived(let stream, let fields, let finished):
      // A file that is not there is never stored: the client then runs out of time.
      if !fields.isSuccessful {
        http.cancel(stream, code: .requestCancelled, on: &connection)
      } else if finished {
        files.store(stream)
      }
    case .dataReadable(let stream): read(stream, on: &connection)
    case .dataWritable(let stream): write(stream, on: &connection)
    case .streamReset(let stream, .requestRejected): files.again(stream)
    default: break
    }
  }

  private func answer(_ request: HeaderList, on stream: StreamID, _ connection: inout QUIC.Connection) {
    let file = request.method == "GET" ? request.path.flatMap { files.contents(at: $0) } : nil
    let response: HeaderList = [
      ":status": file == nil ? "404" : "200", "server": "cbquic", "content-length": "\(file?.count ?? 0)",
    ]
    guard (try? http.sendResponse(response, to: stream, finish: file?.isEmpty ?? true, on: &connection)) != nil,
      let file, !file.isEmpty
    else { return }
    sending.add(file, on: stream)
    write(stream, on: &connection)
  }

  private func read(_ stream: StreamID, on connection: inout QUIC.Connection) {
    while true {
      let outcome = http.readData(stream, on: &connection) { [files, role] bytes, _ in
        if role == .client { files.receive(bytes, on: stream) }
        return bytes.count
      }
      switch outcome {
      case .progressed: continue
      case .blocked: return
      case .ended:
        if role == .client { files.store(stream) }
        return
      }
    }
  }

  private func write(_ stream: StreamID, on connection: inout QUIC.Connection) {
    sending.send(on: stream) { http.sendData(stream, $0, finish: true, on: &connection) }
  }
}
