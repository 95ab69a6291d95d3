from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA as ScikitPCA  # noqa: N811

from components.models import Epoch, PCASettings, TrainingRun, pca
from components.models.pca import PCA
from components.settings import SettingError
from items.spec import ItemSpec


def vectors(values: int) -> ItemSpec:
    return ItemSpec(kind="vector", shape=(values,), dtype="float32")


def fitted(item: ItemSpec, items: np.ndarray, size: int) -> tuple[PCA, list[Epoch]]:
    model = PCASettings(size=size).build(item)
    return model, list(model.fit(TrainingRun(items, items[:50], epochs=1, seed=0)))


def assert_agrees_with_scikit_learn(model: PCA, items: np.ndarray, flat: np.ndarray) -> None:
    """`flat`: the items as scikit-learn gets them, float64 (n, values)."""
    size = len(model.components)
    oracle = ScikitPCA(size, svd_solver="full").fit(flat)
    signs = np.sign((model.components.numpy() * oracle.components_).sum(1, keepdims=True))
    codes = model.encode(torch.tensor(items))
    scale = flat.std()
    np.testing.assert_allclose(model.components.numpy() * signs, oracle.components_, atol=1e-4)
    np.testing.assert_allclose(model.mean.numpy(), oracle.mean_, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(model.variances.numpy(), oracle.explained_variance_, rtol=1e-4)
    np.testing.assert_allclose(codes.numpy() * signs.T, oracle.transform(flat), atol=2e-3 * scale)
    rebuilt = oracle.inverse_transform(oracle.transform(flat))
    np.testing.assert_allclose(model.decode(codes).flatten(1).numpy(), rebuilt, atol=2e-3 * scale)


@pytest.mark.parametrize("block_bytes", [2**25, 100 * 64 * 4])
def test_digits_have_scikit_learns_components(
    digit: ItemSpec, digits: np.ndarray, block_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pca, "BLOCK_BYTES", block_bytes)
    model, _ = fitted(digit, digits, 16)
    assert_agrees_with_scikit_learn(model, digits, digits.reshape(-1, 64) / 255.0)


def test_a_small_variance_survives_a_large_mean() -> None:
    random = np.random.default_rng(0)
    items = (5000 + random.normal(size=(3000, 6)) @ np.diag([4.0, 3, 2, 1.5, 1, 0.7])).astype(np.float32)
    model, _ = fitted(vectors(6), items, 4)
    assert_agrees_with_scikit_learn(model, items, items.astype(np.float64))


def test_components_are_orthonormal_ordered_and_of_fixed_sign(digit: ItemSpec, digits: np.ndarray) -> None:
    model, _ = fitted(digit, digits, 64)
    np.testing.assert_allclose((model.components @ model.components.T).numpy(), np.eye(64), atol=1e-5)
    assert (model.variances.diff() <= 0).all()
    assert (model.variances >= 0).all()
    strongest = model.components.abs().argmax(1, keepdim=True)
    assert (model.components.gather(1, strongest) > 0).all()


def test_the_loss_is_the_variance_that_was_left_out(digit: ItemSpec, digits: np.ndarray) -> None:
    _, (epoch,) = fitted(digit, digits, 10)
    left = np.sort(np.linalg.eigvalsh(np.cov(digits.reshape(-1, 64).T / 255.0)))[:-10].sum()
    expected = left * (len(digits) - 1) / len(digits)
    assert epoch.metrics["train_loss"] == pytest.approx(expected, rel=1e-4)
    assert epoch.metrics["train_squared_error"] == pytest.approx(expected, rel=1e-4)


def test_more_components_than_values_is_an_error_that_names_size(digit: ItemSpec) -> None:
    with pytest.raises(SettingError, match=r"size: 65, must be at most 64") as caught:
        PCASettings(size=65).build(digit)
    assert caught.value.key == "size"


def test_two_fits_are_identical(digit: ItemSpec, digits: np.ndarray) -> None:
    (first, _), (second, _) = fitted(digit, digits, 12), fitted(digit, digits, 12)
    for name, tensor in first.state_dict().items():
        assert torch.equal(tensor, second.state_dict()[name]), name


def test_fewer_items_than_dimensions_are_rebuilt_exactly(digit: ItemSpec, digits: np.ndarray) -> None:
    few = digits[:10]
    model, (epoch,) = fitted(digit, few, 20)
    np.testing.assert_allclose((model.components @ model.components.T).numpy(), np.eye(20), atol=1e-5)
    np.testing.assert_allclose(model.variances[9:].numpy(), 0, atol=1e-6)  # ten items span nine directions
    assert epoch.metrics["train_loss"] == pytest.approx(0, abs=1e-6)


def test_a_single_item_is_its_own_mean(digit: ItemSpec, digits: np.ndarray) -> None:
    model, _ = fitted(digit, digits[:1], 3)
    np.testing.assert_allclose(model.mean.numpy(), digits[0].ravel() / 255.0, atol=1e-7)
    assert (model.variances == 0).all()


def test_the_state_makes_a_fresh_model_the_fitted_one(digit: ItemSpec, digits: np.ndarray) -> None:
    model, (epoch,) = fitted(digit, digits, 5)
    fresh = PCASettings(size=5).build(digit)
    fresh.load_state_dict(epoch.state.part("model"))
    items = torch.tensor(digits[:20])
    assert torch.equal(fresh.encode(items), model.encode(items))
    assert list(fresh.fit(TrainingRun(digits[:9], digits[:9], epochs=1, seed=0), resume=epoch.state)) == []
    assert torch.equal(fresh.components, model.components)


def smooth(n: int, values: int) -> np.ndarray:
    """Vectors whose variances fall as they do in photos."""
    return (np.random.default_rng(0).normal(size=(n, values)) / np.arange(1, values + 1)).astype(np.float32)


@pytest.mark.parametrize(("n", "values"), [(40, 300), (300, 200)])
def test_few_components_of_many_values_agree_with_scikit_learn_without_a_full_decomposition(
    n: int, values: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    items = smooth(n, values)
    monkeypatch.delattr(torch.linalg, "eigh")
    model, _ = fitted(vectors(values), items, 2)
    assert_agrees_with_scikit_learn(model, items, items.astype(np.float64))


def test_fewer_items_than_values_never_make_a_matrix_of_values_by_values(monkeypatch: pytest.MonkeyPatch) -> None:
    model, sides = PCASettings(size=5).build(vectors(2000)), []
    monkeypatch.setattr(
        torch, "zeros", lambda *shape, zeros=torch.zeros, **kind: sides.append(shape) or zeros(*shape, **kind)
    )
    for _ in model.fit(TrainingRun(smooth(30, 2000), smooth(9, 2000), epochs=1, seed=0)):
        pass
    assert sides
    assert (2000, 2000) not in sides


@pytest.mark.parametrize(("n", "values"), [(500, 400), (300, 400)])
@pytest.mark.parametrize("size", [8, 40])
def test_data_of_fewer_directions_than_components_has_orthonormal_ones(n: int, values: int, size: int) -> None:
    random = np.random.default_rng(0)
    items = (random.normal(size=(n, 3)) @ random.normal(size=(3, values)) + 7).astype(np.float32)
    model, (epoch,) = fitted(vectors(values), items, size)
    np.testing.assert_allclose((model.components @ model.components.T).numpy(), np.eye(size), atol=1e-5)
    np.testing.assert_allclose(model.variances[3:].numpy(), 0, atol=1e-3)
    assert epoch.metrics["train_loss"] == pytest.approx(0, abs=1e-3)


def test_items_that_are_all_the_same_have_no_variance() -> None:
    model, _ = fitted(vectors(100), np.full((200, 100), 3, np.float32), 2)
    assert (model.variances == 0).all()
    np.testing.assert_allclose((model.components @ model.components.T).numpy(), np.eye(2), atol=1e-5)
