"""LocalStack as a process of this clone: started, found again, stopped.

With a Docker engine that answers it is a container (compose.yaml), without one a process of its own from PyPI
(requirements.txt) in a virtual environment. Everything that it needs or writes lies in localstack/.run, which git ignores
and which can be deleted while nothing runs.

Not here: what is made in it (queues.py) and what is tested against it (../tests/parts.py).
"""

import argparse
import contextlib
import fcntl
import hashlib
import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import queues

HERE = Path(__file__).resolve().parent
RUN = HERE / ".run"
REQUIREMENTS = HERE / "requirements.txt"
PYTHONS = [(3, 11), (3, 12), (3, 13)]
DEFAULT_PORT = 4566
# It is ready after two seconds; on a busy machine it has taken sixteen.
READY_WITHIN = 120.0
# It stops within one to five seconds.
STOPPED_WITHIN = 20.0


class Trouble(Exception):
    """What a person can do something about: printed without a traceback."""


@contextlib.contextmanager
def locked(path, waiting):
    """Holds the lock file `path`; says `waiting` when somebody else holds it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(waiting)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def say(text):
    print(f"localstack: {text}", file=sys.stderr, flush=True)


def last_lines(path, count=15):
    lines = path.read_text(errors="replace").splitlines() if path.exists() else []
    # Without our own questions whether it is ready.
    lines = [line for line in lines if "GET /_localstack/" not in line]
    return "\n".join(f"    {line}" for line in lines[-count:])


def port_is_free(port):
    # LocalStack listens on all addresses, whatever it is told.
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
        except OSError:
            return False
    return True


def free_port():
    with socket.socket() as probe:
        probe.bind(("", 0))
        return probe.getsockname()[1]


class Instance:
    """One LocalStack of this clone, known by its name: `up` for trying things out, `test` for a run of the tests."""

    def __init__(self, name):
        self.name = name
        self.dir = RUN / name
        self.log = self.dir / "log"
        self.facts = self.dir / "running.json"
        # What runs is stopped in the way that it was started, also when a Docker engine has come or gone since.
        ways = {"container": Container, "process": Process}
        started = self.read_facts().get("way")
        self.way = (ways.get(started) or (Container if docker_answers() else Process))(self)

    def up(self, must_be=None, otherwise=None):
        """Starts it unless it runs, and makes the queues. Returns the endpoint.

        It is started on the port `must_be`, else on `otherwise`, else on a free one; the first is an error where it runs
        already on another.
        """
        with locked(RUN / f"{self.name}.lock", "another command is starting or stopping it; waiting"):
            running = self.port()
            if running is not None and must_be not in (None, running):
                raise Trouble(f"it runs already, on port {running}; localstack/down stops it")
            port = running or must_be or otherwise or free_port()
            endpoint = f"http://127.0.0.1:{port}"
            if running is None:
                self.prepare(port)
            try:
                if running is None:
                    self.way.start(port)
                self.wait_until_ready(endpoint)
                queues.create(endpoint)
            except (Trouble, queues.CallFailed) as error:
                if running is not None:
                    raise Trouble(f"it runs but does not do its work ({error}): localstack/down, then up") from error
                tail = self.way.log_lines()
                self.way.stop()
                raise Trouble(f"LocalStack did not start: {error}\n{tail}\n    the whole log: {self.log}") from error
            except BaseException:
                # Ctrl-C while it starts: nothing half-started stays behind.
                if running is None:
                    self.way.stop()
                raise
            return endpoint

    def down(self):
        """Stops it; returns whether it ran."""
        with locked(RUN / f"{self.name}.lock", "another command is starting or stopping it; waiting"):
            ran = self.way.runs()
            self.way.stop()
            self.facts.unlink(missing_ok=True)
            return ran

    def port(self):
        """The port that it listens on, None when it does not run."""
        if not self.way.runs():
            return None
        port = self.read_facts().get("port")
        if port is None:
            raise Trouble("it runs, and where is not known: localstack/down, then up")
        return port

    def read_facts(self):
        try:
            return json.loads(self.facts.read_text())
        except (OSError, ValueError):
            return {}

    def prepare(self, port):
        if not port_is_free(port):
            raise Trouble(f"port {port} is taken by something else; choose another: localstack/up --port N")
        self.dir.mkdir(parents=True, exist_ok=True)
        self.way.prepare()
        # Before the start, so that what runs is always known.
        self.facts.write_text(json.dumps({"port": port, "way": self.way.NAME}))

    def wait_until_ready(self, endpoint):
        until = time.monotonic() + READY_WITHIN
        reason = "no answer"
        while time.monotonic() < until:
            if not self.way.runs():
                raise Trouble("it ended by itself")
            try:
                services = json.loads(queues.http(f"{endpoint}/_localstack/health", timeout=5))["services"]
                done = json.loads(queues.http(f"{endpoint}/_localstack/init", timeout=5))["completed"]
                if {services.get("sqs"), services.get("sns")} <= {"available", "running"} and done.get("READY"):
                    return
                reason = f"sqs {services.get('sqs')}, sns {services.get('sns')}"
            except (queues.CallFailed, ValueError, KeyError) as error:
                reason = str(error)
            time.sleep(0.2)
        raise Trouble(f"not ready within {READY_WITHIN:.0f} s: {reason}")


class Process:
    """LocalStack from PyPI, without Docker.

    It inherits a lock that nobody else holds, so whether it lives is asked of the lock: a process id alone may by now be
    somebody else's.
    """

    NAME = "process"

    def __init__(self, instance):
        self.instance = instance
        self.alive = instance.dir / "alive.lock"
        self.child = None
        self.python = None

    def prepare(self):
        self.python = environment()

    def start(self, port):
        instance = self.instance
        # LocalStack's own folders, which would otherwise be /etc/localstack and /var/lib/localstack. The cache in it
        # makes the next start quicker.
        root = instance.dir / "fs"
        settings = {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(instance.dir),
            "FILESYSTEM_ROOT": str(root),
            # In a container it would believe that it is its own image, and write to the system's folders.
            "OVERRIDE_IN_DOCKER": "0",
            # Loaded when they are first asked for: CloudFormation takes longer than both others.
            "SERVICES": "sqs,sns,cloudformation",
            "STRICT_SERVICE_LOADING": "1",
            # The newer implementation. Later versions have no other, and refuse to be told.
            "PROVIDER_OVERRIDE_SNS": "v2",
            # Nothing of it may need the network.
            "SKIP_SSL_CERT_DOWNLOAD": "1",
            "DISABLE_EVENTS": "1",
            "DNS_ADDRESS": "0",
            "SQS_DISABLE_CLOUDWATCH_METRICS": "1",
            "GATEWAY_LISTEN": f"127.0.0.1:{port}",
            "LOCALSTACK_HOST": f"127.0.0.1:{port}",
            "SQS_ENDPOINT_STRATEGY": "path",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
        }
        # -I and the working directory: this project's folder `localstack` must not be taken for the package of that name.
        command = [self.python, "-I", "-m", "localstack.runtime.main"]
        with open(self.alive, "w") as alive, open(instance.log, "w") as log:
            fcntl.flock(alive, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self.child = subprocess.Popen(
                command,
                cwd=instance.dir,
                env=settings,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=[alive.fileno()],
                start_new_session=True,
            )
            alive.write(str(self.child.pid))

    def runs(self):
        if self.child:
            self.child.poll()
        with contextlib.suppress(FileNotFoundError), open(self.alive) as alive:
            try:
                fcntl.flock(alive, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
        return False

    def stop(self):
        for signal_number, patience in [(signal.SIGTERM, STOPPED_WITHIN), (signal.SIGKILL, 5.0)]:
            if not self.runs():
                return
            with contextlib.suppress(ProcessLookupError):
                # Its whole session: what it started goes with it.
                os.killpg(int(self.alive.read_text()), signal_number)
            until = time.monotonic() + patience
            while self.runs() and time.monotonic() < until:
                time.sleep(0.05)
        if self.runs():
            raise Trouble(f"process {self.alive.read_text()} does not end")

    def log_lines(self):
        return last_lines(self.instance.log)


class Container:
    """LocalStack as a container of compose.yaml."""

    NAME = "container"

    def __init__(self, instance):
        self.instance = instance
        # One project for each clone and instance, so that two clones do not stop each other's.
        clone = hashlib.sha256(str(HERE).encode()).hexdigest()[:8]
        self.project = f"stream-sqsd-{instance.name}-{clone}"

    def compose(self, *arguments, port=DEFAULT_PORT):
        command = ["docker", "compose", "--project-name", self.project, "--file", str(HERE / "compose.yaml")]
        try:
            answer = subprocess.run(
                [*command, *arguments],
                env={**os.environ, "STREAM_SQSD_LOCALSTACK_PORT": str(port)},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=900,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise Trouble(f"docker compose {arguments[0]}: {error}") from error
        if answer.returncode != 0:
            raise Trouble(f"docker compose {arguments[0]} failed:\n{answer.stderr.strip()}")
        return answer.stdout

    def prepare(self):
        say("fetching the image of LocalStack unless it is here")

    def start(self, port):
        self.compose("up", "--detach", port=port)

    def runs(self):
        return bool(self.compose("ps", "--quiet").strip())

    def stop(self):
        if self.runs():
            self.instance.dir.mkdir(parents=True, exist_ok=True)
            self.instance.log.write_text(self.compose("logs", "--no-color"))
        self.compose("down", "--volumes")

    def log_lines(self):
        return "\n".join(f"    {line}" for line in self.compose("logs", "--no-color", "--tail", "15").splitlines())


def docker_answers():
    """Whether there is a Docker engine with compose. That the command exists proves nothing."""
    for command in (["docker", "info"], ["docker", "compose", "version"]):
        try:
            answer = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=30)
        except (OSError, subprocess.TimeoutExpired):
            return False
        if answer.returncode != 0:
            return False
    return True


def environment(what="LocalStack without Docker", requirements=REQUIREMENTS, name="python"):
    """The Python of a virtual environment with what the pins say in it, made at the first call and when they change."""
    python, version = suitable_python(what)
    venv = RUN / "{}-{}.{}".format(name, *version)
    # Named last, so that an environment that was broken off is never taken for a whole one.
    complete = venv / "complete"
    pins = hashlib.sha256(requirements.read_bytes()).hexdigest()
    inside = venv / "bin" / "python"
    with locked(RUN / "environment.lock", f"another command is installing {what}; waiting"):
        if complete.exists() and complete.read_text() == pins and inside.exists():
            return str(inside)
        say(f"installing {what} into {venv.relative_to(HERE.parent)}, once: about a minute")
        shutil.rmtree(venv, ignore_errors=True)
        log = RUN / "install.log"
        with open(log, "w") as output:
            for command in (
                [python, "-m", "venv", str(venv)],
                [str(inside), "-m", "pip", "install", "--disable-pip-version-check", "--require-hashes", "-r", str(requirements)],
            ):
                answer = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, timeout=900)
                if answer.returncode != 0:
                    output.flush()
                    raise Trouble(f"{shlex.join(command)} failed:\n{last_lines(log)}\n    the whole log: {log}")
        complete.write_text(pins)
        return str(inside)


def suitable_python(what):
    """A Python that LocalStack and the other tools run on and that can make virtual environments, with its version."""
    wanted = ", ".join("{}.{}".format(*version) for version in PYTHONS)
    found = []
    ask = "import json, sys; print(json.dumps(sys.version_info[:2])); import ensurepip, venv"
    names = [sys.executable, "python3", *("python{}.{}".format(*version) for version in reversed(PYTHONS))]
    for python in dict.fromkeys(shutil.which(name) for name in names if name):
        if not python:
            continue
        answer = subprocess.run([python, "-c", ask], capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60)
        try:
            version = tuple(json.loads(answer.stdout))
        except ValueError:
            # A command of that name which runs no Python, as version managers leave behind.
            continue
        if version not in PYTHONS:
            found.append("{} is {}.{}".format(python, *version))
        elif answer.returncode != 0:
            package = "python{}.{}-venv".format(*version)
            found.append(f"{python} cannot make virtual environments (Debian, Ubuntu: apt-get install {package})")
        else:
            return python, version
    raise Trouble(
        f"{what} needs a Python of {wanted}:\n    "
        + "\n    ".join(found or ["no Python was found"])
        + "\n    Debian 12: apt-get install python3 python3-venv    macOS: brew install python@3.13"
    )


def how_to_use(endpoint):
    rows = [
        (name, f"{use}; dead-letter queue {dead_letter} after {queues.MAX_RECEIVE_COUNT} receives")
        for name, dead_letter, _, use in queues.QUEUES
    ]
    width = max(len(name) for name, _ in rows)
    table = "\n".join(f"    {name:<{width}}  {text}" for name, text in rows)
    return f"""LocalStack answers at {endpoint}. Its queues:

{table}

In your shell:

    export AWS_ENDPOINT_URL={endpoint} AWS_REGION={queues.REGION} AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=test
    cargo run -- run --queue-url {queues.url(endpoint, "chat-events")}

It listens on all addresses of this machine and checks no key. Its log is {RUN / "up" / "log"}; localstack/down stops it."""


def up(arguments):
    parser = argparse.ArgumentParser(prog="localstack/up", description="Starts LocalStack with queues to try things on.")
    parser.add_argument("--port", type=int, help=f"where it is to listen ({DEFAULT_PORT}); 0 for any free port")
    port = parser.parse_args(arguments).port
    print(how_to_use(Instance("up").up(must_be=port or None, otherwise=DEFAULT_PORT if port is None else None)))


def down(arguments):
    argparse.ArgumentParser(prog="localstack/down", description="Stops what localstack/up started.").parse_args(arguments)
    say("stopped" if Instance("up").down() else "nothing was running")


def end_like_ctrl_c(*_):
    raise KeyboardInterrupt


def main():
    # What ends this program is an exception, so that nothing half-started stays behind.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, end_like_ctrl_c)
    try:
        {"up": up, "down": down}[sys.argv[1]](sys.argv[2:])
    except Trouble as error:
        say(str(error))
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
