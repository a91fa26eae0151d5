/// The engine that serves a profile. The terminal's one way to get one.
///
/// - Throws: ``ClientError/Kind/configuration`` when the profile asks for what cannot be had.
public func makeEngine(profile: Profile) throws(ClientError) -> any ClientEngine {
  try CloudBridgeClient(profile: profile)
}
