"""The user's own texts: a table with a column of them, or a folder of text files."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from components.data.documents import Document, VocabularySettings, text_dataset, without_duplicates
from components.data.errors import DataError
from components.data.raw import Fraction, Outline, RawDataset, check_fractions, deal, split_sizes
from components.settings import Settings
from items.documents import rows_of
from items.errors import ItemError


class TextSettings(Settings):
    """Texts in a CSV, TSV, JSON-lines or Parquet file, or in the .txt files below a folder.

    Attributes:
        source: the file or folder; relative paths start at the project's root.
        text: the column of texts.
        labels: the column of classes: one a text, or in JSON lines and Parquet a list of any number; of a folder,
            `folder` takes the first folder on a file's path. None without classes.
        vocabulary: the words that are counted.
    """

    kind: Literal["text"] = "text"
    source: Path
    text: str = "text"
    labels: str | None = None
    vocabulary: VocabularySettings = VocabularySettings()
    validation: Fraction = 0.1
    test: Fraction = 0.1
    licence: str = "not stated"

    def outline(self, name: str, root: Path) -> Outline:
        """Return what the settings and the first row say; raises as `load` does."""
        check_fractions(self.validation, self.test)
        path = root / self.source.expanduser()
        if not path.exists():
            raise DataError(f"dataset {name}: {path} is not there")
        try:
            if next(rows_of(path, self._columns), None) is None:
                raise ItemError("holds no texts")
        except ItemError as error:
            raise DataError(f"dataset {name}: {path}: {error}") from error
        return Outline(self.vocabulary.outline(), None if self.labels is None else 2, self.vocabulary.size)

    def load(self, name: str, seed: int, downloads: Path, root: Path) -> RawDataset:
        """Return the texts without duplicates, shuffled by `seed` and dealt to the splits.

        Raises:
            DataError: a row cannot be read, a column is missing, or there are too few texts; names file and row.
            SettingError: the fractions leave nothing to train on.
        """
        check_fractions(self.validation, self.test)
        path = root / self.source.expanduser()
        if not path.exists():
            raise DataError(f"dataset {name}: {path} is not there")
        documents, dropped = without_duplicates(self._read(name, path))
        indices = deal(len(documents), *split_sizes(name, len(documents), self.validation, self.test), seed)
        dealt = {split: [documents[place] for place in places] for split, places in indices.items()}
        return text_dataset(name, dealt, self.vocabulary, dropped, f"texts {self.source}", self.licence)

    @property
    def _columns(self) -> list[str]:
        return [self.text, *filter(None, [self.labels])]

    def _read(self, name: str, path: Path) -> list[Document]:
        documents = []
        try:
            for row in rows_of(path, self._columns):
                topics = () if self.labels is None else row.names(self.labels)
                documents.append(Document(row.text(self.text), topics))
        except ItemError as error:
            raise DataError(f"dataset {name}: {path}: {error}") from error
        return documents
