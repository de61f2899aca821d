"""The Debian package and its units under a real systemd, against LocalStack.

    STREAM_SQSD_TEST_ENDPOINT=http://127.0.0.1:4566 python3 -B tests/deploy/systemd.py [TEST...]

A Debian of its own is booted with systemd-nspawn: its disk is thrown away afterwards, its network is the machine's, which is
how it reaches LocalStack. Needs root and the Debian packages debootstrap and systemd-container. STREAM_SQSD_TEST_BINARY
names another binary than that of the part `release`.
"""

import contextlib
import hashlib
import hmac
import http.server
import json
import os
import posixpath
import re
import select
import shutil
import socket
import subprocess
import sys
import threading
import time
import unittest
import urllib.error
import urllib.request
import uuid
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "localstack"))
import queues  # noqa: E402

ENDPOINT = os.environ.get("STREAM_SQSD_TEST_ENDPOINT")
BINARY = os.environ.get("STREAM_SQSD_TEST_BINARY", "target/x86_64-unknown-linux-musl/release/stream-sqsd")
DEBIAN = ROOT / "target" / "debian-bookworm"
PACKAGES = ROOT / "target" / "debian-packages"
UNITS = ROOT / "deploy" / "systemd"
DEPLOYED = (ROOT / "deploy" / "README.md").read_text()
# How long anything may take that has no limit of its own.
PATIENCE = 60.0


def run(*command, check=True, stdin="", timeout=300):
    """A command that ends; its output, standard error included."""
    ended = subprocess.run(
        command, cwd=ROOT, input=stdin, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=timeout
    )
    if check and ended.returncode != 0:
        raise AssertionError(f"{' '.join(map(str, command))}: exit code {ended.returncode}\n{ended.stdout}")
    return ended.stdout


def until(what, question, within=PATIENCE):
    """Asks until the answer is yes, and returns it."""
    end = time.monotonic() + within
    while True:
        answer = question()
        if answer:
            return answer
        if time.monotonic() > end:
            raise AssertionError(f"not within {within:.0f} s: {what}")
        time.sleep(0.1)


def debian():
    """The root of a small Debian with systemd, made once."""
    if not DEBIAN.exists():
        unfinished = DEBIAN.with_suffix(".new")
        shutil.rmtree(unfinished, ignore_errors=True)
        print("making a Debian with debootstrap, once: about a minute", file=sys.stderr, flush=True)
        include = "--include=systemd,systemd-sysv,dbus,ca-certificates"
        run("debootstrap", "--variant=minbase", include, "bookworm", unfinished, timeout=1800)
        unfinished.rename(DEBIAN)
    return DEBIAN


def package(*options):
    """The Debian package of the binary; its file name."""
    PACKAGES.mkdir(parents=True, exist_ok=True)
    built = run("deploy/debian/build", BINARY, "--fast", "--output", PACKAGES, *options, timeout=600)
    return Path(built.split()[-1]).name


class Machine:
    """A Debian that has booted; what it writes is gone when it stops."""

    def __init__(self):
        self.log = open(PACKAGES / "machine.log", "ab")
        command = ["systemd-nspawn", "--quiet", "--boot", "--directory", debian(), "--volatile=overlay"]
        command += ["--register=no", "--keep-unit", "--link-journal=no", "--console=pipe"]
        command += [f"--bind-ro={PACKAGES}:/packages"]
        self.nspawn = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)
        try:
            children = Path(f"/proc/{self.nspawn.pid}/task/{self.nspawn.pid}/children")
            self.systemd = until("systemd runs", lambda: children.read_text().split())[0]
            until("it has booted", lambda: "running" in self.run("systemctl", "is-system-running", check=False))
        except BaseException:
            self.stop()
            raise

    def stop(self):
        # It powers the machine off.
        self.nspawn.terminate()
        try:
            self.nspawn.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.nspawn.kill()
            self.nspawn.wait()
        self.log.close()

    def run(self, *command, check=True, stdin="", timeout=300):
        inside = ["nsenter", "-t", self.systemd, "-m", "-u", "-i", "-p", "-n", "-C", "-r", "-w"]
        # Not the tester's.
        clean = ["env", "-i", "PATH=/usr/sbin:/usr/bin", "LC_ALL=C.UTF-8", "DEBIAN_FRONTEND=noninteractive"]
        return run(*inside, *clean, *command, check=check, stdin=stdin, timeout=timeout)

    def write(self, path, text, mode="644"):
        self.run("sh", "-c", f"install -D -m {mode} /dev/stdin {path}", stdin=text)


