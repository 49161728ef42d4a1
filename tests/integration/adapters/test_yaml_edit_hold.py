"""Edits that bring a hold and a quarantine along: all in one go, and every other byte stays."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promoter.adapters.yaml import YamlDocuments, edit
from promoter.adapters.yaml.splice import TextSplice
from promoter.domain.desired import Hold
from promoter.domain.errors import Faults
from promoter.domain.proposal import RegistryEdit
from tests.support.profiles import examples

HEAD = "version: 1\nmodels:\n"
MODEL = HEAD + "  fraud:\n    aliases:\n"
HOLD = Hold(reason="bad", by="Promoter")
TOLD = "{reason: bad, by: Promoter}"
DAY = datetime(2026, 12, 1, tzinfo=UTC)
BLOCK = """\
      champion:
        version: 8 # now
        rotation: commit # how

      # next
      shadow: 1
"""
BLOCK_EDITED = f"""\
      champion:
        version: 7 # now
        rotation: commit # how
        hold: {TOLD}
        quarantine: [8]

      # next
      shadow: 1
"""
COMMENTED = """\
      champion:
        hold: # why
          # since
          reason: |
            long
          by: é # who

        quarantine:
        - 3 # three
        # four
        - 4 # four
        # end
        version: 8
"""
COMMENTED_EDITED = """\
      champion:
        hold: # why
          # since
          reason: bad
          by: Promoter # who

        quarantine:
        - 3 # three
        # four
        - 4 # four
        - 8
        # end
        version: 7
"""
INDENTED = """\
      champion:
        quarantine:
           - 3
           - 4
        hold:
"""
INDENTED_EDITED = f"""\
      champion:
        version: 7
        quarantine:
           - 3
           - 4
           - 8
        hold: {TOLD}
