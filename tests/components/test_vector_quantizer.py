from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from components.bottlenecks import VectorQuantizerSettings
from components.bottlenecks.vector_quantizer import VectorQuantizer, k_means, nearest
from components.settings import SettingError
from items.spec import ItemSpec

ITEM = ItemSpec(kind="image", shape=(8, 8, 1), dtype="uint8")


def quantizer(codebook: list[list[float]] | Tensor, positions: int = 1, **settings: float) -> VectorQuantizer:
    """Build a quantizer of the vectors `codebook`, each evenly used so far."""
    vectors = torch.as_tensor(codebook, dtype=torch.float32)
    made = VectorQuantizer(
        VectorQuantizerSettings(codebook_size=len(vectors), size=vectors.shape[1], **settings), positions
    )
    made.codebook.copy_(vectors)
    made.sums.copy_(vectors / len(vectors))
    return made


def buffers(made: VectorQuantizer) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in made.state_dict().items()}


@pytest.fixture
def random_quantizer() -> VectorQuantizer:
    torch.manual_seed(0)
    return quantizer(torch.randn(33, 5), positions=7).eval()


def test_each_vector_gets_its_nearest_code(random_quantizer: VectorQuantizer) -> None:
    latents = torch.randn(20, 7, 5)
    distances = np.square(latents.numpy()[:, :, None] - random_quantizer.codebook.numpy()).sum(-1)
    codes = random_quantizer.encode(latents)
    np.testing.assert_array_equal(codes.numpy(), distances.argmin(-1))
    assert codes.dtype == torch.int64
    assert torch.equal(random_quantizer.embed(codes), random_quantizer.codebook[codes])
    torch.testing.assert_close(random_quantizer(latents).code, random_quantizer.embed(codes))


def test_gradient_is_the_identitys_plus_the_commitments(random_quantizer: VectorQuantizer) -> None:
    latents = torch.randn(4, 7, 5, requires_grad=True)
    downstream = torch.randn(4, 7, 5)
    output = random_quantizer(latents)
    ((output.code * downstream).sum() + output.losses["commitment"]).backward()
    nearest = random_quantizer.embed(random_quantizer.encode(latents.detach()))
    expected = downstream + 0.25 * 2 * (latents.detach() - nearest) / len(latents)
    torch.testing.assert_close(latents.grad, expected)


def test_commitment_is_a_mean_over_items_of_a_sum_over_dimensions(random_quantizer: VectorQuantizer) -> None:
    latents = torch.randn(4, 7, 5)
    nearest = random_quantizer.embed(random_quantizer.encode(latents))
    expected = 0.25 * np.square((latents - nearest).numpy()).sum((1, 2)).mean()
    twice = torch.cat([latents, latents])
    assert random_quantizer(latents).losses["commitment"].item() == pytest.approx(expected, rel=1e-5)
    assert random_quantizer(twice).losses["commitment"].item() == pytest.approx(expected, rel=1e-5)


