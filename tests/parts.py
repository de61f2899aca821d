"""The one test command: all parts of the tests. Parts that need LocalStack get an instance of their own, which is stopped at the
end.

A part that cannot run fails. What is left out is left out by name, and the last line says so.
"""

import argparse
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "localstack"))
import queues  # noqa: E402
import server  # noqa: E402

FEATURES = ["--features", "localstack-tests"]
AS_JSON = "-- -Z unstable-options --output-format json"
PUBLIC = f"env RUSTDOC=tests/api/rustdoc cargo rustdoc --locked --lib --features anyhow {AS_JSON}".split()
WITHOUT_AWS = ["--no-default-features"]
OPTIMISED = ["CARGO_TARGET_DIR=target/worlds", "CARGO_PROFILE_DEV_OPT_LEVEL=1", "CARGO_PROFILE_DEV_DEBUG=none"]
DEPLOYED = ROOT / "tests" / "deploy" / "requirements.txt"
GATEWAY = ROOT / "tests" / "gateway" / "requirements.txt"
# Of what ships: the part `release` builds them, and the parts behind it run the first.
MUSL = ("x86_64-unknown-linux-musl", "aarch64-unknown-linux-musl")
SDKS = ROOT / "tests" / "wire" / "stream" / "sdks" / "requirements.txt"
SPELLING = ROOT / "tests" / "spelling" / "requirements.txt"
# What is made of others, and what is for tests.
NOT_ALONE = {"default", "daemon", "localstack-tests", "test-postgres"}
WORKFLOWS = ROOT / "tests" / "workflows" / "requirements.txt"
# How long a part that is told to stop may take for it.
STOPPED_WITHIN = 20.0


@dataclass(frozen=True)
class Part:
    name: str
    # What the machine must have, in words; `packages` are Debian's, installed where they are missing, which needs root.
    needs: str
    commands: list
    packages: tuple = ()
    # Needs no package, but more time than one wants to wait for between two changes.
    takes_long: bool = False
    # Runs against LocalStack, which is started only when a part of the run needs it.
    localstack: bool = False
    # What Python and the programs of PyPI that it runs come from, in an environment of their own.
    requirements: Path = None
    # Targets of Rust whose standard library is fetched by rustup. Where it cannot be, the part is not tried, and that is said.
    targets: tuple = ()

    @property
    def only_with_all(self):
        return bool(self.packages) or self.takes_long


def features():
    """The features that a user of the library may choose alone."""
    with open(ROOT / "Cargo.toml", "rb") as manifest:
        return [name for name in tomllib.load(manifest)["features"] if name not in NOT_ALONE]


