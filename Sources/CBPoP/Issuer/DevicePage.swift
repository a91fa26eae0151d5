/// The page where a user approves a device. It loads nothing, runs no script, and can be used by
/// keyboard and screen reader alone.
enum DevicePage {
  /// The form. `notice` is an error to be read out first.
  static func form(userCode: String, csrf: String, nonce: String, notice: String? = nil) -> String {
    let alert = notice.map { "<p class=\"notice\" role=\"alert\">\(escaped($0))</p>" } ?? ""
    return page(
      title: "Sign in to CloudBridge", nonce: nonce,
      body: """
        <h1>Sign in to CloudBridge</h1>
        \(alert)
        <p>A terminal asks to sign in. Approve only if the code below is the one it shows.</p>
        <form method="post" action="/device" autocomplete="off">
          <input type="hidden" name="csrf" value="\(escaped(csrf))">
          <label for="user_code">Code</label>
          <input id="user_code" name="user_code" class="code" value="\(escaped(userCode))" required maxlength="16"
            autocapitalize="characters" spellcheck="false" aria-describedby="code-hint"\(userCode.isEmpty ? " autofocus" : "")>
          <p id="code-hint" class="hint">Eight letters, such as BCDF-GHJK. Case and dash do not matter.</p>
          <label for="user">User name</label>
          <input id="user" name="user" maxlength="64" required spellcheck="false"
            aria-describedby="user-hint"\(userCode.isEmpty ? "" : " autofocus")>
          <p id="user-hint" class="hint">Any name: this issuer is for development and asks for no password.</p>
          <div class="buttons">
            <button type="submit" name="action" value="approve" class="approve">Approve</button>
            <button type="submit" name="action" value="deny" formnovalidate>Deny</button>
          </div>
        </form>
        """)
  }

  /// What came of it.
  static func outcome(title: String, text: String, nonce: String) -> String {
    page(title: title, nonce: nonce, body: "<h1>\(escaped(title))</h1>\n<p role=\"status\">\(escaped(text))</p>")
  }

  private static func page(title: String, nonce: String, body: String) -> String {
    """
    <!DOCTYPE html>
    <html lang="en">
    <head>
    <meta charset="utf-8">
    <meta name="viewport" content="width=device-width, initial-scale=1">
    <meta name="robots" content="noindex">
    <title>\(escaped(title))</title>
    <style nonce="\(nonce)">\(style)</style>
    </head>
    <body>
    <main>
    \(body)
    </main>
    </body>
    </html>
    """
  }

  static func escaped(_ text: String) -> String {
    var result = ""
    for character in text.unicodeScalars {
      switch character {
      case "&": result += "&amp;"
      case "<": result += "&lt;"
      case ">": result += "&gt;"
      case "\"": result += "&quot;"
      case "'": result += "&#39;"
      default: result.unicodeScalars.append(character)
      }
    }
    return result
  }

  private static let style = """
    :root { color-scheme: light dark; --ink: #14202b; --paper: #f5f7f9; --card: #fff; --line: #76838f;
      --accent: #0b5cad; --on-accent: #fff; --quiet: #47535e; --alarm: #a3180f }
    @media (prefers-color-scheme: dark) { :root { --ink: #e8edf1; --paper: #0f161c; --card: #182129; --line: #7f8c98;
      --accent: #7db8f5; --on-accent: #0f161c; --quiet: #aab5bf; --alarm: #ff9b90 } }
    * { box-sizing: border-box }
    body { margin: 0; min-height: 100vh; display: grid; place-items: center; padding: 1rem; background: var(--paper);
      color: var(--ink); font: 1rem/1.5 system-ui, sans-serif }
    main { width: 100%; max-width: 27rem; padding: 2rem; background: var(--card); border: 1px solid var(--line);
      border-radius: .75rem }
    h1 { margin: 0 0 1rem; font-size: 1.4rem; line-height: 1.25 }
    label { display: block; margin-top: 1.25rem; font-weight: 600 }
    input { width: 100%; margin-top: .25rem; padding: .6rem .75rem; font: inherit; color: inherit;
      background: var(--paper); border: 1px solid var(--line); border-radius: .4rem }
    .code { font: 600 1.5rem/1.3 ui-monospace, monospace; letter-spacing: .12em; text-transform: uppercase }
    .hint { margin: .25rem 0 0; font-size: .875rem; color: var(--quiet) }
    .notice { padding: .6rem .75rem; border-left: .3rem solid var(--alarm); color: var(--alarm); font-weight: 600 }
    .buttons { display: flex; flex-wrap: wrap; gap: .75rem; margin-top: 1.75rem }
    button { flex: 1 1 8rem; padding: .7rem 1rem; font: inherit; font-weight: 600; border-radius: .4rem;
      border: 1px solid var(--line); background: transparent; color: inherit; cursor: pointer }
    .approve { border-color: var(--accent); background: var(--accent); color: var(--on-accent) }
    :focus-visible { outline: .2rem solid var(--accent); outline-offset: .15rem }
    """
}
