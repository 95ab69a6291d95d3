"""Counts of words are scikit-learn's, and so is tf-idf."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError
from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS, CountVectorizer, TfidfVectorizer

from items.sparse import SparseRows
from items.spec import ItemSpec
from items.text import Vocabulary, WordRules, excerpt, learn_vocabulary
from tests.items.texts import TEXTS

RULES = [
    pytest.param(WordRules(), {}, id="plain"),
    pytest.param(WordRules(lowercase=False), {"lowercase": False}, id="case"),
    pytest.param(
        WordRules(stop_words=tuple(ENGLISH_STOP_WORDS), ngrams=(1, 2)),
        {"stop_words": sorted(ENGLISH_STOP_WORDS), "ngram_range": (1, 2)},
        id="stop words and pairs",
    ),
    pytest.param(WordRules(ngrams=(2, 3)), {"ngram_range": (2, 3)}, id="pairs and triples"),
]


@pytest.mark.parametrize(("rules", "peer"), RULES)
def test_counts_are_those_of_scikit_learn(rules: WordRules, peer: dict[str, object]) -> None:
    vocabulary = learn_vocabulary(TEXTS, rules, size=10_000, least_documents=2)
    theirs = CountVectorizer(min_df=2, **peer).fit(TEXTS)
    assert list(vocabulary.words) == sorted(theirs.vocabulary_)
    counts = theirs.transform(TEXTS)
    found = vocabulary.count(TEXTS)
    np.testing.assert_array_equal(found[:], counts.toarray())
    assert found.shape == counts.shape
    assert found.dtype == np.int32
    np.testing.assert_array_equal(vocabulary.document_frequencies, (counts.toarray() > 0).sum(0))


def test_the_most_frequent_words_are_kept_and_of_equals_the_first() -> None:
    vocabulary = learn_vocabulary(["bb bb aa cc", "cc dd", "dd ee"], WordRules(), size=3)
    assert vocabulary.words == ("bb", "cc", "dd")
    assert (vocabulary.documents, vocabulary.document_frequencies) == (3, (1, 2, 2))
    assert learn_vocabulary(["bb aa", "cc"], WordRules(), size=2).words == ("aa", "bb")
    with pytest.raises(ValueError, match="no word is in 2 or more of the 2 training documents"):
        learn_vocabulary(["aa", "bb"], WordRules(), size=3, least_documents=2)


def test_scaled_counts_are_the_tf_idf_of_scikit_learn() -> None:
    vocabulary = learn_vocabulary(TEXTS, WordRules(), size=200)
    item = ItemSpec(kind="text", shape=(len(vocabulary.words),), dtype="int32", vocabulary=vocabulary)
    theirs = TfidfVectorizer(vocabulary=list(vocabulary.words)).fit(TEXTS).transform(TEXTS).toarray()
    counts = vocabulary.count([*TEXTS, ""])
    np.testing.assert_allclose(item.scaled(counts[:-1]), theirs, atol=1e-6)
    np.testing.assert_allclose(item.sparse_tf_idf(counts), theirs[theirs > 0], atol=1e-6)


def test_a_text_without_a_known_word_is_all_zeros() -> None:
    vocabulary = learn_vocabulary(TEXTS, WordRules(), size=50)
    item = ItemSpec(kind="text", shape=(50,), dtype="int32", vocabulary=vocabulary)
    scaled = item.scaled(vocabulary.count(["", "qqqq zzzz", "\x00 \x00", "a b c"])[:])
    assert not scaled.any()


def test_a_long_text_is_counted() -> None:
    vocabulary = learn_vocabulary(["aa bb", "cc"], WordRules(), size=9)
    assert vocabulary.count(["aa bb " * 1_000_000])[:].tolist() == [[1_000_000, 1_000_000, 0]]


def test_what_contradicts_itself_is_refused() -> None:
    assert WordRules(stop_words=("b", "a", "b")).stop_words == ("a", "b")  # one set of words has one digest
    with pytest.raises(ValidationError, match="the first must not be above the second"):
        WordRules(ngrams=(3, 2))
    whole = {"rules": {}, "words": ["a", "b"], "documents": 3, "document_frequencies": [1, 3]}
    assert Vocabulary.model_validate(whole).inverse_frequencies[1] == 1.0
    for wrong, said in (
        ({"words": ["a", "a"]}, "must differ"),
        ({"document_frequencies": [1]}, "2 words have 1"),
        ({"document_frequencies": [1, 4]}, "in 4 of 3 documents"),
    ):
        with pytest.raises(ValidationError, match=said):
            Vocabulary.model_validate(whole | wrong)
    with pytest.raises(ValidationError, match="must be int32 for texts"):
        ItemSpec(kind="text", shape=(2,), dtype="uint8")
    with pytest.raises(ValidationError, match="the vocabulary has 2 words"):
        ItemSpec(kind="text", shape=(3,), dtype="int32", vocabulary=Vocabulary.model_validate(whole))


def test_an_excerpt_is_one_line() -> None:
    assert excerpt("one\ntwo  three", 2) == "one two …"
    assert excerpt("one\ntwo", 2) == "one two"


def test_sparse_rows_are_the_dense_ones() -> None:
    dense = np.random.default_rng(0).poisson(0.2, (37, 23)).astype(np.int32)
    dense[5] = 0
    rows = SparseRows.of(dense)
    assert (len(rows), rows.shape, rows.ndim) == (37, (37, 23), 2)
    np.testing.assert_array_equal(rows[:], dense)
    np.testing.assert_array_equal(rows[3:9], dense[3:9])
    order = np.array([5, 36, 0, 5])
    np.testing.assert_array_equal(rows[order], dense[order])
    np.testing.assert_array_equal(rows.take(order)[:], dense[order])
    np.testing.assert_array_equal(rows.totals(), dense.sum(1))
    np.testing.assert_array_equal(rows.places, np.nonzero(dense)[0])
    assert rows[:0].shape == (0, 23)