def parts(filters):
    if shutil.which("cargo-nextest"):
        run = ["cargo", "nextest", "run", "--no-fail-fast", *FEATURES]
    else:
        run = ["cargo", "test", "--no-fail-fast", "--lib", "--bins", "--tests", "--examples", *FEATURES]
    return [
        Part("rust", "Rust", [[*run, *filters]], localstack=True),
        Part("doctests", "Rust", [["cargo", "test", "--doc", *FEATURES]]),
        Part(
            "features",
            "Rust",
            [["cargo", "clippy", "--locked", "--lib", *WITHOUT_AWS, "--features", name, "--", "-D", "warnings"] for name in features()],
            takes_long=True,
        ),
        Part(
            "api",
            "Rust",
            [
                PUBLIC,
                [sys.executable, "tests/api/public.py", "target/doc/stream_sqsd.json"],
            ],
            takes_long=True,
        ),
        Part("spelling", "typos from PyPI", [["typos"]], requirements=SPELLING),
        Part(
            "workflows",
            "zizmor from PyPI",
            [["zizmor", "--offline", "--strict-collection", "--min-severity", "medium", ".github/workflows"]],
            requirements=WORKFLOWS,
        ),
        Part(
            "sdks",
            "Stream's SDKs from PyPI and npm",
            [["cargo", "test", *FEATURES, "--test", "wire", "--", "--ignored", "sdks"]],
            takes_long=True,
            requirements=SDKS,
        ),
        Part(
            "worlds",
            "Rust",
            # Optimised, in a target directory of its own: ten times as many worlds in the same time.
            [
                ["env", f"STREAM_SQSD_SEEDS={seeds}", *OPTIMISED, "cargo", "test", *WITHOUT_AWS, "--test", "simulation", test]
                for seeds, test in [(10_000, "every_promise"), (10_000, "every_degraded_world"), (10_000, "every_fan_out_world")]
            ],
            takes_long=True,
        ),
        Part("mutations", "Rust", [[sys.executable, "tests/simulation/mutations.py"]], takes_long=True),
        Part(
            "disk",
            "strace, and root or name spaces for everybody",
            [["cargo", "test", *FEATURES, "--test", "handlers", "--", "--ignored", "file::disk", "exec::namespace"]],
            packages=("strace",),
        ),
        Part(
            "postgres",
            "PostgreSQL, and root or its user postgres",
            [
                ["cargo", "test", "--features", "localstack-tests,test-postgres", "--test", "handlers", "postgres"],
                ["cargo", "test", "--features", "localstack-tests,test-postgres", "--test", "cli", "postgres::"],
            ],
            packages=("postgresql",),
        ),
        Part(
            "gateway",
            "nginx, and Authlib from PyPI",
            [["cargo", "test", *FEATURES, "--test", "handlers", "--", "--ignored", "servers::real"]],
            packages=("nginx-light",),
            requirements=GATEWAY,
        ),
        Part(
            "languages",
            "Python, Node.js and Ruby",
            [["cargo", "test", *FEATURES, "--test", "handlers", "--", "--ignored", "persistent::example"]],
            packages=("python3", "nodejs", "ruby"),
        ),
        Part(
            "page",
            "Chromium",
            [["cargo", "test", *FEATURES, "--test", "wire", "--", "--ignored", "browser"]],
            packages=("chromium",),
        ),
        Part(
            "metrics",
            "promtool",
            [
                ["cargo", "test", *FEATURES, "--test", "wire", "--", "--ignored", "promtool"],
                ["promtool", "check", "rules", "--lint=all", "--lint-fatal", "deploy/prometheus/alerts.yml"],
                ["promtool", "test", "rules", "tests/deploy/alerts.yml"],
            ],
            packages=("prometheus",),
        ),
        # What ships, but built with the profile that builds faster. The parts behind this one take its binary.
        Part(
            "release",
            "Rust by rustup, and qemu-user",
            [[sys.executable, "-B", "tests/deploy/release.py"]],
            packages=("qemu-user-static", "dpkg-dev"),
            targets=MUSL,
        ),
        Part(
            "instructions",
            "valgrind",
            # Features of other rooms would bring other libraries along: the figures are of these alone.
            [["cargo", "bench", "--no-default-features", "--bench", "decode", "--", "instructions"]],
            packages=("valgrind",),
        ),
        Part(
            "systemd",
            "root, and the part `release` before it",
            [[sys.executable, "-B", "tests/deploy/systemd.py"]],
            packages=("debootstrap", "systemd-container", "dpkg-dev"),
            localstack=True,
            targets=MUSL,
        ),
        Part(
            "template",
            "Rust, and cfn-lint and python-hcl2 from PyPI",
            [
                ["cfn-lint", "--include-checks", "I", "--", "deploy/ecs/template.yaml", "deploy/ecs/relay.yaml"],
                ["python", "-B", "tests/deploy/template.py"],
                ["python", "-B", "tests/deploy/terraform.py"],
            ],
            requirements=DEPLOYED,
            takes_long=True,
            localstack=True,
            targets=MUSL,
        ),
        Part(
            "container",
            "root, buildah, podman and runc, and hadolint from PyPI",
            [
                ["hadolint", "deploy/container/Dockerfile"],
                ["python", "-B", "tests/deploy/container.py"],
            ],
            packages=("buildah", "podman", "runc", "openssl", "ca-certificates"),
            requirements=DEPLOYED,
            localstack=True,
            targets=MUSL,
        ),
    ]


class Failed(Exception):
    """Why a part failed, in one line."""


def run(command, environment):
    """Runs a command to its end. What interrupts us stops it first, with all that it started."""
    print(f"+ {' '.join(command)}", file=sys.stderr, flush=True)
    try:
        child = subprocess.Popen(command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, start_new_session=True)
    except OSError as error:
        raise Failed(f"{command[0]}: {error.strerror}") from error
    try:
        code = child.wait()
    except BaseException:
        for number, patience in [(signal.SIGTERM, STOPPED_WITHIN), (signal.SIGKILL, None)]:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(patience)
                break
        raise
    if code != 0:
        raise Failed(f"exit code {code}" if code > 0 else f"ended by signal {-code}")


def install(packages, environment):
    """Debian packages, where they are missing."""
    if not packages:
        return
    if not shutil.which("dpkg-query"):
        raise Failed(f"needs the Debian packages {' '.join(packages)}, and this is not Debian")
    ask = ["dpkg-query", "--show", "--showformat=${db:Status-Status}\n", *packages]
    states = subprocess.run(ask, capture_output=True, text=True, stdin=subprocess.DEVNULL).stdout.split()
    if states == ["installed"] * len(packages):
        return
    if os.geteuid() != 0:
        raise Failed(f"needs root to install {' '.join(packages)}")
    quiet = {**environment, "DEBIAN_FRONTEND": "noninteractive"}
    run(["apt-get", "update", "--quiet=2"], quiet)
    run(["apt-get", "install", "--quiet=2", "--yes", "--no-install-recommends", *packages], quiet)


