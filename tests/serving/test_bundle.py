from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from tiny_bundles import CODEBOOK, PASSED, SHAPE, write_linear, write_quantized

from items.digests import sha256_of
from serving.bundle import Bundle, BundleError
from serving.manifest import MANIFEST, BatchCheck, Manifest

REUSED_FIXTURE = settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])


def rewrite(folder: Path, **changes) -> None:
    """Change a manifest and give it the digest of its new content."""
    draft = Manifest.model_validate_json((folder / MANIFEST).read_bytes()).model_copy(update=changes)
    (folder / MANIFEST).write_text(draft.model_copy(update={"digest": draft.computed_digest()}).model_dump_json())


@REUSED_FIXTURE
@given(items=arrays.arrays(np.uint8, st.integers(0, 9).map(lambda n: (n, *SHAPE))))
def test_decode_undoes_encode_of_an_orthogonal_projection(linear: Bundle, items: np.ndarray) -> None:
    rebuilt = linear.decode(linear.encode(items, batch_size=4), batch_size=3)
    assert rebuilt.shape == items.shape
    np.testing.assert_allclose(rebuilt * 255, items, atol=1e-3)


@REUSED_FIXTURE
@given(items=arrays.arrays(np.uint8, st.integers(1, 9).map(lambda n: (n, *SHAPE))))
def test_codes_are_the_nearest_of_the_codebook(quantized: Bundle, items: np.ndarray) -> None:
    rows = items.reshape(-1, 4) / 255
    distances = ((rows[:, None] - CODEBOOK.astype(float)) ** 2).sum(-1)
    codes = quantized.encode(items, batch_size=4)
    assert codes.dtype == np.uint8
    chosen = np.take_along_axis(distances, codes.reshape(-1, 1).astype(int), 1)[:, 0]
    np.testing.assert_allclose(chosen, distances.min(1), atol=1e-6)


def test_features_of_discrete_codes_are_the_codebooks_vectors(quantized: Bundle, pictures: np.ndarray) -> None:
    features = quantized.embed(pictures, batch_size=5)
    np.testing.assert_array_equal(features, CODEBOOK[quantized.encode(pictures)].reshape(len(pictures), 16))
    assert features.shape[1] == quantized.feature_dimensions


def test_features_of_real_codes_are_the_codes(linear: Bundle, pictures: np.ndarray) -> None:
    np.testing.assert_array_equal(linear.embed(pictures, 5), linear.encode(pictures, 5))


def test_no_items_give_no_codes(quantized: Bundle) -> None:
    assert quantized.encode(np.empty((0, *SHAPE), np.uint8)).shape == (0, 4)
    assert quantized.embed(np.empty((0, *SHAPE), np.uint8)).shape == (0, 16)
    assert quantized.decode(np.empty((0, 4), np.uint8)).shape == (0, *SHAPE)


@pytest.mark.parametrize(
    ("items", "complaint"),
    [
        (np.zeros((2, 32, 32, 3), np.uint8), r"items have shape \(32, 32, 3\), the bundle linear takes \(4, 4, 1\)"),
        (np.zeros((2, *SHAPE), np.float32), "items are float32, the bundle linear takes uint8"),
        (np.uint8(3), r"items have shape \(\), the bundle linear takes \(4, 4, 1\)"),
    ],
)
def test_unfit_items_are_named_with_what_is_allowed(linear: Bundle, items: np.ndarray, complaint: str) -> None:
    with pytest.raises(BundleError, match=complaint):
        linear.encode(items)


