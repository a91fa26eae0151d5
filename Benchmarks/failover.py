"""Milliseconds without an answer when the PoP of an anycast address dies: Benchmarks/failover.py [--runs N] [--pop NAME]...

Each scenario of anycast.py in a laboratory of its own, as often as asked for; prints the median, the worst and how many
probes of one each 2 ms were lost in the median run, as a table of Markdown.
"""

import argparse
import statistics
import sys
import tempfile
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parent.parent / "Tests")]
import anycast

POPS = {"bird": anycast.BirdPoP, "cbpop": anycast.CloudBridgePoP}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--pop", action="append", choices=POPS, help="what is at the PoP; all where none is named")
    parser.add_argument("scenarios", nargs="*", default=list(anycast.SCENARIOS))
    options = parser.parse_args()
    if why := anycast.missing():
        sys.exit(f"no failover laboratory: {why}")
    print("| PoP | what befalls it | gap ms, median | worst | probes lost |\n|---|---|---|---|---|")
    for name in options.scenarios:
        for pop in options.pop or POPS:
            results = []
            for _ in range(options.runs):
                with tempfile.TemporaryDirectory() as directory:
                    results.append(anycast.play(name, directory, POPS[pop]))
            results.sort(key=lambda result: result["gap"])
            middle = results[len(results) // 2]
            gap = f"{statistics.median(result['gap'] for result in results):.1f}"
            if not all(result["recovered"] for result in results):
                gap = f"never answered again in {gap}"
            print(f"| {pop} | {name} | {gap} | {results[-1]['gap']:.1f} | {middle['lost']} |", flush=True)


if __name__ == "__main__":
    main()
