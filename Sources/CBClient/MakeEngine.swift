/// The engine that serves a profile. The terminal's one way to get one.
///
/// - Throws: ``ClientError/Kind/configuration`` when the profile asks for what cannot be had.
public func makeEngine(profile: Profile) throws(ClientError) -> any ClientEngine {
  throw ClientError(
    .failure, "this build of the client has no engine",
    hint: "profile '\(profile.name)' was read; only the profile commands work")
}
