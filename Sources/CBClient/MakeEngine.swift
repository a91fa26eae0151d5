/// The engine that serves a profile. The terminal's one way to get one.
///
/// - Parameters:
///   - stateDirectory: where tokens are stored (``ProfileLibrary/stateDirectory``); nil is the user's own.
///   - logLevel: the least level that the engine's log keeps.
///   - keyLogFile: gets the TLS secrets of every connection; for debugging only.
/// - Throws: ``ClientError/Kind/configuration`` when the profile asks for what cannot be had.
public func makeEngine(
  profile: Profile, stateDirectory: String?, logLevel: LogLine.Level, keyLogFile: String? = nil
) throws(ClientError) -> any ClientEngine {
  try CloudBridgeClient(profile: profile, stateDirectory: stateDirectory, logLevel: logLevel, keyLogFile: keyLogFile)
}
