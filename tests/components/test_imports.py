from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

IMPORT_EACH = """
import importlib, sys
for name in sys.argv[1:]:
    for loaded in [loaded for loaded in sys.modules if loaded.partition(".")[0] == "components"]:
        del sys.modules[loaded]
    importlib.import_module(name)
print("all imported")
"""


def test_each_module_can_be_the_first_one_imported() -> None:
    paths = [path.relative_to(ROOT).with_suffix("") for path in sorted((ROOT / "components").rglob("*.py"))]
    names = [".".join(path.parts).removesuffix(".__init__") for path in paths]
    assert "components.training" in names
    run = subprocess.run([sys.executable, "-c", IMPORT_EACH, *names], cwd=ROOT, capture_output=True, text=True)
    assert run.stdout == "all imported\n", run.stderr
