public import Wire

/// A device authorization response (RFC 8628 §3.2).
public struct DeviceAuthorization: Sendable {
  /// Sent back with each poll; whoever holds it receives the tokens.
  public let deviceCode: Secret
  /// What the user compares or types, safe to print.
  public let userCode: String
  /// Where the user goes, safe to print.
  public let verificationURI: EndpointURL
  /// The same with the code already in it, where the server offers one.
  public let verificationURIComplete: EndpointURL?
  /// How long both codes live.
  public let lifetime: Interval
  /// The least time between two polls.
  public let interval: Interval

  public init(
    deviceCode: Secret, userCode: String, verificationURI: EndpointURL, verificationURIComplete: EndpointURL? = nil,
    lifetime: Interval, interval: Interval
  ) {
    self.deviceCode = deviceCode
    self.userCode = userCode
    self.verificationURI = verificationURI
    self.verificationURIComplete = verificationURIComplete
    self.lifetime = lifetime
    self.interval = interval
  }

  /// Reads a successful answer of the device authorization endpoint.
  public init(answer: [UInt8]) throws(OAuthFailure) {
    guard let json = JSONValue(parsing: answer), json.object != nil else {
      throw .malformedAnswer("the device authorization is not a JSON object")
    }
    guard let deviceCode = json["device_code"]?.string, !deviceCode.isEmpty else {
      throw .malformedAnswer("no device_code")
    }
    guard let userCode = json["user_code"]?.string, !userCode.isEmpty, userCode.utf8.count <= 64,
      userCode == userCode.printable(limit: 64)
    else { throw .malformedAnswer("no user_code that can be shown") }
    guard let uri = json["verification_uri"]?.string ?? json["verification_url"]?.string else {
      throw .malformedAnswer("no verification_uri")
    }
    guard let lifetime = json["expires_in"]?.seconds(clampedTo: 1...3600) else {
      throw .malformedAnswer("no expires_in")
    }
    self.deviceCode = Secret(deviceCode)
    self.userCode = userCode
    verificationURI = try EndpointURL(uri)
    if let complete = json["verification_uri_complete"]?.string {
      verificationURIComplete = try? EndpointURL(complete)
    } else {
      verificationURIComplete = nil
    }
    self.lifetime = .seconds(Int64(lifetime))
    // RFC 8628 §3.2: five seconds where the server names no interval.
    interval = .seconds(Int64(json["interval"]?.seconds(clampedTo: 1...300) ?? 5))
  }
}
