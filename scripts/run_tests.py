"""Run the tests on several engines at the same time, and print one engine's output after the other's.

Usage: `python scripts/run_tests.py ENGINE … [-- ARGUMENT …]`, the arguments for pytest. The first engine's
output is printed while its tests run. Side by side they leave no core idle while one waits: for a process to
start, a time-out, a server.
"""

import os
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

ROOT = Path(__file__).parents[1]
USUAL = ["-n", "3", "--durations", "10", "--durations-min", "3"]
OF_FURTHER_ENGINES = ["-n", "1"]


def start(engine: str, arguments: list[str], output: IO[bytes] | None) -> subprocess.Popen[bytes]:
    """Start the tests on an engine; without an `output`, they print where this program does."""
    return subprocess.Popen(
        [sys.executable, "-m", "pytest", *arguments],
        cwd=ROOT,
        env={**os.environ, "BURSARY_TEST_DB": engine},
        stdout=output,
        stderr=subprocess.STDOUT if output else None,
    )


def run(engines: list[str], arguments: list[str]) -> list[str]:
    """Run the tests on each engine and return those on which one failed."""
    first, *others = engines
    with ExitStack() as files:
        outputs = {engine: files.enter_context(TemporaryFile()) for engine in others}
        running = {
            engine: start(engine, [*USUAL, *OF_FURTHER_ENGINES, *arguments], outputs[engine])
            for engine in others
        }
        print(f"== Tests on {first}", flush=True)
        running = {first: start(first, [*USUAL, *arguments], None)} | running
        codes = {}
        for engine in engines:
            codes[engine] = running[engine].wait()
            if engine in outputs:
                outputs[engine].seek(0)
                print(f"== Tests on {engine}", flush=True)
                sys.stdout.buffer.write(outputs[engine].read())
                sys.stdout.flush()
    return [engine for engine, code in codes.items() if code]


def main(words: list[str]) -> int:
    """Run what is asked for; return the exit status, with a line that names the engines that failed."""
    at = words.index("--") if "--" in words else len(words)
    try:
        failed = run(words[:at], words[at + 1 :])
    except KeyboardInterrupt:  # the terminal interrupts all of them; each ends its own servers
        return 130
    if failed:
        print(f"Tests failed on: {' '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
