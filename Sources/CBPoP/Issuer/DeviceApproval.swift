import Crypto
import FoundationEssentials
import Identity
import Wire

/// The user's half of the device flow (RFC 8628 §3.3): the page, and the word given on it.
extension DevIssuerDesk {
  private static let cookieName = "cloudbridge_device"

  func devicePage(_ request: DeskRequest) -> DeskAnswer {
    let typed = FormEncoding.decode(request.query.utf8)?["user_code"] ?? ""
    let shown = UserCode(typed: typed).map { "\($0)" } ?? ""
    return form(shown)
  }

  /// `POST /device` with `user_code`, `user` and `action` (`approve` or `deny`).
  ///
  /// A browser must send back what the form gave it. A script has no page to be tricked by, sends
  /// neither cookie nor origin, and needs none of it.
  func decide(_ request: DeskRequest) -> DeskAnswer {
    guard let fields = FormEncoding.decode(request.body) else {
      return refusal(400, "The form could not be read.")
    }
    guard isGenuine(request, csrf: fields["csrf"]) else {
      return refusal(403, "This form was not sent from this page, or is out of date. Load the page again.")
    }
    let code = fields["user_code"] ?? ""
    let user: String?
    switch fields["action"] {
    case "approve":
      guard let name = fields["user"].flatMap(DevIssuerDesk.userName) else {
        return form(code, notice: "Enter a user name: letters, digits, dot, dash, underscore or @.", status: 400)
      }
      user = name
    case "deny": user = nil
    default: return refusal(400, "Choose approve or deny.")
    }
    switch codes.decide(code, approvedBy: user, at: now()) {
    case .done:
      return user == nil
        ? outcome("Denied", "The terminal has been refused. You can close this page.")
        : outcome("Approved", "The terminal is signed in. You can close this page and go back to it.")
    case .unknown:
      return form(
        String(code.prefix(16)), notice: "There is no such code, or it has been used or has lapsed.", status: 404)
    case .tooManyGuesses:
      return refusal(429, "Too many wrong codes. Wait a minute and try again.")
    }
  }

  static func userName(_ text: String) -> String? {
    let name = text.filter { $0 != " " }
    let allowed = name.utf8.allSatisfy { byte in
      switch byte {
      case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
        UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "."), UInt8(ascii: "-"), UInt8(ascii: "_"),
        UInt8(ascii: "@"):
        true
      default: false
      }
    }
    return allowed && (1...64).contains(name.utf8.count) ? name : nil
  }

  private func isGenuine(_ request: DeskRequest, csrf: String?) -> Bool {
    let origin = request.headers["origin"]
    if let origin, origin != "http://" + request.authority { return false }
    if let site = request.headers["sec-fetch-site"], site != "same-origin" { return false }
    let fromBrowser = origin != nil || request.headers["sec-fetch-site"] != nil || request.headers["cookie"] != nil
    guard fromBrowser else { return true }
    guard let csrf, let sent = Base64URL.decode(csrf.utf8), let cookie = cookie(request) else { return false }
    return HMAC<SHA256>.isValidAuthenticationCode(sent, authenticating: Data(cookie.utf8), using: formKey)
  }

  private func cookie(_ request: DeskRequest) -> String? {
    for pair in request.headers["cookie"]?.split(separator: ";") ?? [] {
      let halves = pair.split(separator: "=", maxSplits: 1)
      if halves.count == 2, halves[0].drop(while: { $0 == " " }) == DevIssuerDesk.cookieName {
        return String(halves[1])
      }
    }
    return nil
  }

  private func form(_ userCode: String, notice: String? = nil, status: Int = 200) -> DeskAnswer {
    let cookie = Base64URL.encode(entropy.bytes(16))
    let csrf = Base64URL.encode(HMAC<SHA256>.authenticationCode(for: Data(cookie.utf8), using: formKey))
    let nonce = Base64URL.encode(entropy.bytes(12))
    var answer = html(
      DevicePage.form(userCode: userCode, csrf: csrf, nonce: nonce, notice: notice), nonce: nonce, status: status)
    answer.headers.append(
      ("set-cookie", "\(DevIssuerDesk.cookieName)=\(cookie); Path=/device; HttpOnly; SameSite=Strict"))
    return answer
  }

  private func outcome(_ title: String, _ text: String, status: Int = 200) -> DeskAnswer {
    let nonce = Base64URL.encode(entropy.bytes(12))
    return html(DevicePage.outcome(title: title, text: text, nonce: nonce), nonce: nonce, status: status)
  }

  private func refusal(_ status: Int, _ text: String) -> DeskAnswer { outcome("Not done", text, status: status) }

  private func html(_ page: String, nonce: String, status: Int) -> DeskAnswer {
    DeskAnswer(
      status: status,
      headers: [
        ("content-type", "text/html; charset=utf-8"), ("cache-control", "no-store"),
        (
          "content-security-policy",
          "default-src 'none'; style-src 'nonce-\(nonce)'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
        ),
        ("x-content-type-options", "nosniff"), ("referrer-policy", "no-referrer"),
      ], body: [UInt8](page.utf8))
  }
}
