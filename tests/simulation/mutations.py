"""Breaks the engine on purpose, once for each promise, and shows that the tests notice.

    python3 tests/simulation/mutations.py [NAME]...

A mutant is an expression `mutant!("name")` in the sources: `false`, unless it is compiled with `--cfg stream_sqsd_mutants`,
and then true for the one name in STREAM_SQSD_MUTANT. So one build has them all, and they move with the code. Each is run
through the stages below until something fails, which is how it is caught; so is one that does not end. One that survives
fails this script, and so do tests that fail on the engine as it is.

    STREAM_SQSD_MUTANT=never-judge STREAM_SQSD_SEEDS=300 target/mutations/debug/deps/simulation-… every_promise
"""

import json
import os
import re
import resource
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
TARGET = ROOT / "target" / "mutations"
# Of one stage, in seconds of processor time, since others may use the machine: on the engine as it is none takes a third.
LIMIT = 60
# The same by the clock, for what waits without using any.
CLOCK_LIMIT = 600
# Optimised, since each test is run once for every mutant.
BUILD = {"RUSTFLAGS": "--cfg stream_sqsd_mutants", "CARGO_PROFILE_DEV_OPT_LEVEL": "1", "CARGO_PROFILE_DEV_DEBUG": "none"}


@dataclass(frozen=True)
class Stage:
    """Some of the tests of one binary."""

    binary: str
    filters: tuple = ()
    skipped: tuple = ()
    seeds: int = 0

    @property
    def arguments(self):
        return [*self.filters, *(word for name in self.skipped for word in ("--skip", name))]


# What takes little time comes first.
STAGES = [
    Stage("stream_sqsd", ("consumer::", "handler::")),
    Stage("simulation", skipped=("every_", "the_same_", "degraded::")),
    Stage("simulation", ("every_promise",), seeds=300),
    Stage("simulation", ("every_fan_out_world",), seeds=200),
    Stage("simulation", ("every_dead_world",), seeds=300),
    Stage("simulation", ("every_degraded_world",), seeds=40),
    Stage("simulation", ("degraded::",), skipped=("every_", "the_same_")),
]


def mutants():
    """The names in the sources, in order."""
    names = []
    for file in sorted((ROOT / "src").rglob("*.rs")):
        names += re.findall(r'mutant!\(\s*"([^"]*)"\s*\)', file.read_text())
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice or not names:
        sys.exit(f"one name for two mutants: {', '.join(twice)}" if twice else "there are no mutants in the sources")
    return names


def build():
    """The test binaries by their names."""
    command = ["cargo", "test", "--no-default-features", "--lib", "--test", "simulation", "--no-run"]
    environment = {**os.environ, **BUILD, "CARGO_TARGET_DIR": str(TARGET)}
    built = subprocess.run(
        [*command, "--message-format=json-render-diagnostics"],
        cwd=ROOT, env=environment, text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
    )
    if built.returncode != 0:
        sys.exit("the engine with its mutants does not build")
    messages = [json.loads(line) for line in built.stdout.splitlines()]
    return {message["target"]["name"]: message["executable"] for message in messages if message.get("executable")}


def fails(binary, stage, mutant):
    """How the tests of a stage fail, or None when they pass. Those behind the first that fails are not waited for."""
    environment = {**os.environ, "STREAM_SQSD_MUTANT": mutant, "STREAM_SQSD_SEEDS": str(stage.seeds)}
    child = subprocess.Popen(
        [binary, *stage.arguments], cwd=ROOT, env=environment, text=True, errors="replace", start_new_session=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )

    resource.prlimit(child.pid, resource.RLIMIT_CPU, (LIMIT, LIMIT))

    def end():
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGKILL)

    timer = threading.Timer(CLOCK_LIMIT, end)
    timer.start()
    test = "?"
    try:
        for line in child.stdout:
            at = re.match(r"test (\S+) \.\.\. (FAILED)?", line)
            test = at.group(1) if at else test
            if at and at.group(2):
                return test
        if child.wait() == 0:
            return None
        ended_by_us = child.returncode in (-signal.SIGKILL, -signal.SIGXCPU)
        return f"{test} does not end" if ended_by_us else f"exit code {child.returncode} in {test}"
    finally:
        timer.cancel()
        end()
        child.stdout.close()
        child.wait()


def attempt(binaries, mutant):
    """How a mutant is caught, or None when it survives; and the seconds that took."""
    began = time.monotonic()
    how = None
    for stage in STAGES:
        how = how or fails(binaries[stage.binary], stage, mutant)
    return how, time.monotonic() - began


def side_by_side(work, items):
    """Works on each item, as many at a time as there are processors, each on one of its own."""
    processors = list(os.sched_getaffinity(0))

    def settle():
        os.sched_setaffinity(0, {processors.pop()})

    with ThreadPoolExecutor(len(processors), initializer=settle) as pool:
        return list(pool.map(work, items))


def main():
    names, chosen = mutants(), sys.argv[1:]
    unknown = sorted(set(chosen) - set(names))
    if unknown:
        sys.exit(f"no such mutant: {', '.join(unknown)}")
    chosen = chosen or names
    binaries = build()

    failing = threading.Event()

    def is_right(mutant):
        if failing.is_set():
            return False
        how, seconds = attempt(binaries, mutant)
        if mutant:
            print(f"{mutant}: {f'caught: {how}' if how else 'SURVIVES'} ({seconds:.0f} s)", flush=True)
            return how is not None
        print(f"the engine as it is: {f'FAILS: {how}' if how else 'passes'} ({seconds:.0f} s)", flush=True)
        if how:
            failing.set()
        return how is None

    # With the engine as it is: where that fails, everything is caught.
    right = side_by_side(is_right, ["", *chosen])
    if failing.is_set():
        sys.exit("the tests fail on the engine as it is, so they prove nothing of its mutants")
    print(f"{sum(right[1:])} of {len(chosen)} mutants are caught")
    sys.exit(not all(right))


main()
