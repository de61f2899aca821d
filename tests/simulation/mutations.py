"""Breaks the engine on purpose, once for each promise, and shows that the simulation notices.

    python3 tests/simulation/mutations.py [NAME]...

Each mutation is a change of a few words in a copy of the source. It counts as caught when the simulation fails, or does not
end; one that survives, and one whose words are no longer in the source, fail this script.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
WORK = ROOT / "target" / "mutations"
TREE = WORK / "tree"
SEEDS = "300"
# Of one run, in seconds: a whole one takes less than a minute.
LIMIT = 150

# Name, file, what is there, what is put in its place. Only the first occurrence is changed.
MUTATIONS = [
    ("delete-without-success", "worker.rs", "Attempt::Hopeless => return self.give_up(None).await,", "Attempt::Hopeless => return self.delete().await,"),
    ("cancel-the-poll", "poller.rs", "tokio::time::timeout_at(opened + self.wait + HUNG_AFTER_DRAINING, &mut receive).await.ok()", "None"),
    ("ignore-failed-entries", "settle.rs", "map(|result| result.map_err(Refusal::Entry))", "map(|_| Ok(()))"),
    ("renew-too-late", "lease.rs", "state.schedule(&id, renew_at);\n        drop(state);\n        self.changed.notify_one();\n        Arrival::New", "state.schedule(&id, later(renew_at, self.visibility));\n        drop(state);\n        self.changed.notify_one();\n        Arrival::New"),
    ("drop-the-lease-before-the-delete", "worker.rs", "self.held.drop_bytes();\n                    return self.delete().await;", "self.held.drop_bytes();\n                    self.lease.stop_renewing().await;\n                    return self.delete().await;"),
    ("renew-what-was-let-go", "settle.rs", "lease.stop_renewing().await;", ""),
    ("keep-the-old-receipt", "lease.rs", "entry.receipt = delivery.receipt.clone();", ""),
    ("believe-an-old-receipt", "settle.rs", "_ if lease.receipt().as_ref() != Some(&receipt) => continue,", ""),
    ("over-fetch", "poller.rs", "self.claim.slots().min(BATCH)", "BATCH"),
    ("run-a-duplicate", "lease.rs", "if !entry.stopped && !lost {", "if entry.number == 0 {"),
    ("take-the-returned-for-a-duplicate", "lease.rs", "if !entry.stopped && !lost {", "if !lost {"),
    ("join-a-lease-that-was-lost", "lease.rs", "if !entry.stopped && !lost {", "if !entry.stopped {"),
    ("begin-before-the-worker-before-has-ended", "worker.rs", "() = self.lease.alone() => {}", "() = std::future::ready(()) => {}"),
    ("forget-the-success-of-the-worker-before", "worker.rs", "Task::Work if self.lease.returned() &&", "Task::Work if !self.lease.returned() &&"),
    ("hand-back-what-came-back", "groups.rs", "let end = behind.clone().find(came_back).map(|standing| standing.id);", "let end = behind.clone().find(came_back).map(|standing| standing.id).filter(|_| false);"),
    ("count-leases-from-the-answer", "lease.rs", "let deadline = later(sent, self.visibility)", "let deadline = later(now.max(sent), self.visibility)"),
    ("four-renewals-whatever-is-held", "lease.rs", "calls_within(held, self.latency.slow(), part(self.visibility, 8), CALLS)", "calls_within(held.min(1), self.latency.slow(), part(self.visibility, 8), CALLS)"),
    ("sixteen-hand-backs-whatever-waits", "settle.rs", "if calls.len() < calls_for(entries.len(), CALLS) => entry,", "if calls.len() < calls_for(0, CALLS) => entry,"),
    ("keep-the-same-reserve-whatever-is-held", "drain.rs", "needed.min(part(self.grace, 2)).max(self.reserve())", "needed.min(self.reserve()).max(self.reserve())"),
    ("do-not-notice-a-suspension", "clock.rs", "*noticed = suspended;", "*noticed = noticed.min(suspended);"),
    ("keep-the-old-receive-count", "lease.rs", "entry.receive_count = entry.receive_count.max(delivery.receive_count);", ""),
    ("receive-what-a-hidden-head-blocks", "worker.rs", "place.hidden_until(id, until);", "let _ = place;"),
    ("no-order-without-attributes", "facts.rs", "self.known.fifo || ", ""),
    ("ask-for-attributes-once", "mod.rs", "services.spawn(facts::ask_again(", "drop(facts::ask_again("),
    ("lose-what-panics", "worker.rs", "if self.lease.is_lost() { self.interrupted() } else { self.give_up(None).await }", "Settlement::Interrupted"),
    ("believe-any-delay", "../handler.rs", "Some(delay.min(MAX_VISIBILITY))", "Some(delay)"),
    ("no-order-in-a-group", "mod.rs", "group.filter(|_| task == Task::Work)", "group.filter(|_| false)"),
    ("let-the-rest-overtake", "worker.rs", "place.hand_back_the_rest();\n        }\n        // Where", "let _ = place;\n        }\n        // Where"),
    ("spend-receives-in-an-outage", "worker.rs", "if verdict == Verdict::Leave {", "if verdict == Verdict::Leave || opened {"),
    ("receive-in-an-outage", "breaker.rs", "Some(_) => return (Allowance::Nothing, held),", "Some(_) => {}"),
    ("hold-everybody-up-for-three", "breaker.rs", "Some(open) if route.held < ENOUGH + open.failed =>", "Some(open) if route.held + open.failed * 0 < ENOUGH =>"),
    ("forget-to-release", "worker.rs", "match self.engine.settler.let_go(&self.lease, delay).await {", "match self.held_nothing() {"),
    ("forget-a-success", "worker.rs", "engine.recent.handled(self.lease.message_id(), engine.settings.wall_clock).await", "Ok::<(), std::io::Error>(())"),
    ("no-back-off", "poller.rs", "self.not_before = self.not_before.max(Instant::now() + pause);", ""),
    ("wait-for-ever-on-a-hung-poll", "poller.rs", "const HUNG_AFTER: Duration = Duration::from_secs(10);", "const HUNG_AFTER: Duration = Duration::from_secs(100_000);"),
    ("drain-without-end", "drain.rs", "self.at.get().map(|begun| later(*begun, self.grace))", "self.at.get().map(|begun| later(*begun, self.grace * 100))"),
]
# What a mutation needs beside its own words.
ADDED = {"forget-to-release": ("worker.rs", "    fn is_last_receive(&self)", "    fn held_nothing(&self) -> bool {\n        true\n    }\n\n    fn is_last_receive(&self)")}


def replace(file, old, new):
    path = TREE / "src" / "consumer" / file
    text = path.read_text()
    if old not in text:
        return False
    path.write_text(text.replace(old, new, 1))
    return True


def fresh_tree():
    shutil.rmtree(TREE, ignore_errors=True)
    TREE.mkdir(parents=True)
    for name in ("Cargo.toml", "Cargo.lock"):
        shutil.copy2(ROOT / name, TREE / name)
    for name in ("src", "tests"):
        shutil.copytree(ROOT / name, TREE / name)


def cargo(*arguments, limit=None):
    environment = {**os.environ, "CARGO_TARGET_DIR": str(WORK / "target"), "STREAM_SQSD_SEEDS": SEEDS}
    command = ["cargo", "test", "--no-default-features", "--test", "simulation", *arguments]
    # In a group of its own: what does not end is the test that cargo started, and it must not go on behind our back.
    child = subprocess.Popen(
        command, cwd=TREE, env=environment, text=True, start_new_session=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )
    try:
        stdout, stderr = child.communicate(timeout=limit)
    except BaseException:
        os.killpg(child.pid, signal.SIGKILL)
        child.communicate()
        raise
    return subprocess.CompletedProcess(command, child.returncode, stdout, stderr)


def attempt(name, file, old, new):
    """None when the mutation is caught, otherwise what is wrong; and how it was caught."""
    fresh_tree()
    if not replace(file, old, new) or (name in ADDED and not replace(*ADDED[name])):
        return "its words are no longer in the source", ""
    built = cargo("--no-run")
    if built.returncode != 0:
        return "it does not compile:\n" + built.stderr[-2000:], ""
    try:
        ran = cargo(limit=LIMIT)
    except subprocess.TimeoutExpired:
        return None, "it does not end"
    if ran.returncode == 0:
        return "it SURVIVES", ""
    said = re.search(r"^seed \d+: .*|^test .* FAILED$", ran.stdout + ran.stderr, re.MULTILINE)
    return None, said.group(0)[:150] if said else "a panic"


def main():
    names = sys.argv[1:]
    unknown = set(names) - {mutation[0] for mutation in MUTATIONS}
    if unknown:
        sys.exit(f"no such mutation: {', '.join(sorted(unknown))}")
    chosen = [mutation for mutation in MUTATIONS if not names or mutation[0] in names]
    wrong = 0
    for mutation in chosen:
        fault, how = attempt(*mutation)
        wrong += fault is not None
        print(f"{mutation[0]}: {fault or 'caught: ' + how}", flush=True)
    print(f"{len(chosen) - wrong} of {len(chosen)} mutations are caught")
    sys.exit(wrong > 0)


main()
