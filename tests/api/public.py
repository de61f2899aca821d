"""What is public in the library can grow: no type of a crate that has not reached 1.0 stands in a signature, and enums and
structs are `#[non_exhaustive]`. And each guide of src/docs is a page of rustdoc.

    python3 tests/api/public.py FILE        what `cargo rustdoc --output-format json` wrote of the library, all features on
"""

import json
import sys
from collections import defaultdict
from pathlib import Path

# Crates whose types may stand in a signature. Each is at 1.0 or later, so what it promises lasts.
ALLOWED = {
    "alloc", "core", "std",
    "anyhow",  # handlers may return its error, by the feature of its name
    "aws_types",  # `SqsQueue::with_config` takes the AWS configuration of the caller
    "serde_core",  # events read and write themselves
    "serde_json",  # numbers and raw JSON in events
    "tokio",  # times of its clock, which a test can pause
}  # fmt: skip

GUIDES = Path(__file__).resolve().parent.parent.parent / "src" / "docs"

# What is complete as it is, and why.
EXHAUSTIVE = {
    "IdOr": "a text or an object: there is no third",
}


def inner(item):
    """The kind of an item, and what it is."""
    return next(iter(item["inner"].items()))


def named(value):
    """All types and traits that are named in a part of an item, with the id of each."""
    if isinstance(value, dict):
        if "id" in value and "path" in value:
            yield value
        for part in value.values():
            yield from named(part)
    elif isinstance(value, list):
        for part in value:
            yield from named(part)


class Api:
    def __init__(self, rustdoc):
        self.items, self.paths, self.crates = rustdoc["index"], rustdoc["paths"], rustdoc["external_crates"]
        self.owner = {str(child): key for key, item in self.items.items() for child in self.children(item)}

    def children(self, item):
        kind, body = inner(item)
        if kind in ("impl", "trait"):
            return body["items"]
        if kind == "enum":
            return body["variants"] + body["impls"]
        if kind == "variant" and isinstance(body["kind"], dict):
            return body["kind"].get("tuple") or body["kind"]["struct"]["fields"]
        return self.fields(item) + body["impls"] if kind == "struct" else []

    def fields(self, item):
        """The public fields of a struct."""
        kind = inner(item)[1]["kind"]
        if not isinstance(kind, dict):
            return []
        return kind["plain"]["fields"] if "plain" in kind else [field for field in kind["tuple"] if field is not None]

    def name(self, key):
        if key in self.paths:
            return "::".join(self.paths[key]["path"])
        item = self.items[key]
        kind, body = inner(item)
        if kind == "impl":
            of = body["for"].get("resolved_path", {}).get("path", "…")
            return f"<{of} as {body['trait']['path']}>" if body["trait"] else of
        return (f"{self.name(self.owner[key])}::" if key in self.owner else "") + (item["name"] or kind)

    def generated(self, key):
        """Whether the compiler wrote this implementation, or somebody for every type there is."""
        kind, body = inner(self.items[key])
        if kind == "impl":
            return body["is_synthetic"] or body["blanket_impl"] is not None
        return key in self.owner and self.generated(self.owner[key])

    def foreign(self):
        """Crate → where its types are named."""
        found = defaultdict(set)
        for key, item in self.items.items():
            kind, body = inner(item)
            if item["crate_id"] != 0 or kind == "module" or self.generated(key):
                continue
            # What has a key of its own is looked at there.
            elsewhere = ("items", "impls", "variants")
            own = {part: body[part] for part in body if part not in elsewhere} if isinstance(body, dict) else body
            for use in named(own):
                path = self.paths.get(str(use["id"]))
                if path and path["crate_id"] != 0:
                    found[self.crates[str(path["crate_id"])]["name"]].add(f"{self.name(key)}: {use['path']}")
        return found

    def exhaustive(self):
        """Enums and structs with nothing but public fields, which nobody can add to without breaking somebody."""
        for key, item in self.items.items():
            kind, body = inner(item)
            if item["crate_id"] != 0 or "non_exhaustive" in item["attrs"]:
                continue
            if kind == "enum":
                yield key
            elif kind == "struct" and isinstance(body["kind"], dict):
                fields = body["kind"].get("plain", {})
                hidden = fields["has_stripped_fields"] if fields else None in body["kind"]["tuple"]
                if not hidden:
                    yield key

    def missing_guides(self):
        """Guides that are not in rustdoc, or to which the links of the others lead nowhere there."""
        pages = {path["path"][-1]: key for key, path in self.paths.items() if path["path"][:-1] == ["stream_sqsd", "docs"]}
        guides = sorted(path.stem for path in GUIDES.glob("*.md"))
        for guide in guides:
            if guide not in pages:
                yield f"src/docs/{guide}.md is not in rustdoc: it needs a `page!` in src/lib.rs"
                continue
            text = self.items[pages[guide]]["docs"]
            for other in guides:
                if f"[{other}]: crate::docs::{other}\n" not in text:
                    yield f"links of docs::{guide} to {other} lead nowhere: `page!` in src/lib.rs needs a line for it"


def main():
    api = Api(json.loads(Path(sys.argv[1]).read_bytes()))
    foreign, wrong = api.foreign(), []
    for crate in sorted(foreign.keys() - ALLOWED):
        wrong.append(f"the crate {crate} stands in public signatures:\n    " + "\n    ".join(sorted(foreign[crate])))
    for crate in sorted(ALLOWED - foreign.keys() - {"alloc"}):
        wrong.append(f"the crate {crate} stands in no public signature any more: take it off ALLOWED, or is a feature off?")
    open_ended = {api.items[key]["name"]: api.name(key) for key in api.exhaustive()}
    for name in sorted(open_ended.keys() - EXHAUSTIVE.keys()):
        wrong.append(f"{open_ended[name]} is public and not #[non_exhaustive]")
    for name in sorted(EXHAUSTIVE.keys() - open_ended.keys()):
        wrong.append(f"{name} is #[non_exhaustive] now, or gone: take it off EXHAUSTIVE")
    wrong += api.missing_guides()
    types = sum(inner(item)[0] in ("struct", "enum") for item in api.items.values())
    print("\n".join(wrong) or f"{types} public types: none of a crate below 1.0, and all can grow")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
