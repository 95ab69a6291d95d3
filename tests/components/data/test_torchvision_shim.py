from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]


def fresh_python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_datasets_transforms_and_utils_work_beside_this_torch() -> None:
    out = fresh_python(
        "import torch\n"
        "from components.data.torchvision_shim import import_torchvision\n"
        "grid = import_torchvision('utils').make_grid(torch.ones(4, 1, 2, 2), nrow=2, padding=0)\n"
        "flipped = import_torchvision('transforms.v2').functional.horizontal_flip(torch.tensor([[[1, 2]]]))\n"
        "print(tuple(grid.shape), flipped.tolist(), import_torchvision('datasets').MNIST.__name__)\n"
    )
    assert out.split("\n")[0] == "(3, 4, 4) [[[2, 1]]] MNIST"


def test_nothing_is_declared_where_torchvision_imports_by_itself(tmp_path: Path) -> None:
    (tmp_path / "torchvision").mkdir()
    (tmp_path / "torchvision" / "__init__.py").write_text("")
    (tmp_path / "torchvision" / "datasets.py").write_text("here = True")
    out = fresh_python(
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "from components.data import torchvision_shim\n"
        "print(torchvision_shim.import_torchvision('datasets').here, torchvision_shim._declared)\n"
        "print('torch' in sys.modules)"
    )
    assert out.split("\n")[:2] == ["True []", "False"]


def test_another_failure_of_the_import_is_not_hidden(tmp_path: Path) -> None:
    (tmp_path / "torchvision").mkdir()
    (tmp_path / "torchvision" / "__init__.py").write_text("raise RuntimeError('disk on fire')")
    out = fresh_python(
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "from components.data import torchvision_shim\n"
        "try: torchvision_shim.import_torchvision('datasets')\n"
        "except RuntimeError as error: print(error, torchvision_shim._declared)"
    )
    assert out == "disk on fire []\n"
