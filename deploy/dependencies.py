"""What is linked into the shipped binary: the licences of its crates, and its SBOM.

    deploy/dependencies.py licences DIRECTORY

Asks cargo for the crates, so that neither can be out of date. The SBOM is CycloneDX 1.6; only deploy/release writes it, since
only it knows what was checked. Both are the same, byte for byte, whenever the commit and the toolchain are the same.
"""

import json
import re
import subprocess
import sys
import tomllib
import urllib.parse
import uuid
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# What binaries are shipped for.
TARGETS = ("aarch64-unknown-linux-musl", "x86_64-unknown-linux-musl")
LICENCE_FILE = re.compile(r"(licen[cs]es?|copying|copyright|notice|unlicense)([-._][a-z0-9-]+)*", re.IGNORECASE)
# What they are called in a package.
THIRD_PARTY = "THIRD-PARTY-LICENSES"
STANDARD_LIBRARY = "RUST-LIBRARY-LICENSES.html"
# A line of `cargo tree --prefix depth`: how deep, which crate, which version.
IN_TREE = re.compile(r"(\d+) (\S+) v(\S+)")


class Trouble(Exception):
    """Why it cannot be said, in a sentence."""


@dataclass(frozen=True, order=True)
class Crate:
    name: str
    version: str

    @property
    def purl(self):
        return f"pkg:cargo/{self.name}@{urllib.parse.quote(self.version)}"


def cargo(*arguments):
    done = subprocess.run(["cargo", *arguments], cwd=ROOT, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode != 0:
        raise Trouble(f"cargo {arguments[0]}: {done.stderr.strip()}")
    return done.stdout


def linked(targets=TARGETS):
    """Each crate that is linked in for one of the targets, with those that it needs. Ours is the first."""
    needs = defaultdict(set)
    for target in targets:
        tree = ["tree", "--locked", "--edges", "normal,no-proc-macro", "--prefix", "depth", "--format", " {p}"]
        above = []
        for line in cargo(*tree, "--target", target).splitlines():
            depth, name, version = IN_TREE.match(line).groups()
            crate = Crate(name, version)
            del above[int(depth) :]
            needs[crate].update([])
            if above:
                needs[above[-1]].add(crate)
            above.append(crate)
    return needs


def packages():
    """What cargo knows of each crate, by crate."""
    known = json.loads(cargo("metadata", "--locked", "--format-version", "1"))["packages"]
    return {Crate(package["name"], package["version"]): package for package in known}


def licence(package):
    """Its licence as an SPDX expression: some write a slash where it says OR."""
    expression = package["license"]
    if not expression:
        raise Trouble(f"{package['name']} {package['version']} names no licence")
    return re.sub(r"\s*/\s*", " OR ", expression)


def licence_texts(package):
    """The licences that the crate comes with, those of C code in it too, or the MIT licence for its authors where it comes
    with none."""
    folder = Path(package["manifest_path"]).parent
    named = (path for path in folder.rglob("*") if LICENCE_FILE.fullmatch(path.name) and path.suffix != ".rs")
    files = sorted(path for path in named if path.is_file())
    texts = [path.read_text(errors="replace").strip() for path in files]
    if texts:
        return texts
    if "MIT" not in licence(package):
        raise Trouble(f"{package['name']} {package['version']} comes without the text of its licence, {licence(package)}")
    title, _, rest = (ROOT / "LICENSE-MIT").read_text().strip().split("\n\n", 2)
    authors = ", ".join(package["authors"]) or f"the authors of {package['name']}"
    return [f"{title}\n\nCopyright (c) {authors}\n\n{rest}"]


def licences():
    """The licences of all crates that are linked in and of the C library, each text once."""
    known, ours = packages(), ROOT / "Cargo.toml"
    # By the words: many differ only in how their lines are broken.
    texts, holders = {}, defaultdict(list)

    def add(name, text):
        words = " ".join(text.split())
        texts.setdefault(words, text.strip())
        if name not in holders[words]:
            holders[words].append(name)

    for crate in sorted(linked()):
        if Path(known[crate]["manifest_path"]) == ours:
            continue
        for text in licence_texts(known[crate]):
            add(f"{crate.name} {crate.version} ({licence(known[crate])})", text)
    add("musl (MIT)", (ROOT / "deploy/licences/musl.txt").read_text())
    parts = [
        "What is linked into stream-sqsd beside its own code, and under which licences. Those of Rust's standard library are in\n"
        f"{STANDARD_LIBRARY}."
    ]
    for words, names in sorted(holders.items(), key=lambda item: item[1]):
        parts.append("=" * 100 + "\n" + "\n".join(names) + "\n" + "-" * 100 + "\n\n" + texts[words])
    return "\n\n".join(parts) + "\n"


def write_licences(directory):
    sysroot = subprocess.run(["rustc", "--print", "sysroot"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
    library = Path(sysroot, "share/doc/rust/COPYRIGHT-library.html")
    try:
        (directory / STANDARD_LIBRARY).write_bytes(library.read_bytes())
    except OSError as error:
        raise Trouble(f"the licences of the standard library: {error}") from error
    (directory / THIRD_PARTY).write_text(licences())


def sbom(targets, timestamp, properties):
    """The SBOM of the binaries, in CycloneDX's JSON. `properties` say how they were made."""
    known, needs = packages(), linked(targets)
    with open(ROOT / "Cargo.lock", "rb") as lock:
        sums = {Crate(of["name"], of["version"]): of.get("checksum") for of in tomllib.load(lock)["package"]}
    ours = next(crate for crate in needs if Path(known[crate]["manifest_path"]) == ROOT / "Cargo.toml")

    def component(crate, kind):
        described = {
            "type": kind,
            "bom-ref": crate.purl,
            "name": crate.name,
            "version": crate.version,
            "description": " ".join((known[crate]["description"] or "").split()),
            "licenses": [{"expression": licence(known[crate])}],
            "purl": crate.purl,
        }
        if sums[crate]:
            described["hashes"] = [{"alg": "SHA-256", "content": sums[crate]}]
        return described

    named = [{"name": f"stream-sqsd:{name}", "value": value} for name, value in properties.items()]
    content = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"timestamp": timestamp, "component": component(ours, "application"), "properties": named},
        "components": [component(crate, "library") for crate in sorted(needs) if crate != ours],
        "dependencies": [
            {"ref": crate.purl, "dependsOn": [needed.purl for needed in sorted(needs[crate])]} for crate in sorted(needs)
        ],
    }
    # Told apart by what it says: the same content has the same number.
    content["serialNumber"] = uuid.uuid5(uuid.NAMESPACE_URL, json.dumps(content, sort_keys=True)).urn
    return json.dumps(content, indent=2) + "\n"


def main():
    match sys.argv[1:]:
        case ["licences", directory]:
            write_licences(Path(directory))
        case _:
            sys.exit("usage: deploy/dependencies.py licences DIRECTORY")


if __name__ == "__main__":
    try:
        main()
    except Trouble as trouble:
        sys.exit(f"deploy/dependencies.py: {trouble}")
