"""Files with faults: all of them are told at once, each where it stands and in words that help."""

from __future__ import annotations

from pathlib import Path

import pytest

from promoter.adapters.yaml import YamlDocuments
from promoter.domain.errors import Faults
from promoter.domain.policy.rules import RULES

SAMPLES = Path(__file__).parent / "yaml_samples"
POLICY = b"version: 1\nrules: [{run: {status: FINISHED}}]\n"
DECIMAL = "write a number in plain decimal digits, or quote it if it is text"
NEVER = "this never means that everything is to be deleted; `promoter init` writes one"


def told(sources: dict[str, bytes]) -> list[str]:
    """The faults, as they are printed."""
    with pytest.raises(Faults) as caught:
        YamlDocuments().parse_declaration(sources, None)
    return [str(fault) for fault in caught.value.faults]


def registry(text: str | bytes) -> list[str]:
    """The faults of a `registry.yaml`, without its name."""
    content = text if isinstance(text, bytes) else text.encode()
    return [line.removeprefix("registry.yaml:") for line in told({"registry.yaml": content})]


def test_every_fault_of_every_file_is_told_at_once() -> None:
    """A registry and policies with everything wrong that there is: the whole output, compared."""
    root = SAMPLES / "messy"
    sources = {file.relative_to(root).as_posix(): file.read_bytes() for file in root.rglob("*") if file.is_file()}
    kinds = ", ".join(f"`{rule.kind}`" for rule in RULES)
    expected = (SAMPLES / "messy.txt").read_text(encoding="utf-8").replace("{kinds}", kinds)
    assert told(sources) == expected.splitlines()


def test_no_word_of_the_libraries_reaches_a_person() -> None:
    """The printed faults have none of pydantic's and libyaml's phrases, and no address."""
    printed = (SAMPLES / "messy.txt").read_text(encoding="utf-8")
    for phrase in ("Input should", "Value error", "Field required", "Extra inputs", "while parsing", "expected '", "http"):
        assert phrase not in printed


@pytest.mark.parametrize("text", ["", "   \n", "# only a comment\n", "---\n", "--- ~\n"])
def test_an_empty_registry_never_means_delete_all(text: str) -> None:
    """Nothing in the file is a fault, and so is no file."""
    assert registry(text) == [f"1:1: the file is empty ({NEVER})"]
    assert told({"policies/champion.yaml": POLICY}) == [f"registry.yaml: the file is missing ({NEVER})"]