"""


def edited(text: str, edit: RegistryEdit) -> str:
    """The text after the edit."""
    return YamlDocuments().edit_registry_file(text.encode(), edit).decode()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("      champion: 8 # c\n", f"      champion: {{version: 7, hold: {TOLD}, quarantine: [8]}} # c\n"),
        ("      champion: absent\n", f"      champion: {{version: 7, hold: {TOLD}, quarantine: [8]}}\n"),
        (
            "      champion: {version: 8, policy: p}\n",
            f"      champion: {{version: 7, policy: p, hold: {TOLD}, quarantine: [8]}}\n",
        ),
        ("      champion: {}\n", f"      champion: {{version: 7, hold: {TOLD}, quarantine: [8]}}\n"),
        (
            "      champion: {policy: p, hold: {by: é, reason: x}, quarantine: [3, 4,],}\n",
            f"      champion: {{version: 7, policy: p, hold: {TOLD}, quarantine: [3, 4, 8,],}}\n",
        ),
        (BLOCK, BLOCK_EDITED),
        (COMMENTED, COMMENTED_EDITED),
        (INDENTED, INDENTED_EDITED),
        (
            "      champion: {version: 7, quarantine: [ ], hold: ~}\n",
            f"      champion: {{version: 7, quarantine: [8 ], hold: {TOLD}}}\n",
        ),
        (
            "      champion: {version: 7, quarantine: [8, 3], hold: {by: me, reason: x}}\n",
            f"      champion: {{version: 7, quarantine: [8, 3], hold: {TOLD}}}\n",
        ),
        ("      shadow: 1\n", f"      shadow: 1\n      champion: {{version: 7, hold: {TOLD}, quarantine: [8]}}\n"),
    ],
)
def test_version_hold_and_quarantine_in_one_go(old: str, new: str) -> None:
    """Whatever is there and is not, with Unix and with Windows line ends, with and without a mark; and then nothing more."""
    edit = RegistryEdit("fraud", "champion", 7, HOLD, (8,))
    assert edited(MODEL + old, edit) == MODEL + new
    assert edited((MODEL + old).replace("\n", "\r\n"), edit) == (MODEL + new).replace("\n", "\r\n")
    assert edited("\ufeff" + MODEL + old, edit) == "\ufeff" + MODEL + new
    assert edited(MODEL + new, edit) == MODEL + new


@pytest.mark.parametrize(
    ("text", "edit", "new"),
    [
        (
            "{}",
            RegistryEdit("fraud", "champion", 7, HOLD),
            f"\n  fraud:\n    aliases:\n      champion: {{version: 7, hold: {TOLD}}}",
        ),
        (
            "{fraud: {}}",
            RegistryEdit("fraud", "champion", 7, HOLD),
            f"{{fraud: {{aliases: {{champion: {{version: 7, hold: {TOLD}}}}}}}}}",
        ),
        (
            "{fraud: {aliases: {champion: 8}}}",
            RegistryEdit("fraud", "champion", 7, None, (8, 9, 8)),
            "{fraud: {aliases: {champion: {version: 7, quarantine: [8, 9]}}}}",
        ),
        (
            "{fraud: {aliases: {champion: 8}}}",
            RegistryEdit("fraud", "champion", 8, Hold(reason="r", by="b", until=DAY + timedelta(microseconds=1))),
            "{fraud: {aliases: {champion: {version: 8, hold: {reason: r, by: b, until: 2026-12-01T00:00:00.000001Z}}}}}",
        ),
        (
            "{fraud: {aliases: {champion: 8}}}",
            RegistryEdit("fraud", "champion", 8, Hold(reason="r", by="b", until=DAY.astimezone(timezone(-timedelta(hours=3))))),
            "{fraud: {aliases: {champion: {version: 8, hold: {reason: r, by: b, until: 2026-11-30T21:00:00-03:00}}}}}",
        ),
        (
            "{fraud: {aliases: {champion: {version: 8, hold: {by: b, reason: r, until: 2026-12-01T01:00:00+01:00}}}}}",
            RegistryEdit("fraud", "champion", 8, Hold(reason="r", by="b", until=DAY)),
            "{fraud: {aliases: {champion: {version: 8, hold: {by: b, reason: r, until: 2026-12-01T01:00:00+01:00}}}}}",
        ),
        (
            "{fraud: {aliases: {champion: {version: 8, hold: {by: b, reason: r, until: ~}}}}}",
            RegistryEdit("fraud", "champion", 8, Hold(reason="r", by="b")),
            "{fraud: {aliases: {champion: {version: 8, hold: {by: b, reason: r, until: ~}}}}}",
        ),
        (
            "{fraud: {aliases: {champion: {version: +8, quarantine: [+9]}}}}",
            RegistryEdit("fraud", "champion", 8, None, (9,)),
            "{fraud: {aliases: {champion: {version: +8, quarantine: [+9]}}}}",
        ),
        (
            "{fraud: {aliases: {champion: {version: }}}}",
            RegistryEdit("fraud", "champion", 8),
            "{fraud: {aliases: {champion: {version: 8}}}}",
        ),
    ],
)
def test_only_what_differs_is_written(text: str, edit: RegistryEdit, new: str) -> None:
    """A hold that says the same, and versions that are in quarantine, stay as they are."""
    assert edited(f"version: 1\nmodels: {text}\n", edit) == f"version: 1\nmodels:{'' if new[0] == chr(10) else ' '}{new}\n"


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("      champion: {version: 8, hold: &h {by: b, reason: r}}\n", "5:36: fraud@champion is shared through an anchor"),
        ("      champion: {version: 8, quarantine: &q [3]}\n", "5:42: fraud@champion is shared through an anchor"),
        ("      x: {quarantine: &q [3]}\n      champion: {version: 8, quarantine: *q}\n", "6:42: fraud@champion is shared"),
        ("      champion: &c {version: 8}\n", "5:17: fraud@champion is shared through an anchor"),
        (
            "      champion:\n        ? hold\n        : reason: r\n          by: b\n        ? version\n        : 8\n",
            "10:11: fraud@champion cannot be changed without changing something else",
        ),
    ],
)
def test_what_cannot_be_changed_alone_is_refused(text: str, fault: str) -> None:
    """Shared values, and ways of writing that leave no place: a person edits them."""
    with pytest.raises(Faults) as caught:
        edited(MODEL + text, RegistryEdit("fraud", "champion", 7, HOLD, (8,)))
    (printed,) = (str(found) for found in caught.value.faults)
    assert printed.startswith(f"registry.yaml:{fault}")
    assert printed.endswith("(edit the file by hand)")


def test_what_comes_out_otherwise_than_meant_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The result is read again: a wrong span would be seen before anything is committed."""
    monkeypatch.setattr(edit, "replace_scalar", lambda _text, node, _value: TextSplice(node.start, node.end, "6"))
    with pytest.raises(Faults, match="5:17: fraud@champion cannot be changed without changing something else"):
        edited(MODEL + "      champion: 8\n", RegistryEdit("fraud", "champion", 7))


