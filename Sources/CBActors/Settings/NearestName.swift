/// The candidate that `text` is most likely a misspelling of, or nil when none is near: at most one edit in
/// three characters (and always one, or two from four characters on). Case counts for nothing.
public func nearest(to text: String, in candidates: some Sequence<String>) -> String? {
  // What is longer than any name is no misspelling of one, and the distance costs its square.
  guard text.utf8.count <= 64 else { return nil }
  let allowed = text.count < 4 ? 1 : max(2, text.count / 3)
  var best: (name: String, distance: Int)?
  for candidate in candidates {
    let distance = editDistance(text.lowercased(), candidate.lowercased())
    if distance <= allowed, distance < candidate.count, distance < (best?.distance ?? .max) {
      best = (candidate, distance)
    }
  }
  return best?.name
}

/// The optimal-string-alignment distance: insertions, deletions, substitutions, and exchanges of neighbours.
func editDistance(_ a: String, _ b: String) -> Int {
  let a = Array(a)
  let b = Array(b)
  if a.isEmpty || b.isEmpty { return max(a.count, b.count) }
  var beforeLast: [Int] = []
  var last = Array(0...b.count)
  for i in 1...a.count {
    var row = [i]
    row.reserveCapacity(b.count + 1)
    for j in 1...b.count {
      var cost = min(last[j] + 1, row[j - 1] + 1, last[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1))
      if i > 1, j > 1, a[i - 1] == b[j - 2], a[i - 2] == b[j - 1] { cost = min(cost, beforeLast[j - 2] + 1) }
      row.append(cost)
    }
    beforeLast = last
    last = row
  }
  return last[b.count]
}

func didYouMean(_ name: String?) -> String { name.map { "; did you mean \($0)?" } ?? "" }