@pytest.mark.parametrize(
    ("text", "faults"),
    [
        ("- 1\n", ["1:1: the file is not a mapping of keys such as `version: 1`"]),
        (
            "version: 1\nmodels:\n",
            ["2:8: `models` must be a mapping, and there is nothing (write `{}` if there is nothing to say)"],
        ),
        (
            "version: 1\nmodels: {}\n---\nversion: 1\n",
            ["3:1: a second document (a file holds one: take `---` and what follows out)"],
        ),
        (b"version: 1\nmodels: {caf\xe9: {}}\n", ["2:13: not UTF-8 text (save the file as UTF-8)"]),
        (
            "version: 1\nmodels: {a\x07b: {}, \u202ec: {}}\n",
            [
                "2:11: invisible or control character U+0007 (take it out, or escape it in double quotes)",
                "2:19: invisible or control character U+202E (take it out, or escape it in double quotes)",
            ],
        ),
        ("\ufeffversion: 2\nmodels: {}\n", ["1:10: `version` must be `1`"]),
        ("\ufeffversion: 1\r\nmodels: {é: 7}\r\n", ["2:13: `é` must be a mapping, and YAML reads `7` as a number"]),
        ("version: 1\nversion: 1\nmodels: {}\n", ["2:1: duplicate key `version`: the first is in line 1"]),
        ("version: 1\nmodels: {'1': {}, \"1\": {}}\n", ["2:19: duplicate key `1`: the first is in line 2"]),
        (
            "version: 1\nmodels: {1: {}, 0x1: {}, '1': {}, ~: {}}\n",
            [
                '2:10: a key is text, and YAML reads `1` as a number (quote it: "1")',
                f"2:17: readers of YAML disagree about what `0x1` is ({DECIMAL})",
                "2:26: duplicate key `1`: the first is in line 2",
                '2:35: a key is text, and YAML reads `~` as nothing (quote it: "~")',
            ],
        ),
        (
            "version: !!int 1\nmodels: !!python/object:os.system {a: !foo {}}\n",
            [
                f"{place}: tags are not allowed (take it out, or quote the value if it is text)"
                for place in ("1:10", "2:9", "2:39")
            ],
        ),
        (
            "version: 1\nmodels:\n  a: &a {aliases: {x: 1}}\n  b: {<<: *a}\n",
            ["4:7: merge keys (`<<`) are not allowed (use `defaults` or `families`)"],
        ),
        ("version: 1\nmodels: &m {a: *m}\n", ["2:16: `*m` stands inside what it stands for"]),
        ("version: 1\nmodels: {a: *m}\n", ["2:13: `*m` has no `&m` above it"]),
        ("version: 1\nmodels: {a: &m {}, b: &m {}}\n", ["2:23: `&m` is given twice"]),
        (
            "version: 1\nmodels: {a: {aliases: {b: {hold: {reason: r, by: b, until: 2026-02-30}}}}}\n",
            ["2:60: `2026-02-30` is not a time that exists (write one like 2026-12-01T00:00:00Z, or quote it if it is text)"],
        ),
    ],
)
def test_a_registry_that_is_not_what_it_seems(text: str | bytes, faults: list[str]) -> None:
    """What YAML lets through, or reads in ways that nobody means, is refused where it stands."""
    assert registry(text) == faults


@pytest.mark.parametrize("bound", ["0.99999999999999999", "0.1000000000000000001", "1e-9999", "1.0e-99999999999999999999"])
def test_a_number_is_what_it_reads(bound: str) -> None:
    """Digits that a double cannot hold would be rounded to another bound."""
    policy = f"version: 1\nrules: [{{metric: auc, at_least: {bound}}}]\n".encode()
    (fault,) = told({"registry.yaml": b"version: 1\nmodels: {}\n", "policies/p.yaml": policy})
    assert "has more digits than a number here can hold (write " in fault


@pytest.mark.parametrize("version", ["010", "0o17", "0x1F", "0b11", "1_000", "1:30", "089", "+0_1"])
def test_a_version_is_plain_decimal(version: str) -> None:
    """Octal, hexadecimal, sexagesimal and the like mean different versions to different readers."""
    assert registry(f"version: 1\nmodels: {{a: {{aliases: {{b: {version}}}}}}}\n") == [
        f"2:27: readers of YAML disagree about what `{version}` is ({DECIMAL})"
    ]


@pytest.mark.parametrize("version", ["0", "-1", "1.0", "1e1", "'8'", "true", "2147483648", "9" * 30, "9" * 5_000, "~", "[8]"])
def test_a_version_is_a_positive_integer(version: str) -> None:
    """Everything else is one fault, at the value, in both forms of an alias."""
    (long,) = (
        registry(f"version: 1\nmodels: {{a: {{aliases: {{b: {{version: {version}}}}}}}}}\n") if version != "~" else ["2:37:"]
    )
    (short,) = registry(f"version: 1\nmodels: {{a: {{aliases: {{b: {version}}}}}}}\n")
    assert long.startswith("2:37:")
    assert short.startswith("2:27:")


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("a: b: c\n", "1:5: a `:` where none can stand"),
        ("version 1\nmodels: {}\n", "2:7: a `:` where none can stand"),
        ("models:\n\ta: {}\n", "2:1: a tab as indentation"),
        ("models: {a: {}\n", "1:9: a bracket that is never closed"),
        ("models: {a: [1}\n", "1:15: `,` or `]` is missing before this: the bracket was opened in line 1"),
        ("models: 'a\n", "1:9: a quote that is never closed"),
        ("models: {}\n  x: 1\n", "2:3: this line does not belong to what is above it"),
        ("safety: {max_changes: %30}\n", "1:23: a value cannot begin with `%`"),
        ('version: "\\q"\n', "1:11: a `\\` escape that YAML does not know"),
        ("x: &\n", "1:5: `*` and `&` need a name"),
        ("a: ]\n", "1:4: no value can begin here"),
        ("a: 1\nb\n", "2:1: a key without `: ` after it"),
        ("a: 1\n&b ", "2:1: a key without `: ` after it"),
        ("a: 1\nb: *", "2:5: `*` and `&` need a name"),
    ],
)
def test_syntax_errors_are_told_in_plain_words(text: str, fault: str) -> None:
    """The place, what is wrong and what to do, not the state of a parser."""
    (printed,) = registry(text)
    assert printed.startswith(fault)
    assert printed.endswith(")")


