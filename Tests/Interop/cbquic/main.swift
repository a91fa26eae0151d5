import Foundation

/// A QUIC client and server for tests against other implementations; no part of what is shipped.
do {
  let options = try Options(CommandLine.arguments.dropFirst())
  let loop = Loop(options)
  switch options.role {
  case .serve: try loop.serve()
  case .get: exit(try loop.get() ? 0 : 1)
  }
} catch {
  FileHandle.standardError.write(Data("cbquic: \(error)\n".utf8))
  exit(2)
}
