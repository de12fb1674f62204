"""The structure of the code (contracts in pyproject.toml), and the package's front door."""

import ast
import os
import shutil
import subprocess
import sys
from importlib import import_module
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


COMMANDS = {"compare", "evaluate", "explain", "export", "fit", "predict", "serve", "train", "verify"}
"""Functions that a command is named like, which calls them."""


def test_a_name_stands_for_one_thing():
    places: dict[str, set[str]] = {}
    for path in SOURCE.rglob("*.py"):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, (ast.ClassDef, ast.FunctionDef)) and not node.name.startswith("_"):
                places.setdefault(node.name, set()).add(path.relative_to(SOURCE).as_posix())
    twice = {name: found for name, found in places.items() if len(found) > 1}
    assert set(twice) == COMMANDS, twice
    assert all(any(place.startswith("cli/") for place in found) for found in twice.values())


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
            if names and _is_room(names[0]):  # whose modules can be named like what its face has
                names = [
                    f"{node.module}.{name.name}" for name in node.names if _is_inner(node.module, name.name)
                ]
            names += [name.name for name in node.names] if isinstance(node, ast.Import) else []
            for package, *inner in (name.split(".") for name in names):
                if package == "pixpnet" and len(inner) > 1 and inner[0] != room:
                    found.append(f"{path.relative_to(ROOT)}: {'.'.join(inner)}")
    return found


def _is_room(module: str) -> bool:
    package, *inner = module.split(".")
    return package == "pixpnet" and len(inner) == 1 and (SOURCE / inner[0] / "__init__.py").is_file()


def _is_inner(room: str, name: str) -> bool:
    folder = SOURCE / room.partition(".")[2]
    return folder.joinpath(f"{name}.py").is_file() and name not in import_module(room).__all__


@pytest.mark.parametrize("folder", ["src", "notebooks", "benchmarks", "scripts"])
def test_rooms_are_entered_by_their_face(folder):
    assert _deep_imports(ROOT / folder) == []


DEEP_IMPORTS = {
    "backbones/test_cut.py: backbones.backbone": "every network of the libraries, however it is built",
    "backbones/test_timm.py: backbones.timm_models": "operations that cannot be traced, one by one",
    "backbones/test_timm.py: backbones.weights": "weights that a network asks for, none of which is there",
    "backbones/test_weights.py: backbones.weights": "downloads without a network",
    "cli/test_data_check.py: data.datasets": "a data set that is not there is not fetched",
    "data/test_cache.py: data.cache": "the memory of other machines",
    "data/test_cache.py: data.transforms": "which files are decoded",
    "data/test_pixel_centres.py: data.transforms": "each transform, where it moves a pixel's centre to",
    "data/test_transforms.py: data.transforms": "each transform for itself",
    "figures/test_goldilocks_figure.py: figures.goldilocks": "any labels, also those that no figure has",
    "goldilocks/test_goldilocks_features.py: goldilocks.stages": "gradients of heads that are gone later",
    "pixel_space/test_prp_network.py: pixel_space.relevance_pass": "features that no patch is compared with",
    "report/test_report_numbers.py: report.evidence": "boxes and pictures of other sizes than the run's",
    "synthbirds/test_synthbirds.py: synthbirds.picture": "birds in poses that no scene is sure to have",
}
"""Inner modules that a test file imports from, with what cannot be seen through the room's face."""

PATCHES = {
    "backbones/test_timm.py: timm_models.build_timm": "downloads that fail",
    "backbones/test_timm.py: timm_models.is_timm": "a network that timm may have one day",
    "backbones/test_weights.py: weights_module.hub_weights": "downloads without a network",
    "cli/test_data_check.py: datasets.prepare": "a data set that is not there is not fetched",
    "cli/test_verify.py: Run.receptive_field": "a wrong field is what a certificate is for",
    "data/test_cache.py: cache.memory_budget": "room for all images, or for one less",
    "data/test_cache.py: transforms.load_image": "which files are decoded",
    "data/test_loading.py: pixpnet.data.images.free_cores": "machines with other cores",
    "data/test_sources.py: pixpnet.data.sources.download": "no waiting between attempts, and no network",
    "evaluation/test_evaluation_misalignment.py: pixpnet.evaluation.misalignment.spatial_misalignment": (
        "a prototype's class shows in no value but by chance"
    ),
    "evaluation/test_evaluation_run.py: pixpnet.evaluation.run.write_curves": "figures take most of the time",
    "evaluation/test_evaluation_samples.py: pixpnet.evaluation.subject.MOST_KEPT": "maps of gigabytes",
    "goldilocks/test_experiment.py: pixpnet.goldilocks.experiment.goldilocks_figure": "figures, too",
    "goldilocks/test_goldilocks_probe.py: pixpnet.goldilocks.linear_probe._LARGEST_DOUBLE": "a table of 1 GB",
    "pixel_space/test_receptive_field_map.py: pixpnet.pixel_space.receptive_field.NARROWEST": "small fields",
    "projection/test_projection.py: pixpnet.projection.best_lists._FEWEST_WAITING": "few images fill lists",
    "prototypes/test_prototype_distances.py: pixpnet.prototypes.distances._CHUNK": "tables of 2²⁵ numbers",
    "synthbirds/test_synthbirds.py: pixpnet.synthbirds.picture.occluders": "leaves thicker than any scene's",
    "training/test_memory.py: pixpnet.training.setup.require_gpu": "there is no GPU",
}
"""What tests set inside of a room, with the reason."""


