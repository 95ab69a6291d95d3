"""Models of texts: the multinomial likelihood, latent semantic analysis, and training on sparse rows."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from torch.distributions import Categorical

from components.batches import Batches, DenseBatches, SparseBatches
from components.likelihoods import Multinomial
from components.models import AutoencoderSettings, LSASettings, PCASettings, TrainingRun
from components.models.autoencoder import Autoencoder
from components.settings import SettingError
from items.spec import ItemSpec
from items.text import WordRules, learn_vocabulary
from tests.items.texts import TEXTS

VOCABULARY = learn_vocabulary(TEXTS, WordRules(), size=300)
ITEM = ItemSpec(kind="text", shape=(300,), dtype="int32", vocabulary=VOCABULARY)
COUNTS = VOCABULARY.count(TEXTS)
VECTOR = ItemSpec(kind="vector", shape=(300,), dtype="float32")


def built(**settings: object) -> Autoencoder:
    parts = {
        "network": {"kind": "mlp", "hidden": [32]},
        "bottleneck": {"kind": "identity", "size": 8},
        "likelihood": {"kind": "multinomial"},
        "training": {"batch_size": 16, "learning_rate": 0.003},
    }
    return AutoencoderSettings.model_validate(parts | settings).build(ITEM)


def test_the_multinomial_error_is_the_surprisal_of_each_word() -> None:
    torch.manual_seed(0)
    counts, logits = torch.randint(0, 4, (5, 7)), torch.randn(5, 7)
    words = [torch.repeat_interleave(torch.arange(7), row) for row in counts]
    expected = [-Categorical(logits=row).log_prob(drawn).sum().item() for row, drawn in zip(logits, words, strict=True)]
    likelihood = Multinomial()
    errors = likelihood.errors(likelihood.target(counts, counts / 9.0), logits)
    assert errors.tolist() == pytest.approx(expected, rel=1e-5)
    assert likelihood.mean(logits).sum(1).tolist() == pytest.approx([1.0] * 5, rel=1e-6)
    assert likelihood.errors(torch.zeros(1, 7), logits[:1]).tolist() == [0.0]


def test_likelihoods_are_of_the_items_that_they_are_for() -> None:
    with pytest.raises(
        SettingError, match=r"^likelihood\.kind: multinomial, is for texts, and the items are of kind v"
    ):
        AutoencoderSettings.model_validate(
            {"network": {"kind": "linear"}, "bottleneck": {"kind": "identity", "size": 2}}
            | {"likelihood": {"kind": "multinomial"}}
        ).build(VECTOR)
    with pytest.raises(SettingError, match=r"^likelihood\.kind: bernoulli, must be squared_error: items are int32"):
        built(likelihood={"kind": "bernoulli"})
    with pytest.raises(SettingError, match=r"^kind: lsa, is for texts, and the items are of kind vector; use pca"):
        LSASettings(size=2).build(VECTOR)
    with pytest.raises(SettingError, match=r"^size: 301, must be at most 300"):
        LSASettings(size=301).build(ITEM)


@pytest.mark.parametrize("size", [1, 12, 300])
def test_lsa_is_scikit_learns_truncated_svd_of_its_tf_idf(size: int) -> None:
    (epoch,) = (model := LSASettings(size=size).build(ITEM)).fit(TrainingRun(COUNTS, COUNTS, epochs=1, seed=0))
    tfidf = TfidfVectorizer(vocabulary=list(VOCABULARY.words)).fit_transform(TEXTS)
    if size < 300:
        peer = TruncatedSVD(size, algorithm="arpack", random_state=0).fit(tfidf)
        theirs, values = peer.components_, peer.singular_values_
    else:
        _, values, theirs = np.linalg.svd(tfidf.toarray(), full_matrices=False)
    kept = values > 1e-6  # of smaller ones the direction is rounding's
    ours = model.components.numpy()[: len(values)]
    np.testing.assert_allclose(np.abs((ours * theirs).sum(1))[kept], 1.0, atol=1e-4)
    np.testing.assert_allclose(model.singular_values[: len(values)], values, atol=1e-4)
    codes = model.encode(torch.from_numpy(COUNTS[:]))
    signs = np.sign((ours * theirs).sum(1))
    np.testing.assert_allclose(codes.numpy()[:, : len(values)], tfidf @ theirs.T * signs, atol=1e-4)
    expected = ((tfidf.toarray() - codes.numpy() @ model.components.numpy()) ** 2).sum(1).mean()
    assert epoch.metrics["validation_squared_error"] == pytest.approx(expected, abs=1e-5)
    assert list(model.fit(TrainingRun(COUNTS, COUNTS, 1, 0), epoch.state)) == []


def test_pca_takes_sparse_rows() -> None:
    sparse, dense = (PCASettings(size=5).build(ITEM) for _ in range(2))
    for model, items in ((sparse, COUNTS), (dense, COUNTS[:])):
        list(model.fit(TrainingRun(items, items, epochs=1, seed=0)))
    torch.testing.assert_close(sparse.components, dense.components, atol=1e-5, rtol=1e-4)


def test_training_on_sparse_rows_is_training_on_dense_ones() -> None:
    assert isinstance(Batches.of(COUNTS), SparseBatches)
    assert isinstance(Batches.of(COUNTS[:]), DenseBatches)
    histories = []
    for train, validation in ((COUNTS, COUNTS.take(np.arange(40))), (COUNTS[:], COUNTS[:40])):
        epochs = list(built().fit(TrainingRun(train, validation, epochs=3, seed=1)))
        histories.append([{k: v for k, v in epoch.metrics.items() if "per_second" not in k} for epoch in epochs])
    assert histories[0] == histories[1]
    first, last = histories[0][0], histories[0][-1]
    assert last["validation_cross_entropy"] < first["validation_cross_entropy"]
    assert "validation_squared_error" not in last


def test_training_beats_the_words_frequencies() -> None:
    model = built(training={"batch_size": 16, "learning_rate": 0.01})
    epochs = list(model.fit(TrainingRun(COUNTS, COUNTS, epochs=15, seed=0)))
    shares = torch.from_numpy(COUNTS[:].sum(0) / COUNTS[:].sum())
    blind = -(torch.from_numpy(COUNTS[:]) * shares.log()).sum(1).mean().item()
    assert epochs[-1].metrics["validation_cross_entropy"] < 0.9 * blind


@pytest.mark.parametrize(
    "bottleneck",
    [
        {"kind": "gaussian", "size": 4},
        {"kind": "binary", "size": 16},
        {"kind": "top_k", "size": 16, "active": 4},
        {"kind": "vector_quantizer", "codebook_size": 8, "size": 4, "positions": 2},
    ],
    ids=lambda settings: str(settings["kind"]),
)
def test_every_kind_of_code_is_of_a_text_alone(bottleneck: dict[str, object]) -> None:
    model = built(bottleneck=bottleneck, corruption={"kind": "masking", "share": 0.3, "fill": "zero"})
    for _ in model.fit(TrainingRun(COUNTS, COUNTS, epochs=1, seed=0)):
        pass
    model.eval()
    items = torch.from_numpy(COUNTS[:9])
    blank = torch.zeros(1, 300, dtype=torch.int32)
    with torch.no_grad():
        codes = model.encode(torch.cat([items, blank]))
        alone = torch.cat([model.encode(row[None]) for row in (*items, blank[0])])
        assert torch.isfinite(model.decode(codes)).all()
    torch.testing.assert_close(codes, alone)