class Unit:
    """A service of a machine."""

    def __init__(self, machine, name):
        self.machine, self.name = machine, name

    def systemctl(self, verb, *more, check=True):
        return self.machine.run("systemctl", verb, self.name, *more, check=check)

    def show(self, field):
        return self.machine.run("systemctl", "show", self.name, "--property", field, "--value").strip()

    def state(self):
        return f"{self.show('ActiveState')} {self.show('SubState')}"

    def journal(self):
        return self.machine.run("journalctl", "--no-pager", "--output=short-monotonic", "--unit", self.name)

    def signal_main(self, signal):
        self.machine.run("systemctl", "kill", f"--signal={signal}", "--kill-whom=main", self.name)

    def until(self, what, question, within=PATIENCE):
        try:
            return until(what, question, within)
        except AssertionError as error:
            raise AssertionError(f"{error}; it is {self.state()}\n{self.journal()}") from None

    def until_active(self, within=PATIENCE):
        self.until("the unit is active", lambda: self.state() == "active running", within)

    def start(self):
        try:
            self.systemctl("start")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.journal()}") from None


class Queue:
    """A queue of LocalStack's."""

    def __init__(self, name):
        self.name = f"{name}-{uuid.uuid4().hex[:8]}"
        queues.sqs(ENDPOINT, "CreateQueue", QueueName=self.name, Attributes={"VisibilityTimeout": "120"})

    def url(self, endpoint=ENDPOINT):
        return queues.url(endpoint, self.name)

    def send(self, count):
        for number in range(count):
            body = json.dumps({"type": "message.new", "number": number})
            queues.sqs(ENDPOINT, "SendMessage", QueueUrl=self.url(), MessageBody=body)

    def counts(self):
        """How many can be received, and how many are hidden."""
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        answer = queues.sqs(ENDPOINT, "GetQueueAttributes", QueueUrl=self.url(), AttributeNames=names)
        return tuple(int(answer["Attributes"][name]) for name in names)

    def is_empty(self):
        return self.counts() == (0, 0)

    def with_dead_letters(self, count):
        """Its dead-letter queue, which it gets, and which holds as many messages."""
        dead = Queue(f"{self.name}-dead")
        policy = {"deadLetterTargetArn": queues.arn("sqs", dead.name), "maxReceiveCount": "5"}
        attributes = {"RedrivePolicy": json.dumps(policy)}
        queues.sqs(ENDPOINT, "SetQueueAttributes", QueueUrl=self.url(), Attributes=attributes)
        dead.send(count)
        return dead


class Gate:
    """A way to LocalStack that can be closed: then a request is held, and answered when the gate opens, unless anyone who asked
    has gone by then."""

    def __enter__(self):
        gate = self

        class Passage(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers["X-Amz-Target"] == "AmazonSQS.ReceiveMessage":
                    gate.receives += 1
                    while not gate.open.wait(0.05):
                        if select.select([self.connection], [], [], 0)[0] and not self.connection.recv(1, socket.MSG_PEEK):
                            self.close_connection = True
                            return
                # Anyone who asked may have gone meanwhile.
                with contextlib.suppress(ConnectionError):
                    self.answer(*gate.ask(self.path, body, dict(self.headers)))

            def answer(self, status, body):
                self.send_response(status)
                self.send_header("Content-Type", "application/x-amz-json-1.0")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.open = threading.Event()
        self.open.set()
        self.receives = 0
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Passage)
        self.server.daemon_threads = True
        self.endpoint = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.open.set()
        self.server.shutdown()
        self.server.server_close()

    @staticmethod
    def ask(path, body, headers):
        request = urllib.request.Request(f"{ENDPOINT}{path}", data=body, headers=headers)
        try:
            with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=60) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()


