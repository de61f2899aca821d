"""The container image, built as deploy/README.md says and run without Docker: it consumes LocalStack's queues, as nobody,
with nothing to write to.

Run by `tests/run --all`. It wants root, and the Debian packages buildah, podman, runc, openssl and ca-certificates.
"""

import contextlib
import http.server
import json
import os
import re
import shlex
import shutil
import signal
import socket
import ssl
import struct
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "localstack"))
import queues  # noqa: E402

BINARY = Path(os.environ.get("STREAM_SQSD_TEST_BINARY") or ROOT / "target/x86_64-unknown-linux-musl/release/stream-sqsd")
ENDPOINT = os.environ["STREAM_SQSD_TEST_ENDPOINT"]
PORT = ENDPOINT.rsplit(":", 1)[1]
README = (ROOT / "deploy/README.md").read_text()
IMAGE = "localhost/" + re.search(r"^docker build --tag (\S+) ", README, re.MULTILINE)[1]
# How a container is locked in and how long it may take to stop, as it stands there.
LOCKED_IN = "--read-only --cap-drop ALL --security-opt no-new-privileges --stop-timeout 40"
# How long anything may take that a test waits for.
PATIENCE = 60
# A DNS server on port 53 of an address where nobody else has one.
NAME_SERVER = "127.0.64.53"