@pytest.mark.parametrize(
    ("codes", "complaint"),
    [
        (np.full((2, 4), 10, np.uint8), "a code is 10, the bundle quantized takes 0 to 9"),
        (np.full((2, 4), -1, np.int64), "a code is -1, the bundle quantized takes 0 to 9"),
        (np.zeros((2, 4), np.float32), r"codes are float32, the bundle quantized takes integers \(uint8\)"),
        (np.zeros((2, 5), np.uint8), r"codes have shape \(5,\), the bundle quantized takes \(4,\)"),
    ],
)
def test_unfit_codes_are_named_with_what_is_allowed(quantized: Bundle, codes: np.ndarray, complaint: str) -> None:
    with pytest.raises(BundleError, match=complaint):
        quantized.decode(codes)


def test_wider_integers_are_taken_where_their_values_fit(quantized: Bundle, pictures: np.ndarray) -> None:
    codes = quantized.encode(pictures)
    np.testing.assert_array_equal(quantized.decode(codes.astype(np.int64)), quantized.decode(codes))


def test_real_codes_of_another_precision_are_refused(linear: Bundle) -> None:
    with pytest.raises(BundleError, match="codes are float64, the bundle linear takes float32"):
        linear.decode(np.zeros((1, 16)))


def test_a_bundle_without_decoder_says_so(tmp_path: Path) -> None:
    folder = write_linear(tmp_path / "bundle")
    rewrite(folder, decoder=None)
    bundle = Bundle.load(folder)
    with pytest.raises(BundleError, match="linear has no decoder"):
        bundle.decode(np.zeros((1, 16), np.float32))


@pytest.mark.parametrize("size", [0, -1])
def test_batches_have_items(linear: Bundle, pictures: np.ndarray, size: int) -> None:
    with pytest.raises(BundleError, match=f"batch_size is {size}"):
        linear.encode(pictures, size)


def test_a_folder_without_manifest_is_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"has no bundle\.json"):
        Bundle.load(tmp_path)