def test_an_edit_is_no_way_to_write_what_the_file_may_not_say() -> None:
    """Numbers that are no versions are refused, whatever asks for them."""
    for wrong in (
        RegistryEdit("fraud", "champion", 7, None, (0,)),
        RegistryEdit("fraud", "champion", 7, None, tuple(range(1, 10_002))),
    ):
        with pytest.raises(Faults, match="cannot be changed without changing something else"):
            edited(MODEL + "      champion: 8\n", wrong)


RELEASED = RegistryEdit("fraud", "champion", None, release=True)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("{version: 8, hold: {reason: x, by: y}, policy: p}  # c", "{version: 8, policy: p}  # c"),
        ("{version: 8, hold: {reason: x, by: y} }", "{version: 8 }"),
        ("{version: 8, hold: {reason: x, by: y},}", "{version: 8, }"),
        ("{ hold: {reason: x, by: y} , version: 8}", "{ version: 8}"),
        ("{hold: {reason: x, by: y}}", "{}"),
        ("{hold: {reason: x, by: y}, quarantine: [9]}", "{quarantine: [9]}"),
        (
            "{version: 8, # a, b\n        hold: {reason: x, # i\n         by: y}, # w\n        policy: p}",
            "{version: 8, # a, b\n        # i\n        # w\n        policy: p}",
        ),
        ("{version: 8, # a, b\n        hold: {reason: x, by: y}}", "{version: 8, # a, b\n        }"),
        ("\n        version: 8\n        # why\n        hold: {reason: x, by: y}", "\n        version: 8\n        # why"),
        ("\n        hold: {reason: x, by: y}\n\n        version: 8", "\n\n        version: 8"),
        (" # k\n        hold: {reason: x, by: y} # t", " # k\n        {}\n        # t"),
        (
            (
                "\n        version: 8\n        'hold': # why\n          reason: |- # x\n            long # no\n\n"
                "            # no\n          by: '# no' # who\n          # end\n        rotation: commit"
            ),
            "\n        version: 8\n        # why\n        # x\n        # who\n          # end\n        rotation: commit",
        ),
        ("\n        ? hold\n        : {reason: x, by: y}\n        ? version\n        : 8", "\n        ? version\n        : 8"),
        ("8", "8"),
        ("absent", "absent"),
        ("{version: 8, hold: null}", "{version: 8, hold: null}"),
    ],
)
def test_a_release_takes_the_hold_away(old: str, new: str) -> None:
    """In every style, with what people wrote beside it; where nothing holds the alias, nothing changes."""
    before, after = (f"{MODEL}      champion: {each}\n      shadow: 1".replace(":  #", ": #") for each in (old, new))
    assert edited(before, RELEASED) == after
    assert edited(before.replace("\n", "\r\n"), RELEASED) == after.replace("\n", "\r\n")
    assert edited("\ufeff" + before + "\n", RELEASED) == "\ufeff" + after + "\n"
    assert edited(after, RELEASED) == after


