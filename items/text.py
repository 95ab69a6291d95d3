"""Text: documents to counts of the words of a vocabulary. Training and serving count by these same lines.

The rules are those of scikit-learn's CountVectorizer: a word is two letters, digits or underscores or more; stop words
are dropped before neighbouring words are joined to n-grams.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from typing import Annotated, Any, Self

import numpy as np
import numpy.typing as npt
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from items.sparse import SparseRows

WORD = re.compile(r"\b\w\w+\b")
LARGEST_COUNT = np.iinfo(np.int32).max


class WordRules(BaseModel):
    """The way in which a text becomes words.

    Attributes:
        lowercase: whether letters are made small first.
        stop_words: words that are left out.
        ngrams: the least and the greatest number of neighbouring words that are counted as one.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    lowercase: bool = True
    stop_words: Annotated[tuple[str, ...], AfterValidator(lambda words: tuple(sorted(set(words))))] = ()
    ngrams: tuple[Annotated[int, Field(ge=1, le=5)], Annotated[int, Field(ge=1, le=5)]] = (1, 1)

    @model_validator(mode="after")
    def _ngrams_rise(self) -> Self:
        if self.ngrams[0] > self.ngrams[1]:
            raise ValueError(f"ngrams is {list(self.ngrams)}, the first must not be above the second")
        return self

    @cached_property
    def _left_out(self) -> frozenset[str]:
        return frozenset(self.stop_words)

    def words(self, text: str) -> Iterator[str]:
        """Yield the words and n-grams of a text, in no certain order."""
        kept = WORD.findall(text.lower() if self.lowercase else text)
        if self.stop_words:
            kept = [word for word in kept if word not in self._left_out]
        for length in range(self.ngrams[0], self.ngrams[1] + 1):
            if length == 1:
                yield from kept
            else:
                yield from map(" ".join, zip(*(kept[start:] for start in range(length)), strict=False))


class Vocabulary(BaseModel):
    """The words that are counted, and how common each is.

    Attributes:
        rules: how a text becomes words.
        words: in the order of their counts in an item.
        documents: training documents that the vocabulary was learned from.
        document_frequencies: of them, those that hold each word.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    rules: WordRules
    words: Annotated[tuple[str, ...], Field(min_length=1)]
    documents: Annotated[int, Field(ge=1)]
    document_frequencies: tuple[Annotated[int, Field(ge=0)], ...]

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Self:
        if len(set(self.words)) < len(self.words):
            raise ValueError("words must differ from each other")
        if len(self.document_frequencies) != len(self.words):
            raise ValueError(f"{len(self.words)} words have {len(self.document_frequencies)} document_frequencies")
        if max(self.document_frequencies) > self.documents:
            raise ValueError(f"a word is in {max(self.document_frequencies)} of {self.documents} documents")
        return self

    @cached_property
    def _places(self) -> dict[str, int]:
        return {word: place for place, word in enumerate(self.words)}

    @property
    def inverse_frequencies(self) -> npt.NDArray[np.float64]:
        """Each word's weight ln((1 + documents) / (1 + document frequency)) + 1, (words,): scikit-learn's smoothed."""
        return np.log((1 + self.documents) / (1 + np.array(self.document_frequencies, np.float64))) + 1.0

    def count(self, texts: Iterable[str]) -> SparseRows:
        """Return how often each word is in each text, (texts, words) int32."""
        indptr, indices, counts = [0], [], []
        for text in texts:
            found = Counter(self.rules.words(text))
            known = sorted((self._places[word], count) for word, count in found.items() if word in self._places)
            indices += [place for place, _ in known]
            counts += [min(count, LARGEST_COUNT) for _, count in known]
            indptr.append(len(indices))
        return SparseRows(
            np.array(indptr, np.int64), np.array(indices, np.int32), np.array(counts, np.int32), len(self.words)
        )


def learn_vocabulary(texts: Iterable[str], rules: WordRules, size: int, least_documents: int = 1) -> Vocabulary:
    """Return the vocabulary of training texts: the `size` most frequent words, in alphabetical order.

    Args:
        texts: training documents; they are read once.
        rules: how they become words.
        size: words at most.
        least_documents: training documents that a word must be in.

    Raises:
        ValueError: no word is left.
    """
    frequencies: Counter[str] = Counter()
    in_documents: Counter[str] = Counter()
    documents = 0
    for text in texts:
        found = Counter(rules.words(text))
        frequencies.update(found)
        in_documents.update(found.keys())
        documents += 1
    common = [word for word, count in in_documents.items() if count >= least_documents]
    if not common:
        raise ValueError(f"no word is in {least_documents} or more of the {documents} training documents")
    kept = sorted(sorted(common, key=lambda word: (-frequencies[word], word))[:size])
    return Vocabulary(
        rules=rules, words=tuple(kept), documents=documents,
        document_frequencies=tuple(in_documents[word] for word in kept),
    )  # fmt: skip


def excerpt(text: str, words: int = 12) -> str:
    """Return the first words of a text, on one line."""
    first: Sequence[Any] = text.split(maxsplit=words)
    return " ".join(first[:words]) + (" …" if len(first) > words else "")
