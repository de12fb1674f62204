"""The structure of the code (contracts in pyproject.toml), and the package's front door."""

import ast
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import pixpnet

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "pixpnet"


def _lint(folder: Path) -> subprocess.CompletedProcess:
    # The folder's own source, whichever one is installed.
    code = """
import sys
from importlinter.cli import lint_imports_command
sys.path.insert(0, "src")
lint_imports_command(["--no-cache"])
"""
    return subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False
    )


def test_rooms_import_downwards_and_in_no_circle():
    done = _lint(ROOT)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("module", "line", "contract"),
    [
        ("metrics/parts.py", "import pixpnet.data", "A room imports only from the floors below it BROKEN"),
        ("files.py", "import pixpnet.choices", "A room imports only from the floors below it BROKEN"),
        ("metrics/intervals.py", "import pixpnet.metrics.running", "No two modules import each other"),
    ],
)
def test_one_more_import_is_seen(module, line, contract, tmp_path):
    shutil.copytree(ROOT / "src", tmp_path / "src")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    changed = tmp_path / "src" / "pixpnet" / module
    changed.write_text(f"{changed.read_text(encoding='utf-8')}\n{line}\n", encoding="utf-8")
    done = _lint(tmp_path)
    assert done.returncode == 1
    assert contract in " ".join(done.stdout.split())


def _deep_imports(folder: Path) -> list[str]:
    """Imports of a room's inner modules from outside of it; a room's ``__init__`` is its only face."""
    found = []
    for path in sorted(folder.rglob("*.py")):
        room = path.relative_to(SOURCE).parts[0] if path.is_relative_to(SOURCE) else None
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [name.name for name in node.names] if isinstance(node, ast.Import) else []
            for package, *inner in (name.split(".") for name in names):
                if package == "pixpnet" and len(inner) > 1 and inner[0] != room:
                    found.append(f"{path.relative_to(ROOT)}: {'.'.join(inner)}")
    return found


@pytest.mark.parametrize("folder", ["src", "notebooks", "benchmarks", "scripts"])
def test_rooms_are_entered_by_their_face(folder):
    assert _deep_imports(ROOT / folder) == []


def test_importing_pixpnet_does_not_load_torch():
    code = "import pixpnet, sys; print('torch' in sys.modules, pixpnet.PixPNetError.__name__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "PixPNetError"]


def test_every_public_name_exists():
    for name in pixpnet.__all__:
        assert getattr(pixpnet, name).__name__ == name
    with pytest.raises(AttributeError, match="nothing"):
        pixpnet.nothing  # noqa: B018
