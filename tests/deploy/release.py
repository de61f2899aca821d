"""What deploy/release makes: complete, the same each time, and it runs, also on aarch64.

Run by `tests/run --all`. It wants the Debian packages qemu-user-static and dpkg-dev. The binaries are built with the profile
`release`, which takes half the time of `dist`; the tests of the units, of the template and of the container take the one for
x86_64.
"""

import base64
import gzip
import hashlib
import json
import os
import platform
import shutil
import struct
import subprocess
import tarfile
import tempfile
import tomllib
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BUILT = ROOT / "target" / "tried"
VERSION = tomllib.loads((ROOT / "Cargo.toml").read_text())["package"]["version"]
DEBIAN = {"aarch64-unknown-linux-musl": "arm64", "x86_64-unknown-linux-musl": "amd64"}
# For two whole builds.
BUILD_PATIENCE = 3600
PATIENCE = 120
BODY = base64.b64encode(gzip.compress(json.dumps({"type": "message.new", "cid": "messaging:general"}).encode()))


def release(output, *options, path=None, good=(0,)):
    """Runs deploy/release; returns what it said. With `path` it finds programs there first."""
    search = os.pathsep.join([*([str(path)] if path else []), os.environ["PATH"]])
    command = ["deploy/release", "--profile", "release", "--output", output, *options]
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "PATH": search}, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        stdout=subprocess.DEVNULL, timeout=BUILD_PATIENCE,
    )  # fmt: skip
    if done.returncode not in good:
        raise AssertionError(f"exit code {done.returncode} of {command}:\n{done.stderr[-5000:]}")
    return done.stderr


def program_headers(binary):
    """The types of the program headers of a 64 bit ELF file."""
    content = binary.read_bytes()
    (start,), (size, count) = struct.unpack_from("<Q", content, 32), struct.unpack_from("<HH", content, 54)
    return [struct.unpack_from("<I", content, start + size * number)[0] for number in range(count)]


def sums(directory):
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in directory.iterdir()}