def test_codebook_follows_the_moving_averages_worked_out_by_hand() -> None:
    made = quantizer([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]], positions=2, decay=0.9, dead_code_threshold=0.0)
    counts, sums = np.full(3, 1 / 3), made.codebook.double().numpy() / 3
    batches = [
        ([[[1.0, 1.0], [9.0, 1.0]], [[2.0, 0.0], [11.0, -1.0]]], [0, 1, 0, 1]),
        ([[[1.0, 9.0], [0.0, 1.0]], [[1.0, 2.0], [-1.0, 1.0]]], [2, 0, 0, 0]),
    ]
    for latents, drew in batches:
        made(torch.tensor(latents))
        vectors = np.reshape(latents, (4, 2))
        for code in range(3):
            own = [vector for vector, index in zip(vectors, drew, strict=True) if index == code]
            counts[code] = 0.9 * counts[code] + 0.1 * len(own) / 4
            sums[code] = 0.9 * sums[code] + 0.1 * np.sum(own, axis=0) / 4
        np.testing.assert_allclose(made.counts.numpy(), counts, rtol=1e-5)
        np.testing.assert_allclose(made.sums.numpy(), sums, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(made.codebook.numpy(), sums / counts[:, None], rtol=1e-5, atol=1e-6)


def test_no_optimizer_can_touch_the_codebook(random_quantizer: VectorQuantizer) -> None:
    assert list(random_quantizer.parameters()) == []
    assert set(random_quantizer.state_dict()) == {"codebook", "counts", "sums"}


def test_evaluation_leaves_the_codebook_alone_and_training_does_not(random_quantizer: VectorQuantizer) -> None:
    before, latents = buffers(random_quantizer), torch.randn(9, 7, 5)
    random_quantizer(latents)
    assert all(torch.equal(before[name], tensor) for name, tensor in buffers(random_quantizer).items())
    random_quantizer.train()(latents)
    assert not any(torch.equal(before[name], tensor) for name, tensor in buffers(random_quantizer).items())


def test_a_dead_code_is_revived_for_good() -> None:
    torch.manual_seed(0)
    made = quantizer([[0.0, 0.0], [5.0, 0.0], [1000.0, 1000.0]], dead_code_threshold=0.1)
    made.counts[2], made.sums[2] = 0.03, 30.0
    latents = torch.tensor([[[0.5, 1.0]], [[-0.5, 0.0]], [[5.5, 1.0]], [[4.5, 0.5]], [[0.1, 0.2]], [[5.1, 0.2]]])
    made(latents)
    even = 1 / 3
    revived = made.codebook[2].clone()
    assert (latents.flatten(1) == revived).all(1).any()
    assert made.counts[2].item() == pytest.approx(even)
    torch.testing.assert_close(made.sums[2], revived * even)

    made(torch.zeros(6, 1, 2))  # draws nothing on the revived code
    torch.testing.assert_close(made.codebook[2], revived)


def test_codes_in_use_are_not_revived() -> None:
    made = quantizer([[0.0], [5.0]], dead_code_threshold=0.1)
    made(torch.tensor([[[0.0]], [[0.0]], [[5.0]], [[5.0]]]))
    torch.testing.assert_close(made.codebook, torch.tensor([[0.0], [5.0]]))


def test_initialize_starts_on_the_clusters_with_sums_that_agree() -> None:
    torch.manual_seed(0)
    corners = torch.tensor([[0.0, 0.0], [50.0, 0.0], [0.0, 50.0], [50.0, 50.0]])
    latents = (corners.repeat(25, 1) + 0.1 * torch.randn(100, 2)).reshape(50, 2, 2)
    made = quantizer(torch.full((16, 2), 1e6), positions=2)
    made.initialize(latents)
    distance = (latents.reshape(-1, 1, 2) - made.codebook).norm(dim=-1).amin(1)
    assert distance.max() < 1
    torch.testing.assert_close(made.sums / made.counts[:, None], made.codebook)
    assert made.counts.min() > 0


def test_a_codebook_starts_from_some_latents_of_many() -> None:
    torch.manual_seed(0)
    made = quantizer([[0.0], [1.0]])
    made.initialize(torch.tensor([[[0.0]], [[10.0]]] * 5000))
    assert made.codebook.flatten().sort().values.tolist() == [0.0, 10.0]
    assert made.counts.sum().item() == pytest.approx(1.0)
    assert (made.counts * 128).round().sum().item() == 128  # POINTS of each code


def test_the_nearest_are_those_of_torch() -> None:
    torch.manual_seed(0)
    vectors, codebook = torch.randn(3, 40, 5), torch.randn(30, 5)
    expected = torch.cdist(vectors.double(), codebook.double().expand(3, 30, 5)).argmin(-1)
    assert nearest(vectors, codebook).equal(expected)
    assert nearest(vectors, codebook).dtype == torch.int64


def test_the_items_that_started_the_codebook_do_not_outweigh_the_batches_after_them() -> None:
    few, many = quantizer([[0.0], [1.0]], decay=0.9), quantizer([[0.0], [1.0]], decay=0.9)
    torch.manual_seed(0)
    few.initialize(torch.tensor([[[0.0]], [[10.0]]]))
    many.initialize(torch.tensor([[[0.0]], [[10.0]]] * 60))
    for made in (few, many):
        for _ in range(7):
            made(torch.tensor([[[1.0]], [[11.0]]]))
        expected = torch.tensor([[1.0], [11.0]]) - 0.9**7
        torch.testing.assert_close(made.codebook.sort(0).values, expected)


def test_a_code_that_draws_nothing_stays_where_it_is() -> None:
    made = quantizer([[0.0], [5.0]], decay=0.5, dead_code_threshold=0.0)
    for _ in range(40):
        made(torch.zeros(4, 1, 1))
    torch.testing.assert_close(made.codebook, torch.tensor([[0.0], [5.0]]))


def distortion(vectors: Tensor, centres: Tensor) -> float:
    return (vectors[:, None] - centres).square().sum(-1).amin(1).mean().item()


def test_each_k_means_step_lowers_the_distortion() -> None:
    vectors = torch.randn(300, 3, generator=torch.Generator().manual_seed(0))
    course = []
    for iterations in range(8):
        torch.manual_seed(1)
        course.append(distortion(vectors, k_means(vectors, 10, iterations)[0]))
    assert course == sorted(course, reverse=True)
    assert course[-1] < 0.85 * course[0]


def test_k_means_centres_are_the_means_of_what_they_drew() -> None:
    torch.manual_seed(0)
    vectors = torch.randn(60, 2)
    centres, drawn = k_means(vectors, 4, 100)
    nearest = (vectors[:, None] - centres).square().sum(-1).argmin(1)
    assert drawn.tolist() == torch.bincount(nearest, minlength=4).tolist()
    torch.testing.assert_close(centres, torch.stack([vectors[nearest == code].mean(0) for code in range(4)]))


def test_more_k_means_centres_than_vectors_start_near_vectors_and_are_no_copies() -> None:
    torch.manual_seed(0)
    vectors = torch.randn(5, 3)
    centres, drawn = k_means(vectors, 13)
    assert centres.shape == (13, 3)
    assert drawn.sum() == 5
    assert len(centres.unique(dim=0)) == 13
    assert distortion(vectors, centres) == pytest.approx(0, abs=1e-9)
    assert 0 < distortion(centres, vectors) < 0.1
    same, _ = k_means(torch.ones(4, 2), 6)
    assert len(same.unique(dim=0)) > 2
    assert (same - 1).abs().max() < 0.01


@pytest.mark.parametrize(
    ("codebook_size", "positions", "bits"), [(512, 49, 441), (2, 3, 3), (10, 2, 2 * math.log2(10))]
)
def test_bits_are_positions_times_log2_of_the_codebook_size(codebook_size: int, positions: int, bits: float) -> None:
    made = VectorQuantizerSettings(codebook_size=codebook_size, size=4).build(ITEM, positions)
    assert made.code.bits_per_item == pytest.approx(bits)
    assert made.code.shape == (positions,)
    assert made.latent_shape == (positions, 4)


def test_positions_in_the_settings_win_over_the_networks() -> None:
    assert VectorQuantizerSettings(codebook_size=4, size=2, positions=3).build(ITEM, 49).code.shape == (3,)


def test_the_gap_of_a_choice_is_how_much_farther_it_is_than_the_nearest() -> None:
    made = quantizer([[0.0, 0.0], [4.0, 0.0], [100.0, 0.0]], positions=3)
    latents = torch.tensor([[[2.0, 1.0], [1.0, 0.0], [3.5, 0.0]]])
    assert torch.equal(made.choice_gaps(latents, made.encode(latents)), torch.zeros(1, 3))
    # The other of the two nearest: 5 and 5, then 9 and 1, then 12.25 and 0.25.
    second = made.choice_gaps(latents, torch.tensor([[1, 1, 0]]))
    spread = np.std([[5, 5, 98**2 + 1], [1, 9, 99**2], [12.25, 0.25, 96.5**2]], axis=1).mean()
    np.testing.assert_allclose(second.numpy(), [[0.0, 8 / spread, 12 / spread]])


def test_choice_gaps_do_not_shrink_where_latents_and_codebook_are_moved_together() -> None:
    latents, codebook = torch.tensor([[[2.0, 1.0], [1.0, 0.0]]]), torch.tensor([[0.0, 0.0], [4.0, 0.0], [6.0, 0.0]])
    here, there = (
        quantizer((codebook + offset).tolist(), positions=2).choice_gaps(latents + offset, torch.tensor([[2, 1]]))
        for offset in (0.0, 4096.0)
    )
    np.testing.assert_allclose(here.numpy(), there.numpy(), rtol=1e-6)


def test_a_code_of_more_bits_than_the_raw_item_is_an_error_that_names_the_codebook_size() -> None:
    byte = ItemSpec(kind="vector", shape=(1,), dtype="uint8")
    assert VectorQuantizerSettings(codebook_size=256, size=2).build(byte, 1).code.bits_per_item == byte.bits
    with pytest.raises(SettingError, match=r"codebook_size: 257, must make a code of at most 8 bits.*8\.0") as caught:
        VectorQuantizerSettings(codebook_size=257, size=2).build(byte, 1)
    assert caught.value.key == "codebook_size"


def test_bf16_autocast_does_not_blur_the_choice() -> None:
    made = quantizer([[1.0], [1.002]], dead_code_threshold=0.0)  # one number in bf16
    with torch.autocast("cpu", torch.bfloat16):
        output = made(torch.tensor([[[1.0021]], [[0.9999]]]))
        halves = made.eval()(torch.ones(2, 1, 1, dtype=torch.bfloat16))
    torch.testing.assert_close(output.code, torch.tensor([[[1.002]], [[1.0]]]), atol=1e-6, rtol=0)
    assert output.code.dtype == output.losses["commitment"].dtype == halves.code.dtype == torch.float32


class LargestTensor(TorchDispatchMode):
    """Notes the bytes of the largest tensor that any operation made."""

    largest = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **kwargs or {})
        self.largest = max([self.largest, *(part.nbytes for part in tree_leaves(made) if isinstance(part, Tensor))])
        return made


