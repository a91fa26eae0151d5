import Settings

@testable import CBPoP

extension PoPSettings {
  /// What a file with this text would make of them.
  init(
    text: String, path: String = "/etc/cloudbridge/cbpop.yaml", isDev: Bool = true
  ) throws(SettingsError) {
    let file = try SettingsFile(text: text, path: path, schema: Self.schema)
    let resolved = try ResolvedSettings(schema: Self.schema, file: file, environment: [:])
    try self.init(resolved, source: .file(file.path, line: nil), isDev: isDev)
  }
}
