import QUIC

/// HTTP/0.9 as the interop runner has it (ALPN hq-interop): a client sends "GET /name" on a bidirectional stream and ends
/// it, a server answers with the file's bytes and ends the stream.
final class HTTP09: FileTransfer {
  private let role: Role
  private let files: Files
  private var sending = Answers()
  private var mayAsk = false

  init(role: Role, files: Files) {
    self.role = role
    self.files = files
  }

  func handle(_ event: QUIC.Event, on connection: inout QUIC.Connection) {
    switch event {
    case .earlyDataReady, .handshakeCompleted, .streamsAvailable: mayAsk = true
    case .earlyDataRejected:
      files.againAll()
      sending.removeAll()
      mayAsk = false
    case .closed: mayAsk = false
    case .streamReadable(let stream): read(stream, on: &connection)
    case .streamWritable(let stream): write(stream, on: &connection)
    default: break
    }
    guard role == .client, mayAsk else { return }
    while let name = files.next, let stream = connection.openStream(.bidirectional) {
      files.asked(on: stream)
      sending.add(Array("GET /\(name)\r\n".utf8), on: stream)
      write(stream, on: &connection)
    }
  }

  private func read(_ stream: StreamID, on connection: inout QUIC.Connection) {
    while true {
      let outcome = connection.read(stream) { [files] bytes, _ in
        files.receive(bytes, on: stream)
        return bytes.count
      }
      switch outcome {
      case .progressed: continue
      case .blocked: return
      case .ended: return ended(stream, on: &connection)
      }
    }
  }

  private func ended(_ stream: StreamID, on connection: inout QUIC.Connection) {
    guard role == .server else { return files.store(stream) }
    let request = String(decoding: files.take(stream), as: UTF8.self).split(whereSeparator: \.isWhitespace)
    guard request.count >= 2, request[0] == "GET", let file = files.contents(at: request[1]) else {
      return connection.reset(stream, code: 1)
    }
    sending.add(file, on: stream)
    write(stream, on: &connection)
  }

  private func write(_ stream: StreamID, on connection: inout QUIC.Connection) {
    sending.send(on: stream) { connection.write(stream, $0, finish: true) }
  }
}