def test_policies_that_only_look_as_if_they_were_in_force() -> None:
    """Another ending, a name that cannot be used, or names that differ only by case are told; other files are not ours."""
    sources = dict.fromkeys(("policies/a.yaml", "policies/A.yaml", "policies/a.yml", "policies/b.YAML"), POLICY)
    sources |= dict.fromkeys(("policies/ .yaml", "registry.yml"), POLICY)
    sources |= dict.fromkeys(("policies/a.md", "policies/tests/A.yaml", "docs/a.yml"), b"\x00")
    assert told({**sources, "registry.yaml": b"version: 1\nmodels: {}\n"}) == [
        "policies/ .yaml: ' ' is not a policy name: use letters, digits, `_`, `.` and `-` (rename the file)",
        "policies/a.yaml: its name differs from policies/A.yaml only by case or ending (rename or remove one of them)",
        "policies/a.yml: not read because of its ending (rename it to policies/a.yaml)",
        "policies/a.yml: its name differs from policies/a.yaml only by case or ending (rename or remove one of them)",
        "policies/b.YAML: not read because of its ending (rename it to policies/b.yaml)",
        "registry.yml: not read because of its ending (rename it to registry.yaml)",
        "registry.yml: its name differs from registry.yaml only by case or ending (rename or remove one of them)",
    ]


def test_a_policy_that_is_not_there() -> None:
    """Told at the name, in a registry that is valid otherwise; a policy with faults is there."""
    text = b"version: 1\ndefaults: {aliases: {x: {policy: chmpion}}}\nmodels: {a: {aliases: {x: {policy: champion}}}}\n"
    champion = POLICY.replace(b"FINISHED", b"DONE")
    assert told({"registry.yaml": text, "policies/champion.yaml": champion}) == [
        "policies/champion.yaml:2:24: `status` must be `FINISHED`, `RUNNING`, `SCHEDULED`, `FAILED` or `KILLED`",
        "registry.yaml:2:34: there is no policy `chmpion` (did you mean `champion`?)",
    ]


def test_what_holds_between_fields_is_told_beside_other_faults() -> None:
    """A rule that is impossible in its policy is told also where another rule, or the description, is wrong."""
    policy = b"version: 1\ndescription: 1\nrules:\n  - {tag: 1, present: true}\n  - {metric: a, beats: champion}\n"
    lines = told({"registry.yaml": b"version: 1\nmodels: {}\n", "policies/a.yaml": policy})
    assert [line.split(" ")[0] for line in lines] == ["policies/a.yaml:2:14:", "policies/a.yaml:4:11:", "policies/a.yaml:5:5:"]
    assert "which direction is better" in lines[-1]


def test_a_rule_beside_the_rules_of_a_policy() -> None:
    """The keys of a policy are no kinds of rules, whatever they are called."""
    faults = told({"registry.yaml": b"version: 1\nmodels: {}\n", "policies/champion.yaml": POLICY + b"metric: val_auc\n"})
    assert faults == ["policies/champion.yaml:3:1: unknown key `metric` (did you mean `metrics`?)"]
