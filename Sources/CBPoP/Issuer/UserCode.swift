import Wire

/// The short code a user reads on one screen and types on another (RFC 8628 §6.1): eight consonants,
/// so that it spells no word and no character is mistaken for another.
struct UserCode: Hashable, CustomStringConvertible {
  static let alphabet = [UInt8]("BCDFGHJKLMNPQRSTVWXZ".utf8)
  static let length = 8

  /// Eight characters of the alphabet, without the dash.
  let letters: String

  /// Draws a code; each of 20⁸ is as likely as any other.
  init(entropy: any EntropySource) {
    var letters: [UInt8] = []
    while letters.count < UserCode.length {
      // 240 is the greatest multiple of 20 in a byte; what lies above would favour the first letters.
      for byte in entropy.bytes(16) where byte < 240 && letters.count < UserCode.length {
        letters.append(UserCode.alphabet[Int(byte) % UserCode.alphabet.count])
      }
    }
    self.letters = String(decoding: letters, as: UTF8.self)
  }

  /// What a user typed: case, spaces and punctuation do not matter. Nil when it cannot be a code.
  init?(typed: String) {
    guard typed.utf8.count <= 64 else { return nil }
    let letters = typed.uppercased().utf8.filter { UserCode.alphabet.contains($0) }
    let foreign = typed.uppercased().contains { $0.isLetter && !UserCode.alphabet.contains($0.asciiValue ?? 0) }
    guard !foreign, letters.count == UserCode.length else { return nil }
    self.letters = String(decoding: letters, as: UTF8.self)
  }

  /// `XXXX-XXXX`
  var description: String { "\(letters.prefix(4))-\(letters.suffix(4))" }
}