def test_a_hold_at_the_end_of_a_file_without_a_line_break_goes_with_its_line() -> None:
    """The line break before it goes, so that the file still has none at its end."""
    held = MODEL + "      champion:\n        version: 8\n        hold: {reason: x, by: y}"
    assert edited(held, RELEASED) == MODEL + "      champion:\n        version: 8"
    assert edited(held.replace("\n", "\r\n"), RELEASED) == (MODEL + "      champion:\n        version: 8").replace("\n", "\r\n")


def test_a_release_and_a_version_in_one_go() -> None:
    """The quarantine stays, and may grow; a new hold goes before a release."""
    old = MODEL + "      champion:\n        version: 8\n        hold: {reason: x, by: y}\n        quarantine: [3]\n"
    new = MODEL + "      champion:\n        version: 7\n        quarantine: [3, 8]\n"
    assert edited(old, RegistryEdit("fraud", "champion", 7, None, (8,), release=True)) == new
    held = edited(old, RegistryEdit("fraud", "champion", 8, HOLD, release=True))
    assert (
        YamlDocuments()
        .parse_declaration({"registry.yaml": held.encode()}, None)
        .desired.listed["fraud"]
        .aliases["champion"]
        .hold
        == HOLD
    )


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (
            "defaults: {aliases: {champion: {hold: {by: b, reason: r}}}}\nmodels: {fraud: {aliases: {champion: 8}}}\n",
            (
                "2:39: fraud@champion is held by `defaults`, with every alias that shares this hold "
                "(take it out here, or write `hold: null` at the alias)"
            ),
        ),
        (
            (
                "families: [{match: x*}, {match: f*, aliases: {champion: {hold: {by: b, reason: r}}}}]\n"
                "models: {fraud: {aliases: {champion: {version: 8, hold: {by: me, reason: mine}}}}}\n"
            ),
            (
                "2:64: fraud@champion is held by `families`, with every alias that shares this hold "
                "(take it out here, or write `hold: null` at the alias)"
            ),
        ),
        (
            "models: {fraud: {aliases: {champion: {hold: &h {by: b, reason: r}}, x: {hold: *h}}}}\n",
            "2:45: fraud@champion is shared through an anchor (`&` or `*`) (edit the file by hand)",
        ),
        (
            "models: {fraud: {aliases: {champion: &c {hold: {by: b, reason: r}}, x: *c}}}\n",
            "2:38: fraud@champion is shared through an anchor (`&` or `*`) (edit the file by hand)",
        ),
        (
            "models: {fraud: {aliases: {champion: {hold: {by: &b b, reason: r}}, x: {hold: {by: *b, reason: r}}}}}\n",
            "2:45: fraud@champion cannot be released without changing something else (edit the file by hand)",
        ),
    ],
)
def test_a_hold_that_is_shared_is_not_released(text: str, fault: str) -> None:
    """It says where the hold stands: taken away there, it would be gone for others too."""
    with pytest.raises(Faults) as caught:
        edited("version: 1\n" + text, RELEASED)
    assert [str(found) for found in caught.value.faults] == [f"registry.yaml:{fault}"]


def test_an_empty_hold_of_its_own_frees_an_alias_of_a_shared_one() -> None:
    """As the refusal says; then there is nothing to release, and nothing changes."""
    text = "version: 1\ndefaults: {aliases: {champion: {hold: {by: b, reason: r}}}}\n"
    text += "models: {fraud: {aliases: {champion: {version: 8, hold: null}}}}\n"
    assert edited(text, RELEASED) == text
    assert (
        YamlDocuments()
        .parse_declaration({"registry.yaml": text.encode()}, None)
        .desired.listed["fraud"]
        .aliases["champion"]
        .hold
        is None
    )


def test_an_edit_without_a_version_leaves_it() -> None:
    """A quarantine can grow by itself; what must not exist has none."""
    grow = RegistryEdit("fraud", "champion", None, None, (9,))
    assert edited(MODEL + "      champion: 8\n", grow) == MODEL + "      champion: {version: 8, quarantine: [9]}\n"
    assert edited(MODEL + "      champion: {rotation: commit}\n", grow).endswith("{rotation: commit, quarantine: [9]}\n")
    assert edited(MODEL + "      shadow: 8\n", grow).endswith("      champion: {quarantine: [9]}\n")
    with pytest.raises(Faults, match="5:17: fraud@champion is `absent`, and has neither a hold nor a quarantine"):
        edited(MODEL + "      champion: absent\n", grow)


