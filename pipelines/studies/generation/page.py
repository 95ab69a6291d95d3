"""The page of a study of generation: what a code costs, and samples of every kind against real items."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from components.data import open_dataset
from components.models import AutoencoderSettings
from components.prior import PriorSettings
from components.samples import ratio_of_medians
from pipelines.project import StageError
from pipelines.studies.bundles import open_bundle, rebuilt
from pipelines.studies.contract import Picture, Study, Table, write_page
from pipelines.studies.generation.pictures import draw_grid, draw_planes, draw_samples
from pipelines.studies.generation.prior import levels_of, read_prior
from pipelines.studies.generation.samples import (
    SIDE,
    CodeModels,
    Comparison,
    Plane,
    Posterior,
    Reference,
    Samples,
    make_samples,
    models_of,
    plane_of,
    posterior_of,
)
from pipelines.studies.text import difference_text, mean_text
from pipelines.sweep.record import read_record
from pipelines.sweep.trained import model_settings

Array = np.ndarray[Any, np.dtype[Any]]

SHOWN = ("vae", "uniform", "independent", "prior")
COMPARED = (("vae_plane", "plane"), ("vae_fitted", "vae"), ("prior", "independent"), ("prior", "vae"))
WHOLE, POINTS = "{:.0%}", "{:+.1%}"


def write(
    out: Path,
    study: dict[str, str],
    experiments: dict[str, str],
    prior_settings: dict[str, Any],
    epochs: int,
    samples: int,
    seed: int,
    data: Path,
    plane: Path,
    vae_plane: Path,
    vae: Path,
    quantizer: Path,
    prior: Path,
    vae_plane_run: Path,
    vae_run: Path,
) -> None:
    """Write the page."""
    for key, run in (("vae_plane", vae_plane_run), ("vae", vae_run)):
        check_variational(f"studies.{study['dataset']}.{study['name']}.{key}", experiments[key], run)
    dataset = open_dataset(data)
    reference = Reference(dataset, samples)
    planes = (
        plane_of(experiments["plane"], open_bundle(plane), reference.items, "plane", standard=False),
        plane_of(experiments["vae_plane"], open_bundle(vae_plane), reference.items, "vae_plane", standard=True),
    )
    posterior = posterior_of(experiments["vae"], open_bundle(vae), reference.items)
    bundle, settings = open_bundle(quantizer), PriorSettings.model_validate(prior_settings)
    positions = int(np.prod(bundle.manifest.code.shape))
    learned = read_prior(prior, settings, positions, levels_of(bundle))
    models = models_of(experiments["quantizer"], bundle, dataset, learned)
    unseen = Samples("rebuilt", models.name, "of validation items", rebuilt(bundle, reference.unseen))
    real = Samples("real", "none", "validation items themselves", dataset.schema.item.scaled(reference.unseen))
    ways = [real, unseen, *make_samples(planes, posterior, models, reference.count, seed)]
    compared = {way.key: reference.compare(way) for way in ways}
    drawn = {
        "ae_grid.png": draw_grid(planes[0]),
        "vae_grid.png": draw_grid(planes[1]),
        "planes.png": draw_planes(planes),
        "samples.png": draw_samples([compared[key] for key in SHOWN], reference.items),
    }
    write_page(out, describe(study, epochs, planes, posterior, models, compared, reference.distances), drawn)


def check_variational(path: str, experiment: str, run: Path) -> None:
    """Check the bottleneck of an experiment, which its bundle does not give.

    Raises:
        StageError: it is not gaussian.
    """
    settings = model_settings(read_record(run))
    kind = settings.bottleneck.kind if isinstance(settings, AutoencoderSettings) else "none"
    if kind != "gaussian":
        raise StageError(f"{path}: {experiment}, must have the bottleneck gaussian, it has {kind}")


def describe(
    study: dict[str, str],
    epochs: int,
    planes: tuple[Plane, Plane],
    posterior: Posterior,
    models: CodeModels,
    compared: dict[str, Comparison],
    unseen: Array,
) -> Study:
    """Return the page; `unseen` are test items' distances to the nearest training item."""
    sources = {source.name: source.bundle for source in (*planes, posterior, models)}
    cost = float(models.learned.mean())
    return Study(
        **study,
        title="Can the decoder alone create something?",
        question="A decoder is given codes that no encoder made: a grid of codes of two numbers, codes drawn from a "
        "known distribution, codes drawn from a model that was trained on codes. Samples are compared with test items, "
        "pixel by pixel: precision is the share of samples that lie as close to a test item as its third neighbour, "
        "recall the share of test items that lie so close to a sample. Blurred samples lie between real items, so "
        "their precision is high, and only recall and their lack of detail show it. The distance to the nearest "
        "training item is that of a copy or of something new. One training run each.",
        summary=f"The prior’s samples cover {mean_text(compared['prior'].found, WHOLE)} of real items. Under it a code "
        f"of {models.name} takes {cost:.0f} bits, {cost / models.flat - 1:+.0%} of {models.flat:.0f}.",
        tables=(
            cost_table(models, epochs),
            sample_table(compared, unseen),
            recall_table(compared),
            code_table(planes, posterior),
        ),
        pictures=(
            Picture(
                file="ae_grid.png",
                caption=f"{planes[0].name}: an even grid over the range of its codes, decoded; framed where no "
                "training code is near.",
            ),
            Picture(
                file="vae_grid.png",
                caption=f"{planes[1].name}: a grid even in the probability of N(0, I), decoded; holes framed.",
            ),
            Picture(file="planes.png", caption="Training codes and the points of the two grids."),
            Picture(
                file="samples.png",
                caption="Samples, the first of each kind, not chosen; below each the nearest training item and its "
                "distance, the root of the squared error.",
            ),
        ),
        metrics=metrics_of(planes, posterior, models, compared, unseen),
        made_from={name: bundle.manifest.digest for name, bundle in sources.items()},
    )


