"""Each package imports only those named before it (CONTRIBUTING.md)."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import pixpnet

LAYERS = [
    {"errors", "types", "log", "modes", "seeds", "folders"},
    {"synthbirds"},
    {"config"},
    {"receptive_fields"},
    {"backbones"},
    {"prototypes", "losses"},
    {"projection", "pixel_space", "metrics"},
    {"data"},
    {"training"},
    {"figures"},
    {"explanation", "certificate", "goldilocks"},
    {"evaluation"},
    {"report"},
    {"cli"},
]
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}
ROOT = Path(pixpnet.__file__).parent


def _imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("pixpnet."):
            found.add(node.module.split(".")[1])
        elif isinstance(node, ast.Import):
            found |= {name.name.split(".")[1] for name in node.names if name.name.startswith("pixpnet.")}
    return found


@pytest.mark.parametrize("path", sorted(ROOT.rglob("*.py")), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_downwards(path):
    own = path.relative_to(ROOT).parts[0].removesuffix(".py")
    if own in {"__init__", "__main__"}:
        return  # the package's own front doors name every layer
    assert own in LEVEL, f"{own} has no layer"
    too_high = {name for name in _imports(path) if LEVEL[name] > LEVEL[own]}
    assert not too_high


def test_contributing_lists_the_same_layers():
    text = (Path(__file__).parents[1] / "CONTRIBUTING.md").read_text(encoding="utf-8")
    (listed,) = re.findall(r"Each package imports only earlier ones: (.+?)\. `", text, flags=re.DOTALL)
    assert [set(re.findall(r"\w+", layer)) for layer in listed.split("→")] == LAYERS


def test_importing_pixpnet_does_not_load_torch():
    code = "import pixpnet, sys; print('torch' in sys.modules, pixpnet.PixPNetError.__name__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "PixPNetError"]


def test_every_public_name_exists():
    for name in pixpnet.__all__:
        assert getattr(pixpnet, name).__name__ == name
    with pytest.raises(AttributeError, match="nothing"):
        pixpnet.nothing  # noqa: B018