REASONS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40).flatmap(
    lambda text: st.sampled_from([text, (text * 1_000)[:1_000]])
)


@examples(150)
@given(
    REASONS,
    REASONS.map(lambda text: text[:200]),
    st.sampled_from(["champion: 8", "champion:\n        version: 8", "champion: {}"]),
)
def test_any_reason_is_read_back_as_it_was(reason: str, by: str, old: str) -> None:
    """Quotes, braces, control characters, line breaks, emoji, a thousand of them: one scalar in one line."""
    hold = Hold(reason=reason, by=by)
    result = edited(f"{MODEL}      {old}\n      # end\n", RegistryEdit("fraud", "champion", 7, hold))
    alias = (
        YamlDocuments().parse_declaration({"registry.yaml": result.encode()}, None).desired.listed["fraud"].aliases["champion"]
    )
    assert alias.hold == hold
    assert len(result.splitlines(keepends=False)) <= len(f"{MODEL}{old}".split("\n")) + 2


LIFTED = RegistryEdit("fraud", "champion", None, lifted=9)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("{version: 8, quarantine: [9], policy: p}  # c", "{version: 8, policy: p}  # c"),
        ("{version: 8, quarantine: [3, 9, 4] }", "{version: 8, quarantine: [3, 4] }"),
        ("{version: 8, quarantine: [9, 4]}", "{version: 8, quarantine: [4]}"),
        ("{version: 8, quarantine: [ 4 , 9 ]}", "{version: 8, quarantine: [ 4 ]}"),
        ("{version: 8, quarantine: [4, 9,]}", "{version: 8, quarantine: [4, ]}"),
        ("{version: 8, quarantine: [9, 4, 9]}", "{version: 8, quarantine: [4]}"),
        ("{quarantine: [9]}", "{}"),
        (
            "\n        version: 8 # v\n        quarantine: # b\n        - 4\n        # why\n        - 9 # nine\n        - 5",
            "\n        version: 8 # v\n        quarantine: # b\n        - 4\n        # why\n        # nine\n        - 5",
        ),
        (
            "\n        quarantine:\n          -   9\n          -   4\n        version: 8",
            "\n        quarantine:\n          -   4\n        version: 8",
        ),
        ("\n        version: 8\n        quarantine:\n          - 9 # leaked", "\n        version: 8\n        # leaked"),
        ("{version: 8, quarantine: [4]}", "{version: 8, quarantine: [4]}"),
        ("8", "8"),
        ("absent", "absent"),
    ],
)
def test_a_version_leaves_the_quarantine(old: str, new: str) -> None:
    """In every style, with what people wrote beside it, and however often it stands there; where it is not, nothing changes."""
    before, after = (f"{MODEL}      champion: {each}\n      shadow: 1".replace(":  #", ": #") for each in (old, new))
    assert edited(before, LIFTED) == after
    assert edited(before.replace("\n", "\r\n"), LIFTED) == after.replace("\n", "\r\n")
    assert edited(after, LIFTED) == after


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("      champion: {version: 8, quarantine: &q [9]}\n", "5:42: fraud@champion is shared through an anchor"),
        ("      x: {quarantine: &q [9]}\n      champion: {version: 8, quarantine: *q}\n", "6:42: fraud@champion is shared"),
        ("      champion: &c {version: 8, quarantine: [9]}\n", "5:17: fraud@champion is shared through an anchor"),
    ],
)
def test_a_quarantine_that_cannot_be_changed_alone_is_refused(text: str, fault: str) -> None:
    """Shared lists, and ways of writing that leave no place: a person edits them."""
    with pytest.raises(Faults) as caught:
        edited(MODEL + text, LIFTED)
    (printed,) = (str(found) for found in caught.value.faults)
    assert printed.startswith(f"registry.yaml:{fault}")