def test_a_truncated_manifest_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    folder = write_linear(tmp_path / "bundle")
    content = (folder / MANIFEST).read_bytes()
    (folder / MANIFEST).write_bytes(content[: len(content) // 2])
    with pytest.raises(BundleError, match=r"bundle\.json: the file: Invalid JSON"):
        Bundle.load(folder)


def test_a_manifest_changed_by_hand_is_refused(tmp_path: Path) -> None:
    folder = write_linear(tmp_path / "bundle")
    (folder / MANIFEST).write_text((folder / MANIFEST).read_text().replace('"linear"', '"better"'))
    with pytest.raises(BundleError, match="digest is"):
        Bundle.load(folder)


def test_a_bundle_without_the_fields_added_since_is_still_read(tmp_path: Path, pictures: np.ndarray) -> None:
    folder = write_quantized(tmp_path / "bundle")
    expected = Bundle.load(folder).encode(pictures)
    document = json.loads((folder / MANIFEST).read_text())
    del document["digest"], document["code"]["alphabets"], document["certificate"]["different_bound"]
    canonical = json.dumps(document, sort_keys=True, separators=(",", ":"))
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    (folder / MANIFEST).write_text(json.dumps(document | {"digest": digest}))
    bundle = Bundle.load(folder)
    assert bundle.manifest.code.alphabets == 1
    assert bundle.manifest.certificate.different_bound is None
    np.testing.assert_array_equal(bundle.encode(pictures), expected)


def test_other_files_in_the_folder_do_not_matter(tmp_path: Path, pictures: np.ndarray) -> None:
    folder = write_linear(tmp_path / "bundle")
    expected = Bundle.load(folder).encode(pictures)
    (folder / "unit.json").write_text('{"key": "k", "files": {}}')
    np.testing.assert_array_equal(Bundle.load(folder).encode(pictures), expected)


def test_a_certificate_says_how_many_codes_differ_of_how_many() -> None:
    def summary(**found: int) -> str:
        checks = [
            BatchCheck(batch=n, items=70, encoder_difference=3e-7, decoder_difference=n * 1e-6, **found) for n in (1, 2)
        ]
        return PASSED.model_copy(update={"batches": tuple(checks)}).summary

    none = {"codes_different": 0, "codes_different_beyond_ties": 0}
    assert summary(codes_compared=0, **none) == "largest difference 2e-06"
    assert summary(codes_compared=500, **none) == "largest difference 2e-06, 0 of 1000 codes differ"
    ties = {"codes_different": 3, "codes_different_beyond_ties": 0}
    assert summary(codes_compared=500, **ties) == "largest difference 2e-06, 6 of 1000 codes differ (all ties)"
    assert summary(**ties) == "largest difference 2e-06, 6 codes differ (all ties)"
    wrong = {"codes_different": 3, "codes_different_beyond_ties": 1}
    assert summary(codes_compared=500, **wrong).endswith("6 of 1000 codes differ (2 of them no ties)")


@pytest.mark.parametrize("file", ["encoder.onnx", "decoder.onnx"])
def test_a_changed_graph_is_refused(tmp_path: Path, file: str) -> None:
    folder = write_linear(tmp_path / "bundle")
    (folder / file).write_bytes((folder / file).read_bytes() + b"\0")
    with pytest.raises(BundleError, match=f"{file}: sha256 is"):
        Bundle.load(folder)


def test_a_graph_changed_after_loading_does_not_run(tmp_path: Path, pictures: np.ndarray) -> None:
    bundle = Bundle.load(write_linear(tmp_path / "bundle"))
    (bundle.folder / "encoder.onnx").write_bytes(b"something else")
    with pytest.raises(BundleError, match="sha256 is"):
        bundle.encode(pictures)


def test_a_graph_with_other_outputs_than_the_manifest_says_is_refused(tmp_path: Path, pictures: np.ndarray) -> None:
    """The manifest is consistent and its digests hold; only the graph itself is of another bundle."""
    folder = write_linear(tmp_path / "bundle")
    narrow = write_linear(tmp_path / "narrow", weights=np.eye(16)[:, :3])
    graph = Bundle.load(narrow).manifest.encoder
    (folder / "encoder.onnx").write_bytes((narrow / "encoder.onnx").read_bytes())
    described = Bundle.load(narrow).manifest.encoder.model_copy(
        update={"outputs": tuple(spec.model_copy(update={"shape": (None, 16)}) for spec in graph.outputs)}
    )
    rewrite(folder, encoder=described)
    with pytest.raises(BundleError, match=r"codes is float32 .*3.*, the manifest says float32 .*16"):
        Bundle.load(folder).encode(pictures)


def test_a_manifest_at_odds_with_itself_is_refused(tmp_path: Path) -> None:
    folder = write_quantized(tmp_path / "bundle")
    loaded = Bundle.load(folder).manifest
    rewrite(folder, code=loaded.code.model_copy(update={"dtype": "uint16"}))
    with pytest.raises(BundleError, match="codes of the encoder is uint8"):
        Bundle.load(folder)


def test_what_is_no_onnx_graph_is_an_error_of_the_bundle(tmp_path: Path, pictures: np.ndarray) -> None:
    folder = write_linear(tmp_path / "bundle")
    (folder / "encoder.onnx").write_bytes(b"not a graph")
    graph = Manifest.model_validate_json((folder / MANIFEST).read_bytes()).encoder
    rewrite(folder, encoder=graph.model_copy(update={"sha256": sha256_of(folder / "encoder.onnx")}))
    with pytest.raises(BundleError, match="ONNX Runtime cannot open it"):
        Bundle.load(folder).encode(pictures)


def test_a_graphs_file_cannot_lie_outside_the_bundle(tmp_path: Path) -> None:
    folder = write_linear(tmp_path / "bundle")
    (folder / "encoder.onnx").rename(tmp_path / "encoder.onnx")
    graph = Manifest.model_validate_json((folder / MANIFEST).read_bytes()).encoder
    rewrite(folder, encoder=graph.model_copy(update={"file": "../encoder.onnx"}))
    with pytest.raises(BundleError, match="is not there"):
        Bundle.load(folder)
