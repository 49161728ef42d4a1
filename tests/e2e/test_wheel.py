"""`make dist` builds a wheel that has all of Promoter, and that works where the checkout is not."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
PACKED = ("policies", "registry.yaml", "schemas")
NEEDED = ("Makefile", "LICENSE", "README.md", "pyproject.toml", "requirements", "promoter", *PACKED)


@pytest.mark.slow
def test_the_wheel_has_everything(tmp_path: Path) -> None:
    """Every file of the package and of the demo is in it; the command runs from it alone, and checks files."""
    checkout = tmp_path / "checkout"
    for name in NEEDED:
        source = PROJECT / name
        if source.is_dir():
            shutil.copytree(source, checkout / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            checkout.mkdir(exist_ok=True)
            shutil.copy(source, checkout / name)
    built = subprocess.run(
        ["make", "dist", f"PYTHON={sys.executable}"], cwd=checkout, capture_output=True, text=True, check=False
    )
    assert built.returncode == 0, built.stderr
    (wheel,) = (checkout / "dist").glob("*.whl")
    assert built.stdout == f"dist/{wheel.name}\n"
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if name.startswith("promoter/")}
        archive.extractall(tmp_path / "installed")
    expected = {str(path.relative_to(checkout)) for path in (checkout / "promoter").rglob("*") if path.is_file()}
    paths = [path for name in PACKED for path in (checkout / name, *(checkout / name).rglob("*")) if path.is_file()]
    expected |= {f"promoter/demo/repository/{path.relative_to(checkout)}" for path in paths}
    assert packed == expected
    repository = tmp_path / "repository"
    shutil.copytree(PROJECT / "policies", repository / "policies")
    shutil.copy(PROJECT / "registry.yaml", repository)
    script = "import sys; sys.path.insert(0, sys.argv.pop(1)); from promoter.__main__ import main; main()"
    words = [sys.executable, "-P", "-c", script, str(tmp_path / "installed"), "validate"]
    done = subprocess.run(words, cwd=repository, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("valid: ")
