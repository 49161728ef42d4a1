"""Coverage-guided fuzzing of the readers of `registry.yaml`, `policies/*.yaml` and `approvers.yaml`, with atheris (libFuzzer).

Atheris is no dependency of the project. Make an environment beside the project's own, which sees what that has:

    FUZZ=$(mktemp -d)
    python -m venv $FUZZ && $FUZZ/bin/pip install atheris
    PYTHONPATH=.:.venv/lib/python3.11/site-packages $FUZZ/bin/python benchmarks/fuzz.py policy -max_total_time=120

The first word says what is fuzzed: `registry` (read, and edited where it can be read), `policy` or `approvers`. What follows is
libFuzzer's: `-max_total_time` in seconds, `-rss_limit_mb`, `-timeout` in seconds for one input. The seeds are the project's
own files and those of its tests. An input counts as a finding where a reader raises anything, says that it was itself at a
loss, names no place in the file, calls a file both usable and faulty, or takes more than 10 seconds; it is then written to the
working directory as `crash-*` or `timeout-*`, and `python benchmarks/fuzz.py policy crash-...` reads it again.
At the end libFuzzer prints the number of executions and the peak memory. Two minutes each are enough for a look.
"""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["promoter", "yaml"]):
    from promoter.adapters.yaml import YamlDocuments, render_starter_policies, render_starter_registry
    from promoter.adapters.yaml.load import UNFORESEEN_MESSAGE, read_approvers_file, read_policy_file, read_registry_file
    from promoter.domain.desired import Hold
    from promoter.domain.errors import Fault, Faults
    from promoter.domain.proposal import RegistryEdit

ROOT = Path(__file__).parent.parent
SAMPLES = ROOT / "tests" / "integration" / "adapters" / "yaml_samples"
EDIT = RegistryEdit("fraud", "champion", 3, Hold(reason="r: '#", by="b"), (7, 9))
WHOLE_FILE = "larger than "
TIMEOUT = 10
WORDS = (
    *("version", "description", "enforcement", "audit", "candidates", "from", "rank", "metric", "order", "highest", "metrics"),
    *("source", "logged_model", "dataset", "rules", "guards", "any_of", "all_of", "not", "tag", "matches", "one_of", "equals"),
    *(
        "present",
        "true",
        "bound",
        "copied",
        "run",
        "status",
        "FINISHED",
        "params",
        "age",
        "soak",
        "alias",
        "at_least",
        "at_most",
    ),
    *("beats", "by", "confidence", "steps", "folds", "signature", "loads", "expression", "holders", "approval", "limits"),
    *(
        "cooldown",
        "max_per_day",
        "freeze",
        "cron",
        "duration",
        "timezone",
        "waivers",
        "model",
        "rule",
        "reason",
        "until",
        "every",
    ),
    *("models", "aliases", "defaults", "families", "match", "hold", "quarantine", "rotation", "commit", "absent", "policy"),
    *("approvers", "key", "groups", "ed25519:", "&a ", "*a", "<<: ", "!!", "? ", "- ", ": ", "{", "}", "[", "]", "|", ">-"),
    *(
        "24h",
        "1d12h",
        "999999999d",
        "0 18 * * FRI",
        "Europe/Berlin",
        "2026-12-01T00:00:00Z",
        ".nan",
        ".inf",
        "1e9",
        "{100}",
        "\\\\w",
        "(?x)",
    ),
)


def fuzz_registry(content: bytes) -> None:
    """Read; and where there is something to edit, edit."""
    reading = read_registry_file(content)
    _check(reading.faults, reading.desired, content)
    try:
        edited = YamlDocuments().edit_registry_file(content, EDIT)
    except Faults as caught:
        _check(caught.faults, None, content)
    else:
        _require(read_registry_file(edited).desired is not None, "an edited file cannot be read")


def fuzz_policy(content: bytes) -> None:
    """Read."""
    reading = read_policy_file("policies/a.yaml", "a", content)
    _check(reading.faults, reading.policy, content)


def fuzz_approvers(content: bytes) -> None:
    """Read."""
    reading = read_approvers_file(content)
    _check(reading.faults, reading.approvers, content)


TARGETS: dict[str, Callable[[bytes], None]] = {
    "registry": fuzz_registry,
    "policy": fuzz_policy,
    "approvers": fuzz_approvers,
}


def seeds(target: str) -> Iterator[bytes]:
    """Files of that kind, valid and not."""
    if target == "registry":
        yield render_starter_registry({"fraud": {"champion": 7}, "a b": {}}).encode()
    if target == "policy":
        yield from (text.encode() for text in render_starter_policies().values())
    pattern = {"registry": "registry.yaml", "policy": "*polic*/*.yaml", "approvers": "approvers.yaml"}[target]
    for folder in (ROOT, SAMPLES / "valid", SAMPLES / "messy"):
        yield from (file.read_bytes() for file in sorted(folder.glob(pattern)))
    if target == "policy":
        yield (SAMPLES / "valid" / "policy.yaml").read_bytes()


def _check(faults: tuple[Fault, ...], document: object, content: bytes) -> None:
    _require((document is None) == bool(faults), "a document with faults, or none without any")
    for fault in faults:
        _require(bool(fault.message) and bool(fault.file) and fault.message != UNFORESEEN_MESSAGE, f"no clean fault: {fault}")
        _require(_stands_in(fault, content), f"no place in the file: {fault}")


def _stands_in(fault: Fault, content: bytes) -> bool:
    if fault.line is None or fault.column is None:
        return fault.message.startswith(WHOLE_FILE)
    lines = re.split("\r\n|\r|\n", content.decode(errors="replace").removeprefix("\ufeff"))
    width = len(content) if fault.message == "not UTF-8 text" else len(lines[min(fault.line, len(lines)) - 1])
    return 1 <= fault.line <= len(lines) and 1 <= fault.column <= width + 1


def _require(held: bool, otherwise: str) -> None:
    if not held:
        raise AssertionError(otherwise)


def main() -> None:
    """Fuzz until libFuzzer has had enough."""
    if len(sys.argv) < 2 or sys.argv[1] not in TARGETS:
        raise SystemExit(f"python benchmarks/fuzz.py {'|'.join(TARGETS)} [-max_total_time=120]\n\n{__doc__}")
    target, options = sys.argv[1], sys.argv[2:]
    with tempfile.TemporaryDirectory(prefix="promoter-fuzz-") as folder:
        corpus = Path(folder) / "corpus"
        corpus.mkdir()
        for number, seed in enumerate(seeds(target)):
            (corpus / str(number)).write_bytes(seed)
        words = Path(folder) / "words"
        words.write_text("".join('"' + word.replace('"', '\\"') + '"\n' for word in WORDS), encoding="utf-8")
        again = any(not option.startswith("-") for option in options)
        fixed = [f"-timeout={TIMEOUT}", "-max_len=20000", "-len_control=0", f"-dict={words}", "-print_final_stats=1"]
        atheris.Setup([sys.argv[0], *fixed, *options, *([] if again else [str(corpus)])], TARGETS[target])
        atheris.Fuzz()


if __name__ == "__main__":
    main()