class Image(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        # Short, since podman has sockets in it; and of this run alone, since others may build here too.
        cls.store = Path(tempfile.mkdtemp(prefix="sqsd-"))
        cls.addClassCleanup(cls.remove_store)
        storage = ["--root", str(cls.store / "root"), "--runroot", str(cls.store / "run"), "--storage-driver", "vfs"]
        # crun, podman's own choice, does not start where there is no delegated cgroup; runc does.
        cls.podman_command = ["podman", *storage, "--runtime", "runc", "--cgroup-manager", "cgroupfs"]
        # The command for Docker is Buildah's too, but for these.
        *arguments, _ = shlex.split(re.search(r"^docker build (.+)$", README, re.MULTILINE)[1])
        command = ["buildah", *storage, "bud", "--isolation", "chroot", "--format", "docker", *arguments, str(BINARY.parent)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
        if done.returncode != 0:
            raise AssertionError(f"buildah: {done.stderr}")

    @classmethod
    def remove_store(cls):
        subprocess.run([*cls.podman_command, "rm", "--all", "--force", "--time", "0"], capture_output=True, timeout=PATIENCE)
        shutil.rmtree(cls.store)

    # What a test does with the image.

    def podman(self, *arguments, good=(0,)):
        """Runs podman to its end; returns what it printed and its exit code."""
        done = subprocess.run([*self.podman_command, *arguments], capture_output=True, text=True, timeout=PATIENCE)
        self.assertIn(done.returncode, good, f"podman {' '.join(arguments)}: {done.stdout}{done.stderr}")
        return done.stdout + done.stderr, done.returncode

    def options(self, **settings):
        """As deploy/README.md says, but on the network of the machine, where LocalStack is."""
        self.assertIn(LOCKED_IN, README)
        yield from [*shlex.split(LOCKED_IN), "--network", "host"]
        # Lower than what containers ask for, which a machine that is a container itself may not grant.
        yield from ["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024"]
        keys = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_EC2_METADATA_DISABLED": "true"}
        for name, value in {**keys, **settings}.items():
            yield from ["--env", f"{name}={value}"]

    def start(self, queue, *options, **settings):
        """A daemon, at work on a queue; returns the name of its container."""
        name = f"daemon-{time.monotonic_ns()}"
        settings = {"STREAM_SQSD_ADMIN": f"127.0.0.1:{free_port()}", "STREAM_SQSD_WAIT": "2s", **settings}
        settings["STREAM_SQSD_QUEUE_URL"] = queue
        self.podman("run", "--detach", "--name", name, *self.options(**settings), *options, IMAGE)
        self.addCleanup(self.podman, "rm", "--force", "--time", "0", name)
        return name

    def check(self, url, *options):
        """`check --online` in a container that goes away; returns what it printed and its exit code."""
        settings = {"STREAM_SQSD_QUEUE_URL": url}
        # 1: what it found loses messages; 69: the queue cannot be reached.
        command = ["run", "--rm", "--no-healthcheck", *self.options(**settings), *options, IMAGE, "check", "--online"]
        return self.podman(*command, good=(0, 1, 69))

    def log(self, name):
        """The log of a daemon, without its events."""
        done = subprocess.run([*self.podman_command, "logs", name], capture_output=True, text=True, timeout=PATIENCE)
        return done.stderr

    def events(self, name):
        """The events that a daemon has printed."""
        done = subprocess.run([*self.podman_command, "logs", name], capture_output=True, text=True, timeout=PATIENCE)
        return done.stdout.splitlines()

    def inspect(self, thing, what):
        return json.loads(self.podman("inspect", "--format", f"{{{{json {what}}}}}", thing)[0])

    # What is promised.

    def test_it_holds_the_binary_and_certificates_and_nothing_else(self):
        name, _ = self.podman("create", "--no-healthcheck", IMAGE)
        exported = self.store / "exported.tar"
        self.podman("export", "--output", str(exported), name.split()[-1])
        with tarfile.open(exported) as archive:
            files = {member.name: member for member in archive if member.isfile()}
            # What podman puts there for its own purposes is empty.
            held = {name for name, member in files.items() if member.size > 0}
            self.assertEqual(held, {"usr/bin/stream-sqsd", "etc/ssl/certs/ca-certificates.crt"})
            self.assertEqual(archive.extractfile("usr/bin/stream-sqsd").read(), BINARY.read_bytes())
            authorities = archive.extractfile("etc/ssl/certs/ca-certificates.crt").read()
            self.assertGreater(authorities.count(b"BEGIN CERTIFICATE"), 50)
        size = self.inspect(IMAGE, ".Size")
        print(f"the image holds {size / 1e6:.1f} MB", file=sys.stderr)
        self.assertLess(size, 40e6)

    def test_it_says_what_it_is_and_how_it_is_to_be_treated(self):
        config = self.inspect(IMAGE, ".Config")
        version, _ = self.podman("run", "--rm", "--no-healthcheck", *self.options(), IMAGE, "--version")
        self.assertEqual(version.split(), ["stream-sqsd", config["Labels"]["org.opencontainers.image.version"]])
        self.assertEqual(config["User"], "65532:65532")
        self.assertEqual(config["StopSignal"], "SIGTERM")
        self.assertEqual(config["ExposedPorts"], {"9464/tcp": {}})
        self.assertEqual(self.inspect(IMAGE, ".HealthCheck.Test"), ["CMD", "/usr/bin/stream-sqsd", "health"])

    def test_as_process_1_of_nobody_it_drains_on_sigterm_and_leaves_nothing_hidden(self):
        queue = make_queue("drains")
        send(queue, 1_500)
        # One at a time, so that it is in the middle of work when it is told to stop.
        name = self.start(queue, STREAM_SQSD_CONCURRENCY="1")
        until("it is at work", lambda: len(self.events(name)) >= 20)

        process = Path("/proc", str(self.inspect(name, ".State.Pid")))
        status = dict(line.split(":\t", 1) for line in (process / "status").read_text().splitlines())
        self.assertEqual(status["NSpid"].split()[-1], "1")
        self.assertEqual(set(status["Uid"].split()), {"65532"})
        self.assertEqual(int(status["CapEff"], 16), 0)
        self.assertEqual(status["NoNewPrivs"], "1")
        mounts = [line.split() for line in (process / "mountinfo").read_text().splitlines()]
        root = next(mount for mount in mounts if mount[4] == "/")
        self.assertIn("ro", root[5].split(","))

        self.podman("stop", name)
        self.assertEqual(self.inspect(name, ".State.ExitCode"), 0, self.log(name))
        handled = len(self.events(name))
        self.assertLess(handled, 1_500, "it was not in the middle of work")
        self.assertEqual(depth(queue), (1_500 - handled, 0))
        self.assertIn("asked to stop", self.log(name))

    def test_the_health_check_tells_a_daemon_that_works_from_one_that_does_not(self):
        queue = make_queue("health")
        name = self.start(queue)
        health = lambda: self.podman("healthcheck", "run", name, good=(0, 1))[1]  # noqa: E731
        until("it is healthy", lambda: health() == 0)

        process = self.inspect(name, ".State.Pid")
        os.kill(process, signal.SIGSTOP)
        try:
            self.assertEqual(health(), 1, "it does not move")
        finally:
            os.kill(process, signal.SIGCONT)
        until("it is healthy again", lambda: health() == 0)

        other = ["--env", f"STREAM_SQSD_QUEUE_URL={queues.url(ENDPOINT, 'another')}"]
        said, code = self.podman("exec", *other, name, "/usr/bin/stream-sqsd", "health", good=(0, 1))
        self.assertEqual(code, 1)
        self.assertIn("another queue", said)

    def test_a_configuration_is_read_and_a_volume_written_where_they_are_mounted(self):
        queue = make_queue("mounted")
        send(queue, 5)
        configuration = self.store / "stream-sqsd.toml"
        configuration.write_text('[[route]]\nevents = ["*"]\nhandler = "file"\npath = "/var/lib/stream-sqsd/events.jsonl"\n')
        events = self.store / "events"
        events.mkdir()
        os.chown(events, 65532, 65532)
        mounts = ["--volume", f"{configuration}:/etc/stream-sqsd.toml:ro", "--volume", f"{events}:/var/lib/stream-sqsd"]
        name = self.start(queue, *mounts, STREAM_SQSD_CONFIG="/etc/stream-sqsd.toml")
        written = lambda: sum(len(file.read_text().splitlines()) for file in events.iterdir())  # noqa: E731
        until("all are written", lambda: written() == 5)
        self.assertEqual(self.events(name), [])

    def test_dead_letters_are_listed_in_the_container_of_the_daemon(self):
        queue = make_queue("letters")
        send(f"{queue}-dead-letter", 3)
        name = self.start(queue)
        command = shlex.split(re.search(r"`docker (exec [^`]+)`", README)[1])
        command = [name if part == "stream-sqsd" else part for part in command if part not in ("--interactive", "--tty")]
        said, _ = self.podman(*command, "--json")
        self.assertIn('"messages":3', said.replace(" ", ""))
        self.assertEqual(depth(f"{queue}-dead-letter"), (3, 0))

    def test_names_are_resolved_by_the_hosts_file_and_by_dns(self):
        queue = make_queue("names")
        self.assert_reached(queue.replace("127.0.0.1", "localhost"))
        self.assert_reached(queue.replace("127.0.0.1", "queue.hosts.test"), "--add-host", "queue.hosts.test:127.0.0.1")

        resolver = self.store / "resolv.conf"
        # The second is found by way of the search list.
        resolver.write_text(f"nameserver {NAME_SERVER}\nsearch dns.test\noptions timeout:5\n")
        with name_server({"queue.dns.test": "127.0.0.1"}) as asked:
            for name in ("queue.dns.test", "queue"):
                self.assert_reached(queue.replace("127.0.0.1", name), "--volume", f"{resolver}:/etc/resolv.conf:ro")
                self.assertIn("queue.dns.test", asked)
                asked.clear()
            url = queue.replace("127.0.0.1", "nowhere.dns.test")
            said, code = self.check(url, "--volume", f"{resolver}:/etc/resolv.conf:ro")
            self.assertEqual(code, 69, said)
            self.assertIn("lookup", said)

    def assert_reached(self, url, *options):
        said, code = self.check(url, *options)
        self.assertEqual(code, 0, said)

    def test_servers_are_known_by_the_certificate_file_of_the_image_and_by_nothing_else(self):
        certificate = self.store / "certificate.pem"
        with https_server(certificate) as port:
            url = f"https://localhost:{port}/000000000000/chat-events"
            said, code = self.check(url)
            self.assertEqual(code, 69, said)
            self.assertIn("UnknownIssuer", said)
            said, code = self.check(url, "--volume", f"{certificate}:/etc/ssl/certs/ca-certificates.crt:ro")
            self.assertNotIn("UnknownIssuer", said)
            self.assertNotEqual(code, 69, said)


# The world around it.


def until(what, good):
    """Asks again until it is so; nobody announces it."""
    end = time.monotonic() + PATIENCE
    while not good():
        if time.monotonic() > end:
            raise AssertionError(f"not within {PATIENCE} s: {what}")
        time.sleep(0.1)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def make_queue(test):
    """A queue of this test alone, hiding for so long that a message which is left hidden is seen to be."""
    name = f"container-{test}-{time.time_ns()}"
    policy = json.dumps({
        "Statement": {"Effect": "Allow", "Principal": "*", "Action": "sqs:SendMessage", "Resource": queues.arn("sqs", name)},
    })
    queues.sqs(ENDPOINT, "CreateQueue", QueueName=f"{name}-dead-letter", Attributes={"MessageRetentionPeriod": "1209600"})
    redrive = json.dumps({"deadLetterTargetArn": queues.arn("sqs", f"{name}-dead-letter"), "maxReceiveCount": "5"})
    attributes = {"VisibilityTimeout": "300", "RedrivePolicy": redrive, "Policy": policy}
    queues.sqs(ENDPOINT, "CreateQueue", QueueName=name, Attributes=attributes)
    return queues.url(ENDPOINT, name)


def send(queue, count):
    bodies = [json.dumps({"type": "message.new", "message": {"id": str(number)}}) for number in range(count)]
    for start in range(0, count, 10):
        entries = [{"Id": str(at), "MessageBody": body} for at, body in enumerate(bodies[start : start + 10])]
        queues.sqs(ENDPOINT, "SendMessageBatch", QueueUrl=queue, Entries=entries)


def depth(queue):
    """How many messages can be received, and how many are hidden. LocalStack counts exactly."""
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    answer = queues.sqs(ENDPOINT, "GetQueueAttributes", QueueUrl=queue, AttributeNames=names)["Attributes"]
    return tuple(int(answer[name]) for name in names)


@contextlib.contextmanager
def name_server(addresses):
    """A DNS server that knows these names; yields the set of the names that it was asked for."""
    asked = set()
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind((NAME_SERVER, 53))

    def serve():
        while True:
            question, client = server.recvfrom(512)
            if not question:
                return
            end, labels = 12, []
            while question[end]:
                labels.append(question[end + 1 : end + 1 + question[end]].decode())
                end += question[end] + 1
            name = ".".join(labels).lower()
            asked.add(name)
            kind = struct.unpack("!H", question[end + 1 : end + 3])[0]
            address = addresses.get(name)
            # An address where one of IPv4 is asked for; of a name that is known there is none of IPv6.
            answers = [struct.pack("!HHHLH", 0xC00C, 1, 1, 60, 4) + socket.inet_aton(address)] if address and kind == 1 else []
            flags = 0x8180 if address else 0x8183
            header = question[:2] + struct.pack("!HHHHH", flags, 1, len(answers), 0, 0)
            server.sendto(header + question[12 : end + 5] + b"".join(answers), client)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield asked
    finally:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
            last.sendto(b"", (NAME_SERVER, 53))
        thread.join(PATIENCE)
        server.close()


@contextlib.contextmanager
def https_server(certificate):
    """A server that answers everything, whose certificate nobody has vouched for; yields its port."""
    key = certificate.with_name("key.pem")
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "1"]
    command += ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-addext", "basicConstraints=critical,CA:FALSE"]
    subprocess.run([*command, "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True, timeout=PATIENCE)
    # The daemon in the container is nobody.
    certificate.chmod(0o444)

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.send_header("Content-Type", "application/x-amz-json-1.0")
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_):
            pass

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    # The handshake happens in the thread of its connection: one that fails does not trouble the server.
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    server.handle_error = lambda *_: None
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join(PATIENCE)
        server.server_close()


if __name__ == "__main__":
    unittest.main(verbosity=2)
