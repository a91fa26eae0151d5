import QUIC

/// A frame as an observer remembers it after the packet's memory is gone.
enum ObservedFrame {
  case padding(Int)
  case ack([ClosedRange<UInt64>], ecn: ECNCounts?)
  case stream(StreamID, offset: UInt64, data: [UInt8], isFin: Bool)
  case crypto(offset: UInt64, count: Int)
  case maxData(UInt64)
  case maxStreamData(StreamID, UInt64)
  case maxStreams(StreamDirection, UInt64)
  case resetStream(StreamID, finalSize: UInt64)
  case datagram(Int)
  case pathChallenge(UInt64)
  case pathResponse(UInt64)
  case newConnectionID(sequence: UInt64)
  case close(code: UInt64)
  case other(String)

  init(_ frame: Frame) {
    switch frame {
    case .padding(let count): self = .padding(count)
    case .ack(let ack): self = .ack(Array(ack), ecn: ack.ecn)
    case .stream(let frame):
      self = .stream(frame.id, offset: frame.offset, data: [UInt8](frame.data), isFin: frame.isFin)
    case .crypto(let offset, let data): self = .crypto(offset: offset, count: data.count)
    case .maxData(let limit): self = .maxData(limit)
    case .maxStreamData(let id, let limit): self = .maxStreamData(id, limit)
    case .maxStreams(let direction, let limit): self = .maxStreams(direction, limit)
    case .resetStream(let id, _, let finalSize): self = .resetStream(id, finalSize: finalSize)
    case .datagram(let data): self = .datagram(data.count)
    case .pathChallenge(let data): self = .pathChallenge(data)
    case .pathResponse(let data): self = .pathResponse(data)
    case .newConnectionID(let frame): self = .newConnectionID(sequence: frame.sequence)
    case .connectionClose(let frame): self = .close(code: frame.code)
    default: self = .other("\(frame)")
    }
  }
}

extension ObservedFrame: CustomStringConvertible {
  var description: String {
    switch self {
    case .padding(let count): "PADDING*\(count)"
    case .ack(let ranges, let ecn):
      "ACK " + ranges.map { "\($0.upperBound)-\($0.lowerBound)" }.joined(separator: ",")
        + (ecn.map { " ecn \($0.ect0)/\($0.ect1)/\($0.ce)" } ?? "")
    case .stream(let id, let offset, let data, let isFin):
      "STREAM \(id) \(offset)+\(data.count)" + (isFin ? " FIN" : "")
    case .crypto(let offset, let count): "CRYPTO \(offset)+\(count)"
    case .maxData(let limit): "MAX_DATA \(limit)"
    case .maxStreamData(let id, let limit): "MAX_STREAM_DATA \(id) \(limit)"
    case .maxStreams(let direction, let limit): "MAX_STREAMS \(direction) \(limit)"
    case .resetStream(let id, let size): "RESET_STREAM \(id) \(size)"
    case .datagram(let count): "DATAGRAM \(count)"
    case .pathChallenge(let data): "PATH_CHALLENGE \(String(data, radix: 16))"
    case .pathResponse(let data): "PATH_RESPONSE \(String(data, radix: 16))"
    case .newConnectionID(let sequence): "NEW_CONNECTION_ID \(sequence)"
    case .close(let code): "CONNECTION_CLOSE \(code)"
    case .other(let text): text
    }
  }
}
