import CBActors
import Foundation
import HTTP3
import Logging
import MASQUE
import Wire

/// What every connection of one ring shares.
struct PoPServices: Sendable {
  var name: String
  var issuers: TrustedIssuers
  var policy: TargetPolicy
  var limits: TunnelLimits
  var resolver: Resolver
  var udpIdleTimeout: Interval
  var tcpIdleTimeout: Interval
  var connectTimeout: Interval
  var signInTimeout: Interval
  /// Nil without `pages.directory`.
  var pages: PageDirectory?
  var counters: RequestCounters
  var logger: Logger
}