class Made(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        release(BUILT, "--unchecked-advisories")
        cls.unpacked = Path(tempfile.mkdtemp())
        cls.addClassCleanup(shutil.rmtree, cls.unpacked)
        cls.folders = {}
        for target in DEBIAN:
            name = f"stream-sqsd-{VERSION}-{target}"
            with tarfile.open(BUILT / f"{name}.tar.gz") as archive:
                archive.extractall(cls.unpacked, filter="data")
            cls.folders[target] = cls.unpacked / name

    def run_binary(self, target, *arguments, stdin=b""):
        machine = target.split("-")[0]
        emulator = [] if machine == platform.machine() else [f"qemu-{machine}-static"]
        command = [*emulator, self.folders[target] / "stream-sqsd", *arguments]
        done = subprocess.run(command, input=stdin, capture_output=True, timeout=PATIENCE)
        self.assertEqual(done.returncode, 0, f"{command}: {done.stderr.decode()}")
        return done.stdout.decode()

    def test_every_file_has_its_sum(self):
        packages = [f"stream-sqsd_{VERSION}-1_{name}.deb" for name in DEBIAN.values()]
        archives = [f"stream-sqsd-{VERSION}-{target}.tar.gz" for target in DEBIAN]
        expected = {*packages, *archives, f"stream-sqsd-{VERSION}.cdx.json"}
        self.assertEqual({path.name for path in BUILT.iterdir()}, {*expected, "SHA256SUMS"})
        lines = subprocess.run(["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=BUILT, capture_output=True, text=True)
        self.assertEqual(lines.returncode, 0, lines.stderr)
        self.assertEqual({line.split(":")[0] for line in lines.stdout.splitlines()}, expected)

    def test_a_second_release_of_a_commit_is_the_same(self):
        with tempfile.TemporaryDirectory(dir=ROOT / "target") as again:
            release(Path(again, "dist"), "--unchecked-advisories")
            self.assertEqual(sums(Path(again, "dist")), sums(BUILT))

    def test_archives_hold_what_an_installation_needs(self):
        for target, folder in self.folders.items():
            with self.subTest(target):
                for name in [
                    "LICENSE-APACHE",
                    "LICENSE-MIT",
                    "README.md",
                    "RUST-LIBRARY-LICENSES.html",
                    "THIRD-PARTY-LICENSES",
                    "all-settings.toml",
                    "completions.bash",
                    "completions.fish",
                    "completions.zsh",
                    "deploy/README.md",
                    "deploy/systemd/stream-sqsd.service",
                    "deploy/systemd/stream-sqsd@.service",
                    "deploy/systemd/stream-sqsd-relay.service",
                    "deploy/systemd/stream-sqsd.toml",
                    "man/stream-sqsd.1",
                    "man/stream-sqsd-run.1",
                ]:
                    self.assertTrue((folder / name).stat().st_size > 0, name)
                licences = (folder / "THIRD-PARTY-LICENSES").read_text()
                for name in ["aws-sdk-sqs ", "tokio ", "libdeflate-sys ", "libmimalloc-sys ", "musl "]:
                    self.assertIn(f"\n{name}", licences)

    def test_packages_hold_the_same_binary_and_no_c_library(self):
        for target, architecture in DEBIAN.items():
            with self.subTest(architecture):
                package = BUILT / f"stream-sqsd_{VERSION}-1_{architecture}.deb"
                ask = ["dpkg-deb", "--field", package, "Architecture", "Depends"]
                fields = subprocess.run(ask, capture_output=True, text=True, check=True).stdout
                self.assertEqual(fields, f"Architecture: {architecture}\nDepends: ca-certificates\n")
                folder = self.unpacked / architecture
                subprocess.run(["dpkg-deb", "--extract", package, folder], check=True)
                packaged = (folder / "usr/bin/stream-sqsd").read_bytes()
                self.assertTrue(packaged == (self.folders[target] / "stream-sqsd").read_bytes())

    def test_binaries_need_nothing_of_the_machine(self):
        interpreter = 3
        for target, folder in self.folders.items():
            with self.subTest(target):
                self.assertNotIn(interpreter, program_headers(folder / "stream-sqsd"))
                content = (folder / "stream-sqsd").read_bytes()
                for path in [ROOT, Path.home() / ".cargo"]:
                    self.assertNotIn(str(path).encode(), content, "it names where it was built")

    def test_each_architecture_runs_demo_and_decode(self):
        for target in DEBIAN:
            with self.subTest(target):
                self.assertEqual(self.run_binary(target, "--version"), f"stream-sqsd {VERSION}\n")
                events = self.run_binary(target, "demo")
                self.assertIn("message.new", events)
                decoded = json.loads(self.run_binary(target, "decode", "--typed", "-", stdin=BODY))
                self.assertEqual(decoded["cid"], "messaging:general")

    def test_the_sbom_names_what_is_linked_and_what_was_checked(self):
        sbom = json.loads((BUILT / f"stream-sqsd-{VERSION}.cdx.json").read_text())
        self.assertEqual((sbom["bomFormat"], sbom["specVersion"]), ("CycloneDX", "1.6"))
        properties = {of["name"]: of["value"] for of in sbom["metadata"]["properties"]}
        self.assertRegex(properties["stream-sqsd:advisories"], "^(checked|NOT CHECKED): ")
        components = {of["name"]: of for of in sbom["components"]}
        self.assertRegex(components["tokio"]["hashes"][0]["content"], "^[0-9a-f]{64}$")
        for name in ["aws-sdk-sqs", "clap", "libdeflate-sys", "ring"]:
            self.assertIn(name, components)
        for name in ["clap_mangen", "proptest", "serde_derive", "cc"]:
            self.assertNotIn(name, components, "it is not linked in")
        known = {of["bom-ref"] for of in sbom["components"]} | {sbom["metadata"]["component"]["bom-ref"]}
        self.assertEqual({of["ref"] for of in sbom["dependencies"]}, known)


class Refused(unittest.TestCase):
    """Each with a dist/ of before, which must stay as it is."""

    def setUp(self):
        (ROOT / "target").mkdir(exist_ok=True)
        self.directory = Path(tempfile.mkdtemp(dir=ROOT / "target"))
        self.addCleanup(shutil.rmtree, self.directory)
        self.output = self.directory / "dist"
        self.output.mkdir()
        (self.output / "of-before").write_text("")
        self.path = self.directory / "bin"
        self.path.mkdir()

    def replace(self, name, script):
        """Puts a program in the place of one that deploy/release calls."""
        (self.path / name).write_text(f"#!/bin/sh\n{script}\n")
        (self.path / name).chmod(0o755)

    def assert_refused(self, why, *options):
        said = release(self.output, "--target", "x86_64-unknown-linux-musl", *options, path=self.path, good=(1,))
        self.assertIn(why, said)
        self.assertEqual([path.name for path in self.output.iterdir()], ["of-before"])
        self.assertEqual({path.name for path in self.directory.iterdir()}, {"bin", "dist"})

    def test_unchecked_advisories_must_be_asked_for(self):
        self.replace("cargo-deny", "exit 1")
        self.assert_refused("nobody knows whether a dependency has a known vulnerability")

    def test_a_known_advisory_ends_it_in_any_case(self):
        self.replace("cargo-deny", '[ "$2" = fetch ]')
        self.assert_refused("no release: cargo ended with exit code 1", "--unchecked-advisories")

    def test_a_failure_at_the_end_leaves_no_half(self):
        self.replace("cargo-deny", "exit 0")
        self.replace("cargo-deb", "exit 3")
        self.assert_refused("no release: deploy/debian/build ended with exit code 3")


if __name__ == "__main__":
    unittest.main(verbosity=2)