def with_requirements(part, environment):
    """The environment variables in which the programs are found that a part has from PyPI."""
    if part.requirements is None:
        return environment
    try:
        python = server.environment(f"what {part.name} needs", part.requirements, part.requirements.parent.name)
    except server.Trouble as trouble:
        raise Failed(str(trouble)) from trouble
    return {**environment, "PATH": os.pathsep.join([str(Path(python).parent), environment["PATH"]])}


def missing_target(part):
    """The first target of a part that is not here and cannot be fetched."""
    for target in part.targets:
        library = subprocess.run(["rustc", "--print", "target-libdir", "--target", target], stdout=subprocess.PIPE, text=True)
        if Path(library.stdout.strip()).is_dir():
            continue
        if subprocess.run(["timeout", "300", "rustup", "target", "add", target], stdin=subprocess.DEVNULL).returncode != 0:
            return target
    return None


def run_parts(chosen, environment):
    passed, failed = [], []
    for part in chosen:
        start = time.monotonic()
        if target := missing_target(part):
            # Neither passed nor failed: what could not be looked at must not read like one of these.
            print(f"!!! {part.name}: NOT TRIED: the target {target} is not here and cannot be fetched", file=sys.stderr, flush=True)
            continue
        try:
            install(part.packages, environment)
            within = with_requirements(part, environment)
            for command in part.commands:
                run(command, within)
            passed.append(part.name)
            outcome = "passed"
        except Failed as reason:
            failed.append(part.name)
            outcome = f"FAILED ({reason}; needs {part.needs})"
        print(f"{part.name}: {outcome} after {time.monotonic() - start:.0f} s", file=sys.stderr, flush=True)
    return passed, failed


def with_localstack(chosen):
    """Runs the parts beside a LocalStack on a free port, which is stopped at the end."""
    instance = server.Instance("test")
    with server.locked(server.RUN / "testing.lock", "another tests/run of this clone uses LocalStack; waiting"):
        try:
            # What a run left behind that was killed outright.
            instance.down()
            return run_parts(chosen, {**os.environ, "STREAM_SQSD_TEST_ENDPOINT": instance.up()})
        finally:
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, signal.SIG_IGN)
            instance.down()


def read_arguments(arguments):
    # What stands after `--` goes to the test runner as it is.
    cut = arguments.index("--") if "--" in arguments else len(arguments)
    filters = arguments[cut + 1 :]
    names = [part.name for part in parts([])]
    parser = argparse.ArgumentParser(
        prog="tests/run",
        usage="%(prog)s [--all] [--without NAME]... [PART]... [-- FILTER...]",
        description="Runs the tests. Starts a LocalStack on a free port for the parts that need one, and stops it at the end.",
        epilog="With a FILTER only the part `rust` runs, with those arguments for cargo nextest, or cargo test. "
        f"Parts: {', '.join(names)}.",
    )
    parser.add_argument("parts", metavar="PART", nargs="*", help="run only these, also where they need --all")
    parser.add_argument("--all", action="store_true", help="also the parts that need root and Debian packages, and those that take long")
    parser.add_argument("--without", metavar="NAME", action="append", default=[], choices=names, help="leave one out")
    chosen = parser.parse_args(arguments[:cut])
    for name in chosen.parts:
        if name not in names:
            parser.error(f"unknown part {name!r}; must be one of: {', '.join(names)}")
    if filters and (chosen.all or chosen.without or chosen.parts):
        parser.error("a FILTER chooses already: without --all, --without and PART")
    if chosen.parts and (chosen.all or chosen.without):
        parser.error("a PART chooses already: without --all and --without")
    return chosen, filters


def choose(chosen, filters):
    """The parts to run, and why the others are left out."""
    run_these, left_out = [], []
    for part in parts(filters):
        if part.name in chosen.without:
            left_out.append(part.name)
        elif chosen.parts and part.name not in chosen.parts:
            left_out.append(part.name)
        elif filters and part.name != "rust":
            left_out.append(f"{part.name} (a filter was given)")
        elif part.only_with_all and not chosen.all and not chosen.parts:
            left_out.append(f"{part.name} (needs --all)")
        else:
            run_these.append(part)
    return run_these, left_out


def main():
    run_these, left_out = choose(*read_arguments(sys.argv[1:]))
    start = time.monotonic()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, server.end_like_ctrl_c)
    try:
        if any(part.localstack for part in run_these):
            passed, failed = with_localstack(run_these)
        else:
            passed, failed = run_parts(run_these, dict(os.environ))
    except (server.Trouble, queues.CallFailed) as error:
        server.say(str(error))
        passed, failed = [], ["LocalStack"]
    except KeyboardInterrupt:
        print("tests/run: interrupted; what it started is stopped", file=sys.stderr)
        return 130
    words = [f"passed: {', '.join(passed) or 'nothing'}", f"left out: {', '.join(left_out) or 'nothing'}"]
    if failed:
        words.insert(0, f"FAILED: {', '.join(failed)}")
    print(f"tests/run: {'; '.join(words)}; {time.monotonic() - start:.0f} s", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
