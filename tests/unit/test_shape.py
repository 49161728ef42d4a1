"""The check of the code's shape: what is out of shape is named with its place, and what is not, is not."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from checks import shape

CLASSES = "class Twice:\n    pass\n\n\nclass Once:\n    class Nested: ...\n\n    class Nested2: ...\n"


def project(folder: Path, **modules: str) -> Path:
    """A project whose package has these modules; `__` in a name is a folder."""
    for name, text in modules.items():
        path = folder / "promoter" / f"{name.replace('__', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def problems(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> tuple[int, list[str]]:
    """The exit code, and each line that is printed."""
    monkeypatch.setattr(sys, "argv", ["shape.py", str(folder)])
    code = shape.main()
    return code, capsys.readouterr().out.splitlines()


def test_a_sound_tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """At the limits nothing is named; as many crumbs as are allowed are none too many, and a rule's kind is none."""
    body = "def long():\n" + "    pass\n" * (shape.FUNCTION_LINES - 1)
    crumbs = {f"c{number}": "X = 1\n" for number in range(shape.CRUMBS_ALLOWED)}
    kinds = {f"domain__policy__rules__k{number}": "X = 1\n" for number in range(3)}
    imports = [f"import promoter.{name.replace('__', '.')}\n" for name in (*crumbs, *kinds)]
    folder = project(
        tmp_path, a=body + "X = 1\n" * (shape.FILE_LINES - shape.FUNCTION_LINES), b="".join(imports), **crumbs, **kinds
    )
    assert problems(folder, monkeypatch, capsys) == (0, ["15 files are in shape."])


def test_each_fault_has_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A file and a function that are too long, and a class name in two files."""
    body = "class Short:\n    def long(self):\n" + "        pass\n" * shape.FUNCTION_LINES
    folder = project(tmp_path, a=body + "X = 1\n" * shape.FILE_LINES, b=CLASSES, c__d="X = 1\nclass Twice: ...\n")
    assert problems(folder, monkeypatch, capsys) == (
        1,
        [
            "promoter/a.py: 642 lines, at most 600: it holds more than one concept",
            "promoter/a.py:2: long has 41 lines, at most 40",
            "class Twice stands 2 times: promoter/b.py:1, promoter/c/d.py:2",
        ],
    )


def test_too_many_crumbs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """One more than are allowed names all of them, however they are imported; two importers make none."""
    crumbs = {f"c{number:02}": "X = 1\n" for number in range(shape.CRUMBS_ALLOWED + 1)}
    imports = "".join(f"from promoter.{name} import X\n" for name in list(crumbs)[1:]) + "from promoter import c00, both\n"
    folder = project(tmp_path, a=imports, both="X = 1\n", third="from promoter.both import X\n" + "X = 1\n" * 100, **crumbs)
    code, lines = problems(folder, monkeypatch, capsys)
    assert (code, len(lines)) == (1, 11)
    assert lines[0] == "promoter/c00.py: 1 lines that only promoter.a imports (11 such modules, at most 10)"