@pytest.mark.parametrize("settings", [{}, {"cosine": True}, {"codebook": "gradient"}])
def test_distances_are_held_a_block_at_a_time_and_nothing_changes(
    settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    latents = torch.randn(60, 7, 3, generator=torch.Generator().manual_seed(0))
    results, largest = [], []
    for bound in (2**26, 2**14):
        monkeypatch.setattr("components.bottlenecks.vector_quantizer.BLOCK_BYTES", bound, raising=False)
        torch.manual_seed(0)
        quantizer = VectorQuantizerSettings(codebook_size=100, size=3, **settings).build(ITEM, 7)
        with LargestTensor() as made, torch.no_grad():
            quantizer.initialize(latents)
            quantizer.train()(latents)
            codes = quantizer.encode(latents)
            gaps = quantizer.choice_gaps(latents, codes.flip(0))
        results.append((codes, quantizer.codebook.detach(), gaps))
        largest.append(made.largest)
    assert largest[0] >= 60 * 7 * 100 * 4
    assert largest[1] <= 2**14
    for whole, blocks in zip(*results, strict=True):
        assert torch.equal(whole, blocks)


def test_an_exported_graph_has_no_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("components.bottlenecks.vector_quantizer.BLOCK_BYTES", 1)

    class Encode(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.quantizer = VectorQuantizerSettings(codebook_size=10, size=3).build(ITEM, 7)

        def forward(self, latents: Tensor) -> Tensor:
            return self.quantizer.encode(latents)

    latents, module = torch.randn(9, 7, 3), Encode().eval()
    program = torch.export.export(module, (latents[:2],), dynamic_shapes=({0: torch.export.Dim("batch")},))
    assert not any("split" in str(node.target) for node in program.graph.nodes)
    assert torch.equal(program.module()(latents), module(latents))
