extension Schema {
  /// A complete, commented YAML file: every key, with its default, or commented out with a sample value.
  ///
  /// - Parameter preface: lines for the head of the file, without `#`.
  public func example(preface: [String]) -> String {
    var lines = preface.map { $0.isEmpty ? "#" : "# \($0)" }
    render(into: &lines, indent: "", path: "")
    return lines.joined(separator: "\n") + "\n"
  }

  private func render(into lines: inout [String], indent: String, path: String) {
    for key in keys {
      if indent.isEmpty { lines.append("") }
      let keyPath = path.isEmpty ? key.name : "\(path).\(key.name)"
      for line in wrapped(key.summary, width: 100 - indent.count) { lines.append("\(indent)# \(line)") }
      switch key.content {
      case .value(let kind, let text?, _):
        lines.append("\(indent)\(key.name): \(scalar(text, kind))\(variable(key))")
      case .value(let kind, nil, let example):
        let mark = key.isRequired || key.isExampleShown ? "" : "# "
        lines.append("\(indent)\(mark)\(key.name): \(scalar(example ?? "", kind))\(variable(key))")
      case .list(let kind, let texts, let example):
        if !texts.isEmpty {
          lines.append("\(indent)\(key.name): [\(texts.map { scalar($0, kind) }.joined(separator: ", "))]")
        } else if key.isRequired {
          lines.append("\(indent)\(key.name): [\(example.map { scalar($0, kind) }.joined(separator: ", "))]")
        } else {
          lines.append("\(indent)\(key.name): []")
          if !example.isEmpty {
            let sample = example.map { scalar($0, kind) }.joined(separator: ", ")
            lines.append("\(indent)# \(key.name): [\(sample)]")
          }
        }
      case .section(let inner):
        lines.append("\(indent)\(key.name):")
        inner.render(into: &lines, indent: indent + "  ", path: keyPath)
      case .sections(let inner, let examples):
        let isEmpty = examples.isEmpty || key.isExampleCommentedOut
        lines.append("\(indent)\(key.name):\(isEmpty ? " []" : "")")
        var items: [String] = []
        for (index, example) in examples.enumerated() {
          inner.renderItem(example, into: &items, indent: indent, explained: index == 0)
        }
        lines += key.isExampleCommentedOut ? items.map { "\(indent)# \($0.dropFirst(indent.count))" } : items
      }
    }
  }

  private func renderItem(_ example: [String: String], into lines: inout [String], indent: String, explained: Bool) {
    var lead = "- "
    for key in keys {
      for line in wrapped(key.summary, width: 96 - indent.count) where explained {
        lines.append("\(indent)    # \(line)")
      }
      var text: String?
      switch key.content {
      case .value(let kind, let value, _): text = (example[key.name] ?? value).map { scalar($0, kind) }
      case .list(let kind, let values, _):
        let items = example[key.name].map { $0.split(separator: ",").map(String.init) } ?? values
        text = "[\(items.map { scalar($0, kind) }.joined(separator: ", "))]"
      case .section, .sections: break
      }
      if let text {
        lines.append("\(indent)  \(lead)\(key.name): \(text)")
        lead = "  "
      } else if explained, case .value(let kind, _, let sample?) = key.content {
        lines.append("\(indent)    # \(key.name): \(scalar(sample, kind))")
      }
    }
  }

  private func variable(_ key: Key) -> String { key.environmentAlias.map { "  # also \($0)" } ?? "" }

  private func scalar(_ text: String, _ kind: ValueKind) -> String {
    switch kind {
    case .boolean, .integer, .duration, .choice, .identifier: text
    default:
      text.contains { !$0.isNumber } && text.allSatisfy { $0.isLetter || $0.isNumber || "._-/".contains($0) }
        ? text : "\"\(text)\""
    }
  }

  private func wrapped(_ text: String, width: Int) -> [String] {
    var lines: [String] = []
    var line = ""
    for word in text.split(separator: " ") {
      if !line.isEmpty, line.count + 1 + word.count > width {
        lines.append(line)
        line = ""
      }
      line += line.isEmpty ? String(word) : " \(word)"
    }
    return line.isEmpty ? lines : lines + [line]
  }
}
