/// What the names of the moment are.
struct CompletionNames: Equatable, Sendable {
  var profiles: [String] = []
  var pops: [String] = []
  var tunnels: [String] = []
}

/// What could stand where the cursor is.
struct Completion: Equatable {
  var candidates: [String] = []
  /// The place takes a file name, which readline completes by itself.
  var isFile = false

  /// - Parameters:
  ///   - text: the line up to the cursor.
  ///   - names: what there is to name.
  init(_ text: String, names: CompletionNames) {
    let line = CommandLineText(text)
    var words = line.lastCommand.map(\.text)
    let partial = line.endsInWord ? words.removeLast() : ""
    guard !words.isEmpty else {
      candidates = Self.matching(CommandSpecification.firstWords, partial)
      return
    }
    let subcommands = CommandSpecification.subcommands(of: words[0])
    if words.count == 1, !subcommands.isEmpty {
      candidates = Self.matching(subcommands, partial)
      return
    }
    let name = subcommands.isEmpty ? words[0] : words.prefix(2).joined(separator: " ")
    guard let specification = CommandSpecification.named(name) else { return }
    complete(specification, after: words.dropFirst(specification.words.count), partial, names)
  }

  private mutating func complete(
    _ specification: CommandSpecification, after words: ArraySlice<String>, _ partial: String,
    _ names: CompletionNames
  ) {
    var positionals = specification.positionals[...]
    var awaited: CommandSpecification.Option?
    var used: Set<String> = []
    for word in words {
      if awaited != nil {
        awaited = nil
      } else if word.hasPrefix("-") {
        let option = specification.options.first { $0.flag == word }
        used.insert(word)
        awaited = option?.value == nil ? nil : option
      } else {
        _ = positionals.popFirst()
      }
    }
    if let awaited {
      offer(awaited.place, partial, names)
    } else if partial.hasPrefix("-") {
      candidates = Self.matching(specification.options.map(\.flag).filter { !used.contains($0) }, partial)
    } else if let positional = positionals.first {
      offer(positional.place, partial, names)
    } else if partial.isEmpty {
      candidates = specification.options.map(\.flag).filter { !used.contains($0) }
    }
  }

  private mutating func offer(_ place: CommandSpecification.Place, _ partial: String, _ names: CompletionNames) {
    switch place {
    case .pop: candidates = Self.matching(names.pops, partial)
    case .tunnel: candidates = Self.matching(names.tunnels, partial)
    case .profile: candidates = Self.matching(names.profiles, partial)
    case .command: candidates = Self.matching(CommandSpecification.firstWords, partial)
    case .oneOf(let words): candidates = Self.matching(words, partial)
    case .file: isFile = true
    case .free: break
    }
  }

  private static func matching(_ names: [String], _ partial: String) -> [String] {
    names.filter { $0.hasPrefix(partial) }.sorted()
  }
}
