import QUIC
import Testing
import Wire

@testable import HTTP3

@Suite struct PriorityTests {
  static let values: [(String, PriorityParameters)] = [
    ("", PriorityParameters()),
    ("u=0", PriorityParameters(urgency: 0)),
    ("u=7, i", PriorityParameters(urgency: 7, incremental: true)),
    ("i", PriorityParameters(incremental: true)),
    ("i=?0", PriorityParameters(incremental: false)),
    ("i=?1;x=1 ,\tu=2;y", PriorityParameters(urgency: 2, incremental: true)),
    // The last of a key counts.
    ("u=1, u=5", PriorityParameters(urgency: 5)),
    // Out of range, of another type, or unknown.
    ("u=8", PriorityParameters()), ("u=-1", PriorityParameters()), ("u=3.5", PriorityParameters()),
    ("u=\"3\"", PriorityParameters()), ("i=1", PriorityParameters()),
    ("u=?1, i", PriorityParameters(incremental: true)),
    ("x=(a \"b\" 1.5;q=2), *k=:aGk=:, t=tok/en:*, u=4", PriorityParameters(urgency: 4)),
    // Not a dictionary: all of it counts for nothing.
    ("u=1,", PriorityParameters()), ("u=1 i", PriorityParameters()), ("U=1", PriorityParameters()),
    ("u=", PriorityParameters()), ("u=1, ,i", PriorityParameters()), ("i=?2", PriorityParameters()),
    ("u=1, x=\"open", PriorityParameters()), ("u=1, x=(a", PriorityParameters()), ("u=1, x=:?:", PriorityParameters()),
    ("u=1, x=1234567890123456", PriorityParameters()), ("u=1, x=1.2345", PriorityParameters()),
    ("u=1, x=é", PriorityParameters()), ("u=1;", PriorityParameters()),
  ]

  @Test(arguments: values)
  func fieldValues(text: String, expected: PriorityParameters) {
    #expect(PriorityParameters(fieldValue: text) == expected)
  }

  @Test func whatIsWrittenIsReadAgain() {
    for urgency in [nil, UInt8(0), 3, 7] {
      for incremental in [nil, false, true] {
        let parameters = PriorityParameters(urgency: urgency, incremental: incremental)
        #expect(PriorityParameters(fieldValue: parameters.fieldValue) == parameters)
      }
    }
  }

  static func priority(_ urgency: UInt8, _ isIncremental: Bool) -> StreamPriority {
    StreamPriority(urgency: urgency, isIncremental: isIncremental)
  }

  static func request(_ priority: String?) -> HeaderList {
    var list = getRequest
    if let priority { list.append("priority", priority) }
    return list
  }

  @Test func theRequestSpeaksFirstThenTheUpdateThenTheResponse() throws {
    var end = End(.server)
    end.start()
    end.receive(firstStream, .headers(Self.request("u=5, i")), finish: true)
    #expect(end.quic.priorities[firstStream] == Self.priority(5, true))
    let control = StreamID(.client, .unidirectional, sequence: 0)
    // An update stands in place of all that the request said.
    end.receive(control, [0] + settingsFrame + .frame(0xf0700, [0] + Array("u=1".utf8)))
    #expect(end.quic.priorities[firstStream] == Self.priority(1, false))
    try end.http.sendResponse([":status": "200", "priority": "i"], to: firstStream, finish: false, on: &end.quic)
    #expect(end.quic.priorities[firstStream] == Self.priority(1, true))
    end.receive(control, .frame(0xf0700, [0] + Array("u=6, i=?0".utf8)))
    #expect(end.quic.priorities[firstStream] == Self.priority(6, true))
  }

  @Test func anUpdateMayOvertakeItsRequest() {
    var end = End(.server)
    end.start()
    let control = StreamID(.client, .unidirectional, sequence: 0)
    end.receive(control, [0] + settingsFrame + .frame(0xf0700, [4] + Array("u=0".utf8)))
    end.receive(firstStream, .headers(Self.request(nil)), finish: true)
    end.receive(StreamID(rawValue: 4), .headers(Self.request("u=7")), finish: true)
    #expect(end.quic.priorities[firstStream] == Self.priority(3, false))
    #expect(end.quic.priorities[StreamID(rawValue: 4)] == Self.priority(0, false))
    #expect(end.http.priorityUpdates.isEmpty)
  }

  @Test func updatesForRequestsThatNeverComeAreBounded() {
    var end = End(.server)
    end.start()
    var bytes: [UInt8] = [0] + settingsFrame
    for index in 0..<1_000 {
      var payload: [UInt8] = []
      payload.appendVarint(UInt64(index) * 4)
      bytes += .frame(0xf0700, payload + Array("u=1".utf8))
    }
    end.receive(StreamID(.client, .unidirectional, sequence: 0), bytes)
    #expect(end.http.priorityUpdates.count == 100)
    #expect(end.quic.closed == nil)
  }

  @Test func tunnelsShareWhateverIsSaid() {
    var end = End(.server)
    end.start()
    end.receive(firstStream, .headers(connectUDP))
    #expect(end.quic.priorities[firstStream] == Self.priority(3, true))
    var list = connectTCP
    list.append("priority", "u=2, i=?0")
    end.receive(StreamID(rawValue: 4), .headers(list))
    #expect(end.quic.priorities[StreamID(rawValue: 4)] == Self.priority(2, true))
  }

  @Test func aClientSaysItAnew() throws {
    var pair = Pair.started()
    let id = try #require(
      try pair.client.http.sendRequest(Self.request("u=5"), finish: true, on: &pair.client.quic))
    #expect(pair.client.quic.priorities[id] == Self.priority(5, false))
    pair.carry()
    #expect(pair.server.quic.priorities[id] == Self.priority(5, false))
    pair.client.http.updatePriority(id, PriorityParameters(urgency: 0, incremental: true), on: &pair.client.quic)
    pair.carry()
    #expect(pair.server.quic.priorities[id] == Self.priority(0, true))
    #expect(pair.server.quic.closed == nil)
  }

  @Test func criticalStreamsComeFirst() {
    let pair = Pair.started()
    for sequence in UInt64(0)..<3 {
      let id = StreamID(.client, .unidirectional, sequence: sequence)
      #expect(pair.client.quic.priorities[id] == Self.priority(0, true))
    }
  }
}
