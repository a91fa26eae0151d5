import Testing
import Wire

@testable import BGP

/// RFC 4271 §9.1, step by step: two routes that differ in one thing alone, or in a later one the other way.
@Suite("The decision process")
struct DecisionTests {
  private struct Route {
    var summary = AttributeSummary()
    var peer = PeerState(autonomousSystem: 65_001, address: .v4(IPv4Address(10, 0, 1, 1)))
    var identifier: UInt32 = 0
    init(_ change: (inout Route) -> Void = { _ in }) {
      summary.asPathLength = 3
      summary.neighborAS = 65_001
      peer.identifier = 5
      change(&self)
    }
  }

  private func decide(_ routes: [Route]) -> (index: UInt32, step: DecisionStep)? {
    var decision = DecisionProcess()
    decision.begin()
    for (index, route) in routes.enumerated() {
      decision.add(.init(index: UInt32(index), route.summary, route.peer, pathIdentifier: route.identifier))
    }
    return decision.decide()
  }

  private func expect(_ step: DecisionStep, better: Route, worse: Route) {
    for (routes, best) in [([better, worse], 0), ([worse, better], 1), ([worse, better, worse], 1)] {
      let result = decide(routes)
      #expect(result?.step == step)
      #expect(result?.index == UInt32(best))
    }
  }

  @Test func theStepsInTheirOrder() {
    #expect(decide([]) == nil)
    #expect(decide([Route()])?.step == .onlyRoute)
    expect(.local, better: Route { $0.peer.isLocal = true }, worse: Route { $0.summary.localPreference = 500 })
    expect(
      .localPreference,
      better: Route {
        $0.summary.localPreference = 101; $0.summary.asPathLength = 9
      }, worse: Route())
    expect(
      .localPreference, better: Route { $0.summary.asPathLength = 9 },
      worse: Route { $0.summary.wellKnownCommunities = .gracefulShutdown })
    expect(
      .asPathLength,
      better: Route {
        $0.summary.asPathLength = 2; $0.summary.origin = .incomplete
      }, worse: Route())
    expect(.origin, better: Route { $0.summary.multiExitDisc = 9 }, worse: Route { $0.summary.origin = .egp })
    expect(.multiExitDisc, better: Route { $0.peer.isInternal = true }, worse: Route { $0.summary.multiExitDisc = 1 })
    expect(.external, better: Route { $0.peer.identifier = 9 }, worse: Route { $0.peer.isInternal = true })
    expect(
      .bgpIdentifier,
      better: Route {
        $0.peer.identifier = 4; $0.peer.address = .v4(IPv4Address(10, 0, 1, 9))
      },
      worse: Route())
    expect(
      .bgpIdentifier,
      better: Route {
        $0.summary.originatorID = 4; $0.peer.identifier = 9
      }, worse: Route())
    expect(.clusterListLength, better: Route { $0.identifier = 9 }, worse: Route { $0.summary.clusterListLength = 1 })
    expect(
      .peerAddress, better: Route { $0.identifier = 9 },
      worse: Route { $0.peer.address = .v4(IPv4Address(10, 0, 1, 2)) })
    expect(.peerAddress, better: Route(), worse: Route { $0.peer.address = .v6(.loopback) })
    expect(.pathIdentifier, better: Route { $0.identifier = 1 }, worse: Route { $0.identifier = 2 })
  }

  @Test func medIsComparedWithinOneNeighborAlone() {
    let high = Route { $0.summary.multiExitDisc = 10 }
    let low = Route {
      $0.summary.multiExitDisc = 1; $0.summary.neighborAS = 65_002; $0.peer.identifier = 9
    }
    let result = decide([high, low])
    #expect(result?.index == 0 && result?.step == .bgpIdentifier)
    // The third beats the first by its MED, which leaves the second and the third.
    let third = Route {
      $0.summary.multiExitDisc = 3; $0.peer.identifier = 7
    }
    for (routes, best) in [([high, low, third], 2), ([third, high, low], 0), ([low, third, high], 1)] {
      #expect(decide(routes)?.index == UInt32(best))
    }
  }

  @Test func equalsAreThoseThatOnlyTheLastStepsTellApart() {
    var decision = DecisionProcess()
    decision.begin()
    let routes = [Route { $0.peer.identifier = 9 }, Route(), Route { $0.summary.asPathLength = 4 }]
    for (index, route) in routes.enumerated() {
      decision.add(.init(index: UInt32(index), route.summary, route.peer, pathIdentifier: 0))
    }
    #expect(decision.decide()?.index == 1)
    #expect(Set(decision.equals) == [0, 1])
  }
}