def cost_table(models: CodeModels, epochs: int) -> Table:
    """Return the table of what a code costs under each model of codes."""
    rows = [("as it is", f"{models.flat:.1f}", "0%")]
    for name, bits in (("position by position", models.independent), ("prior", models.learned)):
        rows.append((name, mean_text(bits, "{:.1f}"), f"{1 - float(bits.mean()) / models.flat:.0%}"))
    return Table(
        caption=f"Bits of a test item’s code of {models.name} for an ideal entropy coder, with 95 % intervals. Passes "
        f"of the prior over the training codes: {epochs}",
        columns=("Coded", "Bits an item", "Saved"),
        rows=tuple(rows),
    )


def sample_table(compared: dict[str, Comparison], unseen: Array) -> Table:
    """Return the table of samples of every kind against real items."""
    return Table(
        caption="Samples against real items, with 95 % intervals. Distance: to the nearest training item, as a "
        "multiple of test items’ (medians); below 1 is blurred or copied. Near: the share that is nearer than 99 % of "
        "test items. Detail: what 32 principal components cannot show, as a share of real items’; little of it is "
        "blur, too much of it noise",
        columns=("Decoder", "Codes", "Precision", "Recall", "Distance", "Near", "Detail"),
        rows=tuple(
            (
                one.samples.decoder,
                one.samples.codes,
                mean_text(one.real, WHOLE),
                mean_text(one.found, WHOLE),
                "{:.2f} ({:.2f}–{:.2f})".format(*ratio_of_medians(one.distances, unseen)),
                mean_text(one.near, WHOLE),
                f"{one.detail:.0%}",
            )
            for one in compared.values()
        ),
    )


def recall_table(compared: dict[str, Comparison]) -> Table:
    """Return the table of differences of recall, over the same test items."""
    rows = []
    for first, second in COMPARED:
        a, b = compared[first], compared[second]
        names = (f"{one.samples.decoder} {one.samples.codes}" for one in (a, b))
        rows.append((*names, difference_text(a.found.astype(np.float64), b.found.astype(np.float64), POINTS)))
    return Table(
        caption="Differences of recall, first less second, with 95 % intervals over the same test items",
        columns=("First", "Second", "Difference"),
        rows=tuple(rows),
    )


def code_table(planes: tuple[Plane, Plane], posterior: Posterior) -> Table:
    """Return the table of how codes of real numbers are distributed."""
    deviations = {plane.name: plane.codes.std(0) for plane in planes}
    places = {plane.name: (f"{plane.holes.mean():.0%}", f"{plane.crowding:.0%}") for plane in planes}
    divergences = {posterior.name: f"{posterior.divergence:.2f}"}
    deviations[posterior.name] = posterior.deviations
    return Table(
        caption=f"Codes of training items; grids of {SIDE} × {SIDE}. A point in a hole is farther from every training "
        "code than 99 % of those are from another. A variational autoencoder’s codes are its posteriors’ means; the "
        "posteriors’ own spread comes on top where it is trained. Nats: from a Gaussian fitted to the codes to N(0, I)",
        columns=(
            "Decoder",
            "Grid points in holes",
            "Grid points nearest to half of the codes",
            "Standard deviations",
            "Nats",
        ),
        rows=tuple(
            (
                name,
                *places.get(name, ("", "")),
                f"{values.min():.2f} to {values.max():.2f}",
                divergences.get(name, ""),
            )
            for name, values in deviations.items()
        ),
    )


def metrics_of(
    planes: tuple[Plane, Plane],
    posterior: Posterior,
    models: CodeModels,
    compared: dict[str, Comparison],
    unseen: Array,
) -> dict[str, float]:
    """Return the results by name."""
    found = {
        "plane_holes": float(planes[0].holes.mean()),
        "vae_plane_holes": float(planes[1].holes.mean()),
        "plane_crowding": planes[0].crowding,
        "vae_plane_crowding": planes[1].crowding,
        "vae_divergence_nats": posterior.divergence,
        "vae_smallest_deviation": float(posterior.deviations.min()),
        "vae_largest_deviation": float(posterior.deviations.max()),
        "code_bits": models.flat,
        "independent_bits": float(models.independent.mean()),
        "prior_bits": float(models.learned.mean()),
        "prior_saves": 1 - float(models.learned.mean()) / models.flat,
    }
    for key, one in compared.items():
        found[f"{key}_precision"] = float(one.real.mean())
        found[f"{key}_recall"] = float(one.found.mean())
        found[f"{key}_distance_ratio"] = ratio_of_medians(one.distances, unseen)[0]
        found[f"{key}_near"] = float(one.near.mean())
        found[f"{key}_detail"] = one.detail
    return found
