"""From documents to a dataset of texts: no duplicates, splits, a vocabulary of the training split, counts, topics."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from components.data.errors import DataError
from components.data.near_duplicates import SIMILAR, near_duplicates
from components.data.raw import RawDataset
from components.data.schema import SPLITS, SplitName
from components.settings import Settings
from items.sparse import SparseRows
from items.spec import ItemSpec
from items.text import WordRules, learn_vocabulary

MOST_CLASSES = 1000


@dataclass(frozen=True)
class Document:
    """A text, the classes that it is of, and its name."""

    text: str
    topics: tuple[str, ...] = ()
    id: str = ""


class VocabularySettings(Settings):
    """The words that are counted.

    Attributes:
        size: words at most, the most frequent of the training split.
        least_documents: training documents that a word must be in.
        stop_words: words that are left out: `english`, scikit-learn's list; a list; or none.
        lowercase: whether letters are made small.
        ngrams: the least and the greatest number of neighbouring words that are counted as one.
    """

    size: int = Field(default=2000, ge=1)
    least_documents: int = Field(default=2, ge=1)
    stop_words: Literal["english"] | tuple[str, ...] | None = None
    lowercase: bool = True
    ngrams: tuple[Annotated[int, Field(ge=1, le=5)], Annotated[int, Field(ge=1, le=5)]] = (1, 1)

    def rules(self) -> WordRules:
        """Return how a text becomes words."""
        if self.stop_words == "english":
            from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS  # a second

            left_out = tuple(ENGLISH_STOP_WORDS)
        else:
            left_out = self.stop_words or ()
        return WordRules(lowercase=self.lowercase, stop_words=left_out, ngrams=self.ngrams)

    def outline(self) -> ItemSpec:
        """Return what an item is if the vocabulary is full; its words are not known before it is learned."""
        return ItemSpec(kind="text", shape=(self.size,), dtype="int32")


def without_duplicates(documents: Iterable[Document]) -> tuple[list[Document], int]:
    """Return the documents without those whose words, spaces aside, an earlier one has; and how many there were."""
    seen: dict[str, Document] = {}
    dropped = 0
    for document in documents:
        words = " ".join(document.text.split())
        dropped += words in seen
        seen.setdefault(words, document)
    return list(seen.values()), dropped


def text_dataset(
    name: str,
    documents: Mapping[SplitName, Sequence[Document]],
    settings: VocabularySettings,
    dropped: int,
    source: str,
    licence: str,
) -> RawDataset:
    """Return the dataset of documents that were dealt to splits.

    Args:
        name: the dataset's name in params.yaml, for errors.
        documents: of each split.
        settings: of the vocabulary.
        dropped: duplicates that are gone already.
        source, licence: see :class:`RawDataset`.

    Raises:
        DataError: no word or no document is left, or there are too many classes.
    """
    try:
        vocabulary = learn_vocabulary(
            (document.text for document in documents["train"]),
            settings.rules(),
            settings.size,
            settings.least_documents,
        )
    except ValueError as error:
        raise DataError(f"dataset {name}: {error}") from error
    classes = sorted({topic for split in SPLITS for document in documents[split] for topic in document.topics})
    if len(classes) > MOST_CLASSES:
        raise DataError(
            f"dataset {name}: its labels have {len(classes)} different values, such as {classes[0]!r} and "
            f"{classes[1]!r}; at most {MOST_CLASSES} are classes"
        )
    counts = {split: vocabulary.count(document.text for document in documents[split]) for split in SPLITS}
    splits = {split: {"items": counts[split], **_labels(documents, split, classes)} for split in SPLITS}
    item = ItemSpec(kind="text", shape=(len(vocabulary.words),), dtype="int32", vocabulary=vocabulary)
    remarks = {
        "duplicates, dropped": dropped,
        "documents without a known word": int(sum((rows.totals() == 0).sum() for rows in counts.values())),
        **_near_duplicates(counts),
    }
    return RawDataset(item, splits, tuple(classes) or None, source, licence, remarks)


def _labels(
    documents: Mapping[SplitName, Sequence[Document]], split: SplitName, classes: Sequence[str]
) -> dict[str, NDArray[Any] | SparseRows]:
    """Return a split's labels where each document of the dataset is of one class, else its topics."""
    if not classes:
        return {}
    places = {topic: place for place, topic in enumerate(classes)}
    numbered = [sorted({places[topic] for topic in document.topics}) for document in documents[split]]
    if all(len(document.topics) == 1 for each in SPLITS for document in documents[each]):
        return {"labels": np.array([place for (place,) in numbered], np.int64)}
    indptr = np.concatenate([[0], np.cumsum([len(each) for each in numbered])]).astype(np.int64)
    indices = np.array([place for each in numbered for place in each], np.int32)
    return {"topics": SparseRows(indptr, indices, np.ones(len(indices), np.int32), len(classes))}


def _near_duplicates(counts: Mapping[SplitName, SparseRows]) -> dict[str, int]:
    """Return how many documents of validation and test are near-duplicates of a training document."""
    found, compared = 0, 0
    for split in ("validation", "test"):
        mine, of = near_duplicates(counts["train"], counts[split])
        found, compared = found + mine, compared + of
    share = f"share {SIMILAR:.0%} of their words with one of train"
    return {f"documents of other splits, of {compared:,} compared, that {share}": found}
