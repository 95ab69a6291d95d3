"""The format of params.yaml."""

from __future__ import annotations

import random
from functools import partial
from pathlib import Path

from ruamel.yaml import YAML

from components.settings import SettingError
from items.spec import ItemSpec
from pipelines.project import Project, StageError
from pipelines.settings.params import load_params
from tests.faults.damage import VALUES, YAML_VALUES, Damage, damaged_bytes, damaged_document
from tests.faults.formats import Format, digest

REPOSITORY = Path(__file__).parents[2]
MNIST = ItemSpec(kind="image", shape=(28, 28, 1), dtype="uint8")
ITEMS = {"reuters": ItemSpec(kind="text", shape=(2000,), dtype="int32")}  # other datasets have those of MNIST


def make_params(folder: Path) -> None:
    """Write the project's own params.yaml."""
    folder.mkdir()
    text = (REPOSITORY / "params.yaml").read_text()
    (folder / "params.yaml").write_text(text)


def use_params(folder: Path) -> str:
    """Read params.yaml, and build the models of its experiments for the items of their datasets."""
    params = load_params(Project(folder, folder))
    for dataset, named in params.experiments.items():
        for name, experiment in named.items():
            if (content := digest(experiment)) not in _CHECKED:
                try:
                    experiment.check(f"{dataset}.{name}", ITEMS.get(dataset, MNIST))
                except SettingError as error:
                    raise StageError(f"params.yaml: {error}") from error  # as `hourglass check` says it
                _CHECKED.add(content)
    return digest(params.model_dump(mode="json"))


_CHECKED: set[str] = set()  # as most experiments are those of the sample


def damaged_params(content: bytes, draw: random.Random) -> Damage:
    """Damage params.yaml: its structure, its lines, or its bytes."""
    way = draw.random()
    if way < 0.6:
        return damaged_document(content, draw, partial(YAML(typ="safe").load), VALUES + YAML_VALUES)
    if way < 0.8:
        lines = content.splitlines(keepends=True)
        at = draw.randrange(len(lines))
        new = draw.choice((
            [], [lines[at]] * 2, [b" " + lines[at]], [b"\t" + lines[at]], [lines[at].rstrip() + b": :\n"],
            [b"---\n", lines[at]], [b"...\n", lines[at]], [b"<<: *a\n", lines[at]], [b"- ", lines[at]],
            [lines[at].replace(b":", b"")], [lines[at].replace(b"{", b"[")], [b"? ", lines[at]], [b"'", lines[at]],
        ))  # fmt: skip
        return f"line {at + 1} becomes {b''.join(new)[:60]!r}", b"".join([*lines[:at], *new, *lines[at + 1 :]])
    return damaged_bytes(content, draw)


FORMATS = (
    Format(
        "params.yaml", "params.yaml", make_params, use_params, (StageError,), damaged_params, sealed=False, several=True
    ),
)  # fmt: skip
