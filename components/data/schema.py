"""schema.json of a prepared dataset: version 1 of the contract between `prepare` and every later stage."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Final, Literal, Self

from pydantic import Field, ValidationError, model_validator

from components.data.errors import DataError
from components.settings import Settings
from items.digests import json_digest
from items.errors import first_error, one_line
from items.spec import ItemSpec, Layout

FORMAT: Final = "hourglass/prepared-dataset"
VERSION: Final = 1

SplitName = Literal["train", "validation", "test"]
SPLITS: tuple[SplitName, ...] = ("train", "validation", "test")

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
ArrayName = Annotated[str, Field(pattern=r"^[a-z][a-z_]*$")]
# A plain name: a schema cannot point outside its own folder.
FileName = Annotated[str, Field(pattern=r"^[a-z][a-z_-]*\.npy$")]


class ArrayFile(Settings):
    """One .npy file: C order, little-endian; `sha256` is that of the whole file, as `sha256sum` prints it."""

    file: FileName
    shape: tuple[Annotated[int, Field(ge=0)], ...]
    dtype: Literal["uint8", "int32", "int64", "float32"]
    sha256: Sha256


class Split(Settings):
    """The arrays of one split, by name; see :class:`DatasetSchema`."""

    count: Annotated[int, Field(ge=1, description="items in the split")]
    arrays: dict[ArrayName, ArrayFile]


class Splits(Settings):
    """The three splits, all required."""

    train: Split
    validation: Split
    test: Split

    def __getitem__(self, name: SplitName) -> Split:
        split: Split = getattr(self, name)
        return split


class DatasetSchema(Settings):
    """A prepared dataset's description.

    In the layout `dense`, `items` is (count, *item.shape) of item.dtype. In the layout `csr` it is three arrays:
    `items_indptr` (count + 1,) int64, and `items_indices` and `items_counts` of the values that are not 0, int32.
    Where there are classes, `labels` is (count,) of integers that index them; or, where an item may be of any number of
    them, `topics` is (count, classes), as three arrays too. `digest` is the sha256 of the content alone, what an item
    is and the arrays: it does not depend on the dataset's name, source or licence.
    """

    format: Literal["hourglass/prepared-dataset"] = FORMAT
    version: Literal[1] = VERSION
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    item: ItemSpec
    layout: Layout = "dense"
    splits: Splits
    classes: Annotated[tuple[str, ...], Field(min_length=1)] | None
    source: Annotated[str, Field(description="what the data is and which way it came")]
    licence: str
    remarks: dict[str, int] = Field(default={}, description="what was counted on the way: duplicates and the like")
    digest: Sha256

    @property
    def encodable(self) -> str:
        """What a command that encodes this kind of items could be given."""
        items = self.splits.test.arrays.get("items")
        return f"data/{self.name}/{items.file}" if items else "texts.csv --column text"

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Self:
        for name in SPLITS:
            _check_arrays(name, self.splits[name], self.item, self.classes is not None)
        expected = content_digest(self.item, self.layout, self.splits, self.classes)
        if self.digest != expected:
            raise ValueError(f"digest is {self.digest}, but the content described has {expected}")
        return self


def content_digest(item: ItemSpec, layout: str, splits: Splits, classes: tuple[str, ...] | None) -> str:
    """Return the sha256 of the canonical JSON of what the arrays hold: 64 hexadecimal digits."""
    content = {
        "item": item.model_dump(mode="json"),
        "layout": layout,
        "splits": splits.model_dump(mode="json"),
        "classes": classes,
    }
    return json_digest(content)


def read_schema(path: Path) -> DatasetSchema:
    """Return the schema that a schema.json holds.

    Raises:
        DataError: the file is missing, is not JSON, has an unknown version, or contradicts itself.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(f"{path}: is not there; `python -m pipelines.prepare NAME` writes it") from None
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path}: cannot be read as JSON: {one_line(error)}") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise DataError(f"{path}: is not a prepared dataset, its format must be {FORMAT}")
    if content.get("version") != VERSION:
        raise DataError(f"{path}: version {one_line(content.get('version'), 20)} is unknown, must be {VERSION}")
    try:
        return DatasetSchema.model_validate(content)
    except ValidationError as error:
        raise DataError(f"{path}: {first_error(error)}") from error


def sparse_names(name: str) -> tuple[str, str, str]:
    """Return the names of the three arrays that sparse rows are stored as."""
    return f"{name}_indptr", f"{name}_indices", f"{name}_counts"


def _check_arrays(name: SplitName, split: Split, item: ItemSpec, labelled: bool) -> None:
    found = set(split.arrays)
    items = {"items"} if item.layout == "dense" else set(sparse_names("items"))
    labels = ({"labels"}, set(sparse_names("topics"))) if labelled else (set(),)
    if found not in [items | each for each in labels]:
        wanted = " or ".join(", ".join(sorted(items | each)) for each in labels)
        raise ValueError(
            f"split {name} has the arrays: {', '.join(sorted(found)) or 'none'}; "
            f"a dataset {'with' if labelled else 'without'} classes has: {wanted}"
        )
    if item.layout == "dense":
        stored = split.arrays["items"]
        if stored.shape != (split.count, *item.shape) or stored.dtype != item.dtype:
            raise ValueError(
                f"items of split {name} are {stored.dtype} {stored.shape}, "
                f"but {split.count} items are {item.dtype} {(split.count, *item.shape)}"
            )
    for rows in ("items", "topics"):
        _check_sparse(name, split, rows)
    if "labels" in split.arrays:
        stored = split.arrays["labels"]
        if stored.shape != (split.count,) or stored.dtype == "float32":
            raise ValueError(
                f"labels of split {name} are {stored.dtype} {stored.shape}, must be integers ({split.count},)"
            )


def _check_sparse(name: SplitName, split: Split, rows: str) -> None:
    indptr, indices, counts = (split.arrays.get(array) for array in sparse_names(rows))
    if indptr is None or indices is None or counts is None:
        return
    if (indptr.shape, indptr.dtype) != ((split.count + 1,), "int64"):
        raise ValueError(
            f"{rows}_indptr of split {name} is {indptr.dtype} {indptr.shape}, must be int64 ({split.count + 1},)"
        )
    if len(indices.shape) != 1 or indices.shape != counts.shape or {indices.dtype, counts.dtype} != {"int32"}:
        raise ValueError(f"{rows}_indices and {rows}_counts of split {name} must be int32 of one length")