class Webhook:
    """An endpoint that remembers whether what came was signed with this secret."""

    def __init__(self, secret):
        self.secret, self.signed = secret.encode(), []

    def __enter__(self):
        webhook = self

        class Receiver(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                expected = hmac.new(webhook.secret, body, hashlib.sha256).hexdigest()
                webhook.signed.append(hmac.compare_digest(expected, self.headers.get("X-Signature", "")))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
        self.url = f"http://127.0.0.1:{self.server.server_port}/"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()


# What LocalStack takes for keys, and no question to the machine for a role.
ENVIRONMENT = "AWS_ACCESS_KEY_ID=test\nAWS_SECRET_ACCESS_KEY=test\nAWS_REGION=us-east-1\nAWS_EC2_METADATA_DISABLED=true\n"


def config(url, route, top=""):
    return f'{top}\n[queue]\nurl = "{url}"\nwait = "1s"\n\n[[route]]\nevents = ["*"]\n{route}\n'


def to_file(path):
    return f'handler = "file"\npath = "{path}"'


def to_program(script):
    return f'handler = "exec"\ncommand = ["/bin/sh", "-c", {json.dumps(script)}]'


class Daemons(unittest.TestCase):
    """The daemon of the template unit, an instance and a queue for each test."""

    @classmethod
    def setUpClass(cls):
        name = package()
        cls.machine = Machine()
        cls.addClassCleanup(cls.machine.stop)
        cls.machine.run("dpkg", "--install", f"/packages/{name}")

    def daemon(self, name, route=None, top="", through=ENDPOINT):
        """A daemon that is configured and not started, and its queue."""
        queue = Queue(name)
        self.state = f"/var/lib/stream-sqsd-{name}"
        route = route or to_file(f"{self.state}/events.jsonl")
        self.machine.write(f"/etc/stream-sqsd/{name}.toml", config(queue.url(through), route, top))
        self.machine.write(f"/etc/stream-sqsd/{name}.environment", ENVIRONMENT, "600")
        unit = Unit(self.machine, f"stream-sqsd@{name}.service")
        self.addCleanup(unit.systemctl, "stop", check=False)
        return unit, queue

    def events(self):
        """How many events the handler wrote."""
        return self.machine.run("sh", "-c", f"cat {self.state}/events.jsonl 2>/dev/null", check=False).count("\n")

    def limit(self, unit, setting):
        """Changes the unit as an operator does."""
        self.machine.write(f"/etc/systemd/system/{unit.name}.d/test.conf", f"[Service]\n{setting}\n")
        self.machine.run("systemctl", "daemon-reload")

    def is_still_at_work(self, unit, queue):
        before = self.events()
        queue.send(3)
        unit.until("it handles what is sent now", lambda: self.events() == before + 3 and queue.is_empty())

    def test_it_is_ready_after_the_first_good_receive_and_not_before(self):
        with Gate() as gate:
            unit, queue = self.daemon("ready", through=gate.endpoint)
            gate.open.clear()
            unit.systemctl("start", "--no-block")
            unit.until("it receives", lambda: gate.receives)
            unit.until("it says so", lambda: unit.show("StatusText") == "waiting for the first good receive")
            self.assertEqual(unit.state(), "activating start")
            gate.open.set()
            unit.until_active()
            self.assertTrue(unit.show("StatusText").startswith("receiving: "), unit.show("StatusText"))
            self.is_still_at_work(unit, queue)

    def test_a_start_that_the_queue_holds_up_is_not_cut_short(self):
        with Gate() as gate:
            unit, _ = self.daemon("held", through=gate.endpoint)
            self.limit(unit, "TimeoutStartSec=2s")
            gate.open.clear()
            unit.systemctl("start", "--no-block")
            unit.until("it receives", lambda: gate.receives)
            since = time.monotonic()
            unit.until("the limit is long over", lambda: time.monotonic() > since + 5)
            gate.open.set()
            unit.until_active()
            self.assertEqual(unit.show("NRestarts"), "0", unit.journal())

    def test_dead_letters_are_retried_beside_the_daemon_as_its_user(self):
        unit, queue = self.daemon("beside")
        dead = queue.with_dead_letters(3)
        unit.start()
        unit.until_active()
        written = re.search(r"^sudo (systemd-run --pty .+?dlq) list(.+?)$", DEPLOYED, re.MULTILINE | re.DOTALL)
        command = f"{written[1]} VERB{written[2]}".replace("\\\n", " ").replace("--pty", "--pipe")
        # As the text below it says for an instance of the template.
        for of_one, of_instance in [
            ("StateDirectory=stream-sqsd ", "StateDirectory=stream-sqsd-beside "),
            ("/var/lib/stream-sqsd ", "/var/lib/stream-sqsd-beside "),
            ("/etc/stream-sqsd/environment", "/etc/stream-sqsd/beside.environment"),
            ("/etc/stream-sqsd/secrets", "/etc/stream-sqsd/beside.secrets"),
            ("/etc/stream-sqsd/stream-sqsd.toml", "/etc/stream-sqsd/beside.toml"),
        ]:
            self.assertIn(of_one, command)
            command = command.replace(of_one, of_instance)
        said = self.machine.run("sh", "-c", command.replace("VERB", "list"))
        self.assertIn("3", said)
        self.assertEqual(dead.counts(), (3, 0), said)
        said = self.machine.run("sh", "-c", command.replace("VERB", "retry --yes"))
        self.assertTrue(dead.is_empty(), said)
        # The daemon has the route's own file.
        beside = self.machine.run("sh", "-c", f"cat {self.state}/events.jsonl.dlq-*")
        self.assertEqual(beside.count("\n"), 3, said)
        self.is_still_at_work(unit, queue)

    def test_stop_in_the_middle_of_work_leaves_nothing_hidden(self):
        script = "cat >/dev/null; sleep 0.2; echo >>/var/lib/stream-sqsd-stop/events.jsonl"
        unit, queue = self.daemon("stop", to_program(script), top="concurrency = 8")
        queue.send(60)
        unit.start()
        unit.until("it is in the middle of work", lambda: self.events() >= 5)
        unit.systemctl("stop")
        handled = self.events()
        self.assertEqual(unit.show("Result"), "success", unit.journal())
        self.assertEqual(queue.counts(), (60 - handled, 0))
        self.assertLess(handled, 60, "it was not in the middle of work")

    def test_a_drain_may_take_longer_than_the_unit_allows(self):
        script = "cat >/dev/null; sleep 8; echo >>/var/lib/stream-sqsd-slow/events.jsonl"
        unit, queue = self.daemon("slow", to_program(script), top='grace = "30s"')
        self.limit(unit, "TimeoutStopSec=3s")
        unit.start()
        queue.send(1)
        unit.until("it is at work", lambda: queue.counts() == (0, 1))
        unit.systemctl("stop")
        self.assertEqual(unit.show("Result"), "success", unit.journal())
        self.assertEqual(self.events(), 1)
        self.assertTrue(queue.is_empty(), queue.counts())

    def test_a_daemon_that_is_killed_is_started_again(self):
        unit, queue = self.daemon("killed")
        unit.start()
        killed = unit.show("MainPID")
        unit.signal_main("KILL")
        unit.until("it was started again", lambda: unit.show("NRestarts") == "1")
        unit.until_active()
        self.assertNotEqual(unit.show("MainPID"), killed)
        self.is_still_at_work(unit, queue)

    def test_a_frozen_daemon_is_started_again_by_the_watchdog(self):
        unit, queue = self.daemon("frozen")
        unit.start()
        frozen = unit.show("MainPID")
        unit.signal_main("STOP")
        unit.until("it was started again", lambda: unit.show("NRestarts") == "1", within=90)
        unit.until_active()
        self.assertIn("Watchdog timeout", unit.journal())
        self.assertNotEqual(unit.show("MainPID"), frozen)
        self.is_still_at_work(unit, queue)

    def test_a_poll_that_hangs_heals_without_a_restart(self):
        with Gate() as gate:
            unit, queue = self.daemon("hangs", through=gate.endpoint)
            unit.start()
            process = unit.show("MainPID")
            gate.open.clear()
            # Until well after the watchdog would have ended a daemon that it takes for dead.
            hung_since = time.monotonic()
            unit.until("two polls were given up", lambda: "opening new connections" in unit.journal(), within=90)
            unit.until("the watchdog had its time", lambda: time.monotonic() > hung_since + 40)
            self.assertIn("receive has failed for", unit.show("StatusText"))
            gate.open.set()
            self.is_still_at_work(unit, queue)
            self.assertEqual((unit.show("MainPID"), unit.show("NRestarts")), (process, "0"), unit.journal())

    def test_a_wrong_configuration_fails_with_its_message_and_is_not_tried_again(self):
        unit, _ = self.daemon("wrong", top="concurency = 8")
        self.assertRaises(AssertionError, unit.systemctl, "start")
        message = 'stream-sqsd: /etc/stream-sqsd/wrong.toml:1: unknown key `concurency`'
        self.assertIn(message, unit.journal())
        self.assertIn("/etc/stream-sqsd/wrong.toml:1: ", unit.show("StatusText"))
        # Not "activating auto-restart".
        self.assertEqual(unit.state(), "failed failed")
        self.assertEqual((unit.show("ExecMainStatus"), unit.show("NRestarts")), ("2", "0"))

    def test_a_queue_that_cannot_be_reached_is_tried_again_and_its_reason_shown(self):
        with socket.socket() as nobody:
            # Bound and not listening: nobody answers here, and nobody else can.
            nobody.bind(("127.0.0.1", 0))
            unit, queue = self.daemon("unreachable", through=f"http://127.0.0.1:{nobody.getsockname()[1]}")
            unit.systemctl("start", "--no-block")
            unit.until("it was tried again", lambda: int(unit.show("NRestarts")) >= 2)
            unit.until("it says why", lambda: "cannot be reached" in unit.show("StatusText"))
        self.machine.write(
            "/etc/stream-sqsd/unreachable.toml", config(queue.url(), to_file(f"{self.state}/events.jsonl"))
        )
        unit.until_active()

    def test_a_secret_comes_from_a_file_that_only_root_can_read(self):
        with Webhook("watering-can") as webhook:
            route = f'handler = "http"\nurl = "{webhook.url}"\napi_key = "garden"\n'
            unit, queue = self.daemon("secret", route + 'api_secret = { credential = "secret_api-secret" }')
            self.machine.write("/etc/stream-sqsd/secret.secrets/api-secret", "watering-can\n", "600")
            unit.start()
            queue.send(2)
            unit.until("both were delivered", queue.is_empty)
            self.assertEqual(webhook.signed, [True, True])

    def test_the_process_may_read_what_it_takes_itself(self):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            listen = f"127.0.0.1:{probe.getsockname()[1]}"
        unit, _ = self.daemon("metrics", top=f'[admin]\nlisten = "{listen}"')
        unit.start()
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(f"http://{listen}/metrics", timeout=60) as answer:
            metrics = answer.read().decode()
        for name in ("cpu_seconds_total", "resident_memory_bytes", "virtual_memory_bytes", "open_fds", "max_fds", "threads"):
            self.assertRegex(metrics, rf"(?m)^process_{name} [0-9.]*[1-9]")
        [started] = re.findall(r"(?m)^process_start_time_seconds ([0-9.]+)$", metrics)
        self.assertLess(abs(time.time() - float(started)), 60)

    def test_two_daemons_of_one_machine_keep_out_of_each_others_way(self):
        first, first_queue = self.daemon("first")
        first.start()
        second, second_queue = self.daemon("second")
        second.start()
        self.is_still_at_work(second, second_queue)
        first_queue.send(1)
        first.until("the other is at work too", first_queue.is_empty)

    def test_the_units_are_understood_and_let_the_daemon_do_little(self):
        for unit in ("stream-sqsd.service", "stream-sqsd@.service"):
            # It exits 0 on keys that it does not know: what it says counts. There is no man here to show the page.
            self.assertEqual(self.machine.run("systemd-analyze", "verify", "--man=no", f"/usr/lib/systemd/system/{unit}"), "")
        # In tenths: an exposure of at most 1.5. The template has the same rules, which another test holds it to.
        self.machine.run("systemd-analyze", "security", "--offline=yes", "--threshold=15", "stream-sqsd.service")


class Units(unittest.TestCase):
    def test_the_template_is_the_unit_with_names_of_its_own(self):
        def settings(name):
            lines = (UNITS / name).read_text().splitlines()
            return [line for line in lines if line and not line.startswith("#")]

        own = {
            "Description=Consumer of the events that Stream sends to Amazon SQS": " (%i)",
            "/etc/stream-sqsd/stream-sqsd.toml": "/etc/stream-sqsd/%i.toml",
            "/etc/stream-sqsd/environment": "/etc/stream-sqsd/%i.environment",
            "/etc/stream-sqsd/secrets": "/etc/stream-sqsd/%i.secrets",
            "StateDirectory=stream-sqsd": "StateDirectory=stream-sqsd-%i",
        }

        def named(line):
            for general, particular in own.items():
                if line.endswith(general):
                    return line + particular if particular.startswith(" ") else line.replace(general, particular)
            return line

        self.assertEqual(settings("stream-sqsd@.service"), [named(line) for line in settings("stream-sqsd.service")])


class Package(unittest.TestCase):
    """The life of the package on a machine of its own."""

    def setUp(self):
        self.first, self.next = package(), package("--deb-version", "9.0.0-1")
        self.machine = Machine()
        self.addCleanup(self.machine.stop)
        self.unit = Unit(self.machine, "stream-sqsd.service")
        self.other = Unit(self.machine, "stream-sqsd@other.service")

    def dpkg(self, *arguments):
        return self.machine.run("dpkg", *arguments)

    def exists(self, path):
        return self.machine.run("sh", "-c", f"test -e {path} && echo yes", check=False) == "yes\n"

    def assert_links_lead_somewhere(self, files):
        """Follows the links of the installed documentation, but for those to other hosts and within a page."""
        pages = [file for file in files if file.endswith(".md")]
        links = [(page, link) for page in pages for link in re.findall(r"\]\(([^)#:]+)[)#]", self.machine.run("cat", page))]
        self.assertGreater(len(links), 20)
        for page, link in links:
            self.assertIn(posixpath.normpath(posixpath.join(posixpath.dirname(page), link)), files, page)

    def test_it_is_installed_configured_upgraded_rolled_back_removed_and_purged(self):
        machine, unit, other = self.machine, self.unit, self.other

        # Installed: all is there, and nothing runs before it has a queue.
        said = self.dpkg("--install", f"/packages/{self.first}")
        self.assertIn("stream-sqsd is not started: it has no queue yet.", said)
        self.assertEqual(unit.systemctl("is-enabled", check=False), "disabled\n")
        self.assertEqual(unit.state(), "inactive dead")
        self.assertIn("stream-sqsd 0.1.0", machine.run("stream-sqsd", "--version"))
        files = self.dpkg("--listfiles", "stream-sqsd").splitlines()
        for file in (
            "/usr/share/man/man1/stream-sqsd.1.gz",
            "/usr/share/man/man1/stream-sqsd-run.1.gz",
            "/usr/share/bash-completion/completions/stream-sqsd",
            "/usr/share/zsh/vendor-completions/_stream-sqsd",
            "/usr/share/fish/vendor_completions.d/stream-sqsd.fish",
        ):
            self.assertIn(file, files)
        self.assert_links_lead_somewhere(files)

        # Started too early it says what is missing.
        self.assertRaises(AssertionError, unit.systemctl, "start")
        self.assertIn("no queue: say which one", unit.journal())

        # Configured as its comments say, and started; a second daemon beside it.
        queue, other_queue = Queue("package"), Queue("other")
        file = "/etc/stream-sqsd/stream-sqsd.toml"
        machine.run("sed", "-i", f's|^# url = "https://sqs.*|url = "{queue.url()}"\\nwait = "1s"|', file)
        machine.write("/etc/stream-sqsd/environment", ENVIRONMENT, "600")
        machine.run("stream-sqsd", "check", "--config", file)
        route = to_file("/var/lib/stream-sqsd-other/events.jsonl")
        journal = 'journal = "/var/lib/stream-sqsd-other/journal"'
        machine.write("/etc/stream-sqsd/other.toml", config(other_queue.url(), route, journal))
        machine.write("/etc/stream-sqsd/other.environment", ENVIRONMENT, "600")
        for each in (unit, other):
            each.systemctl("enable", "--now")
        queue.send(5)
        unit.until("the events are written", queue.is_empty)

        # Upgraded, and rolled back: both run the other one, with what was configured.
        for version in (self.next, self.first):
            before = unit.show("MainPID"), other.show("MainPID")
            said = self.dpkg("--install", f"/packages/{version}")
            self.assertNotIn("not started", said)
            for each, process in zip((unit, other), before):
                each.until_active()
                self.assertNotEqual(each.show("MainPID"), process)
            self.assertIn(queue.url(), machine.run("cat", file))
            self.assertEqual(unit.systemctl("is-enabled"), "enabled\n")
            for each in (queue, other_queue):
                each.send(1)
            unit.until("the events are written", lambda: queue.is_empty() and other_queue.is_empty())

        # Removed: nothing runs any more, nothing is lost.
        self.dpkg("--remove", "stream-sqsd")
        self.assertEqual((unit.state(), other.state()), ("inactive dead", "inactive dead"))
        self.assertFalse(self.exists("/usr/bin/stream-sqsd"))
        self.assertTrue(self.exists(file))

        # Purged: the configuration is gone. What was written may be nowhere else.
        said = self.dpkg("--purge", "stream-sqsd")
        self.assertFalse(self.exists("/etc/stream-sqsd"))
        self.assertIn("stream-sqsd leaves what it wrote: /var/lib/private/stream-sqsd\n", said)
        self.assertEqual(machine.run("sh", "-c", "cat /var/lib/private/stream-sqsd/events*.jsonl").count("\n"), 7)
        self.assertNotIn("stream-sqsd", machine.run("find", "/etc/systemd", "/var/lib/systemd"))


def main():
    for needed in ("debootstrap", "systemd-nspawn", "nsenter", "cargo-deb"):
        if not shutil.which(needed):
            sys.exit(f"tests/deploy/systemd.py: there is no {needed}")
    if os.geteuid() != 0 or not ENDPOINT:
        sys.exit("tests/deploy/systemd.py: needs root, and a LocalStack at STREAM_SQSD_TEST_ENDPOINT")
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(PACKAGES)
    PACKAGES.mkdir(parents=True)
    unittest.main(verbosity=2)


if __name__ == "__main__":
    main()