def test_tests_import_faces():
    """A deep import ties a test to how a room is built inside: it breaks when nothing that it proves does."""
    found = {name.removeprefix("tests/") for name in _deep_imports(ROOT / "tests")}
    assert found <= set(DEEP_IMPORTS), (
        "Take the name from the room's face, and prove the same by what a user sees: arguments, files, small "
        "real inputs. Only where that can't be, add the module to DEEP_IMPORTS with the reason."
    )
    assert found == set(DEEP_IMPORTS), "Take those that are gone from DEEP_IMPORTS."
    assert len(found) <= 15


def test_tests_patch_few_inner_names():
    found = [name for path in sorted((ROOT / "tests").rglob("*.py")) for name in _patches(path)]
    assert set(found) <= set(PATCHES), (
        "Let a real cause do it: an entry of a public table (setitem), a file that is removed or changed, a "
        "progress callback that raises, a hook of torch, an input that is large enough. Only where that "
        "can't be, add the name to PATCHES with the reason."
    )
    assert set(found) == set(PATCHES), "Take those that are gone from PATCHES."
    assert len(found) <= 30


@pytest.mark.parametrize(
    ("code", "patches"),
    [
        ('patch.setattr("pixpnet.data.images.free_cores", 2)', ["pixpnet.data.images.free_cores"]),
        ("from pixpnet.data import images as im\nm.setattr(im, 'worker_count', 2)", ["im.worker_count"]),
        ("from pixpnet.runs import Run\npatch.setattr(Run.images, 'x', 2)", ["Run.images.x"]),
        ('patch.setattr("pixpnet.training.train", 2)', []),
        ("import os\npatch.setattr(os, 'pwrite', 2)\npatch.setattr('os.pwrite', 2)", []),
    ],
)
def test_one_more_patch_is_seen(code, patches, tmp_path):
    (tmp_path / "test.py").write_text(code, encoding="utf-8")
    assert [name.partition(": ")[2] for name in _patches(tmp_path / "test.py")] == patches


def _patches(path: Path) -> list[str]:
    """Inner names of pixpnet that a file sets with `setattr`: by their path, or on what it has imported."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    imported = {
        name.asname or name.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "pixpnet"
        for name in node.names
    }
    found = []
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
            continue
        if node.func.attr != "setattr":
            continue
        target = node.args[0]
        if isinstance(target, ast.Constant):
            package, *inner, _ = str(target.value).split(".")
            if package == "pixpnet" and not _is_face(inner):
                found.append(target.value)
        elif ast.unparse(target).partition(".")[0] in imported:
            found.append(".".join(ast.unparse(part).strip("'") for part in node.args[:2]))
    return [f"{path.parent.name}/{path.name}: {name}" for name in found]


def _is_face(inner: list[str]) -> bool:
    """Whether pixpnet.inner is a module that all may import from."""
    place = SOURCE.joinpath(*inner)
    return len(inner) < 2 and (place.is_dir() or place.with_suffix(".py").is_file())


def test_importing_pixpnet_does_not_load_torch():
    code = "import pixpnet, sys; print('torch' in sys.modules, pixpnet.PixPNetError.__name__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "PixPNetError"]


def test_examples_in_docstrings_are_true(tiny_run, birds):
    # In a process without the shape checker, behind whose wrappers doctest finds no examples.
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", os.devnull]
    done = subprocess.run(
        [*command, "-p", "docstring_examples", "--doctest-modules", "src/pixpnet"],
        cwd=ROOT,
        env=os.environ
        | {"PYTHONPATH": str(ROOT / "tests"), "RUN_DIR": str(tiny_run), "PHOTOS": str(birds / "images")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:]


WITHOUT_EXAMPLES = {"Config", "Run", "resume", "keep_freed_memory"}


def test_public_names_have_an_example():
    """Errors need none; these four are shown by those of others."""
    named = {name for name in pixpnet.__all__ if not name.endswith("Error")}
    shown = {name for name in named if ">>> " in (getattr(pixpnet, name).__doc__ or "")}
    assert named - shown == WITHOUT_EXAMPLES


def test_every_public_name_exists():
    for name in pixpnet.__all__:
        assert getattr(pixpnet, name).__name__ == name
    with pytest.raises(AttributeError, match="nothing"):
        pixpnet.nothing  # noqa: B018
