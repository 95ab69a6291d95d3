"""generation: can a decoder alone create something? Grids of 2-D codes, codes from N(0, I), codes from a prior.

python -m pipelines.studies.generation NAME

The grids after Kingma and Welling, arXiv 1312.6114, figure 4; a prior over the codes of a vector-quantized
autoencoder after van den Oord et al., arXiv 1711.00937, section 4.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from components.data import open_dataset
from components.metrics import bootstrap_interval
from components.samples import ratio_of_medians
from pipelines.project import Project, StageError, stage
from pipelines.settings.params import Params, load_params
from pipelines.studies.contract import Picture, Study, Table, publish
from pipelines.studies.generation_pictures import draw_grid, draw_planes, draw_samples
from pipelines.studies.generation_samples import (
    SIDE,
    Judge,
    Judged,
    Made,
    Plane,
    Posterior,
    Priced,
    make,
    plane_of,
    posterior_of,
    price,
)
from pipelines.studies.measured import opened, rebuilt
from pipelines.studies.settings import GenerationSettings

Array = np.ndarray[Any, np.dtype[Any]]

SHOWN = ("vae", "uniform", "independent", "prior")


def main(name: str) -> None:
    """Make items from codes that no encoder gave, by the experiments that `studies.generation.<name>` names."""
    project = Project.here()
    params = load_params(project)
    settings = params.study(GenerationSettings, f"generation.{name}")
    check(project, params, settings, name)
    bundles = {key: opened(project, experiment)[0] for key, experiment in settings.experiments().items()}
    data = opened(project, settings.quantizer)[1]
    judge = Judge(data, settings.samples)
    planes = (
        plane_of(bundles["plane"], judge.items, "plane", standard=False),
        plane_of(bundles["vae_plane"], judge.items, "vae_plane", standard=True),
    )
    posterior = posterior_of(bundles["vae"], judge.items)
    epochs = getattr(settings.prior_epochs, params.budget)
    priced = price(bundles["quantizer"], data, settings.prior, epochs, params.seed)
    unseen = Made("rebuilt", bundles["quantizer"].name, "of validation items", rebuilt(priced.bundle, judge.unseen))
    real = Made("real", "none", "validation items themselves", data.schema.item.scaled(judge.unseen))
    ways = [real, unseen, *make(planes, posterior, priced, judge.count, params.seed)]
    judged = {made.key: judge(made) for made in ways}
    study = describe(name, data.schema.name, planes, posterior, priced, judged, judge.distances)
    drawn = {
        "ae_grid.png": draw_grid(planes[0]),
        "vae_grid.png": draw_grid(planes[1]),
        "planes.png": draw_planes(planes),
        "samples.png": draw_samples([judged[key] for key in SHOWN], judge.items),
    }
    publish(project, study, drawn)


def check(project: Project, params: Params, settings: GenerationSettings, name: str) -> None:
    """Check what bundles do not tell.

    Raises:
        StageError: an experiment is not variational, or its items cannot be drawn.
    """
    for key in ("vae_plane", "vae"):
        experiment = settings.experiments()[key]
        kind = params.experiment(experiment).model.get("bottleneck", {}).get("kind", "none")
        if kind != "gaussian":
            raise StageError(f"studies.generation.{name}.{key}: {experiment} has the bottleneck {kind}, needs gaussian")
    item = open_dataset(project.data(params.experiment(settings.quantizer).dataset)).schema.item
    if item.kind != "image":
        raise StageError(f"studies.generation.{name}: the items are of kind {item.kind}, and only images can be drawn")


def describe(
    name: str,
    dataset: str,
    planes: tuple[Plane, Plane],
    posterior: Posterior,
    priced: Priced,
    judged: dict[str, Judged],
    unseen: Array,
) -> Study:
    """Put the figures into words and tables; `unseen` are test items' distances to the nearest training item."""
    bundles = {b.name: b for b in (*(plane.bundle for plane in planes), posterior.bundle, priced.bundle)}
    return Study(
        kind="generation",
        name=name,
        dataset=dataset,
        title="Can the decoder alone create something?",
        question="A decoder is given codes that no encoder made: a grid of codes of two numbers, codes drawn from a "
        "known distribution, codes drawn from a model that was trained on codes. Samples are held against test items, "
        "pixel by pixel: precision is the share of samples that lie as close to a test item as its third neighbour, "
        "recall the share of test items that lie so close to a sample. Blurred samples lie between real items, so "
        "their precision is high and only recall and their lack of detail give them away. The nearest training item "
        "tells a copy from something new. One training run each.",
        findings=tuple(findings(planes, posterior, priced, judged, unseen)),
        tables=(price_table(priced), sample_table(judged, unseen), code_table(planes, posterior)),
        pictures=(
            Picture(
                file="ae_grid.png",
                caption=f"{planes[0].bundle.name}: an even grid over the range of its codes, decoded; framed where no "
                "training code is near.",
            ),
            Picture(
                file="vae_grid.png",
                caption=f"{planes[1].bundle.name}: a grid even in the probability of N(0, I), decoded; holes framed.",
            ),
            Picture(file="planes.png", caption="Where training codes lie and where the two grids ask."),
            Picture(
                file="samples.png",
                caption="Samples, the first of each kind, not chosen; below each the nearest training item and its "
                "distance, the root of the squared error.",
            ),
        ),
        figures=figures(planes, posterior, priced, judged, unseen),
        made_from={bundle.name: bundle.manifest.digest for bundle in bundles.values()},
    )


def findings(
    planes: tuple[Plane, Plane], posterior: Posterior, priced: Priced, judged: dict[str, Judged], unseen: Array
) -> list[str]:
    """Say what goes wrong with the plain autoencoder, and what the variational one and the prior change."""
    plane, vae_plane = planes
    independent, prior = (float(bits.mean()) for bits in (priced.independent, priced.learned))
    (low, high), deviations = bootstrap_interval(priced.learned), posterior.deviations
    near, nearness = judged["prior"], ratio_of_medians(judged["prior"].distances, unseen)
    return [
        f"An autoencoder’s decoder is asked where it was never trained: {plane.holes.mean():.0%} of an even grid over "
        f"the codes of {plane.bundle.name} lie in holes, farther from every training code than 99 % of those lie from "
        f"another, and half of all training codes lie around {plane.crowding:.0%} of its points. Of the grid of "
        f"{vae_plane.bundle.name}, through N(0, I), {vae_plane.holes.mean():.0%} lie in holes, and half of the codes "
        f"around {vae_plane.crowding:.0%}.",
        f"Drawn at random, items of {plane.bundle.name} cover {share(judged['plane'].found)} of real ones, items of "
        f"{vae_plane.bundle.name} {share(judged['vae_plane'].found)}: "
        f"{verdict(judged['vae_plane'].found, judged['plane'].found)}. They hold {judged['plane'].detail:.0%} and "
        f"{judged['vae_plane'].detail:.0%} of real items’ fine detail.",
        f"The codes of {posterior.bundle.name} are not spread quite as N(0, I), from which it is sampled: their "
        f"standard deviations are {deviations.min():.2f} to {deviations.max():.2f}, and a Gaussian fitted to them is "
        f"{posterior.divergence:.2f} nats away. Its items from N(0, I) cover {share(judged['vae'].found)} of real "
        f"ones, from the fitted Gaussian {share(judged['vae_fitted'].found)}: "
        f"{verdict(judged['vae_fitted'].found, judged['vae'].found)}. They hold {judged['vae'].detail:.0%} of real "
        "items’ fine detail.",
        f"A code of {priced.bundle.name} costs {priced.flat:.0f} bits as it is, {independent:.1f} when each position "
        f"is coded by its own frequencies, and {prior:.1f} ({low:.1f}–{high:.1f}) under the prior: an entropy coder "
        f"with it would {'save' if prior < priced.flat else 'add'} {abs(1 - prior / priced.flat):.0%}.",
        f"Items from codes of {priced.bundle.name} drawn evenly cover {share(judged['uniform'].found)} of real ones, "
        f"drawn position by position {share(judged['independent'].found)}, drawn from the prior {share(near.found)}; "
        f"rebuilt validation items, about the most that a prior can reach, {share(judged['rebuilt'].found)}. (The "
        f"prior against position by position: {verdict(near.found, judged['independent'].found)}; against "
        f"{posterior.bundle.name} from N(0, I): {verdict(near.found, judged['vae'].found)}.) The prior’s "
        f"hold {near.detail:.0%} of real items’ fine detail.",
        "The prior’s items lie {:.2f} ({:.2f}–{:.2f}) times as far from their nearest training item as test items do "
        "(medians); ".format(*nearness)
        + f"{share(near.near)} are nearer than 99 % of those, which blur brings about "
        f"as well as memory: so are {share(judged['rebuilt'].near)} of rebuilt validation items. "
        + (
            "More than those, so some may be copies."
            if bootstrap_interval(near.near)[0] > bootstrap_interval(judged["rebuilt"].near)[1]
            else "No more than those, so nothing here points to copies."
        ),
    ]


def verdict(first: Array, second: Array) -> str:
    """Say whether a share differs from another, by their intervals."""
    (low, high), (other_low, other_high) = bootstrap_interval(first), bootstrap_interval(second)
    return "more" if low > other_high else "less" if high < other_low else "no significant difference"


def share(among: Array) -> str:
    """Put a share into words with its 95 % interval: `62% (60–64)`."""
    low, high = bootstrap_interval(among)
    return f"{100 * among.mean():.0f}% ({100 * low:.0f}–{100 * high:.0f})"


def price_table(priced: Priced) -> Table:
    """What a code costs under each model of codes."""
    rows = [("as it is", f"{priced.flat:.1f}", "", "0 %")]
    for word, bits in (("position by position", priced.independent), ("prior", priced.learned)):
        saved = 1 - float(bits.mean()) / priced.flat
        rows.append((word, f"{bits.mean():.1f}", "{:.1f}–{:.1f}".format(*bootstrap_interval(bits)), f"{saved:.0%}"))
    return Table(
        caption=f"What a test item’s code of {priced.bundle.name} costs an ideal entropy coder; the prior was trained "
        f"for {priced.epochs} {'pass' if priced.epochs == 1 else 'passes'} over the training codes",
        columns=("Coded", "Bits an item", "Interval", "Saved"),
        rows=tuple(rows),
    )


def sample_table(judged: dict[str, Judged], unseen: Array) -> Table:
    """What samples are worth."""
    return Table(
        caption="Samples against real items. Distance: to the nearest training item, as a multiple of test items’ "
        "(medians); below 1 is blurred or copied. Detail: what 32 principal components cannot show, as a share of real "
        "items’; little of it is blur, too much of it noise",
        columns=("Decoder", "Codes", "Precision", "Recall", "Distance", "Detail"),
        rows=tuple(
            (
                one.made.decoder,
                one.made.codes,
                share(one.real),
                share(one.found),
                "{:.2f} ({:.2f}–{:.2f})".format(*ratio_of_medians(one.distances, unseen)),
                f"{one.detail:.0%}",
            )
            for one in judged.values()
        ),
    )


def code_table(planes: tuple[Plane, Plane], posterior: Posterior) -> Table:
    """How codes of real numbers are distributed."""
    deviations = {plane.bundle.name: plane.codes.std(0) for plane in planes}
    places = {plane.bundle.name: (f"{plane.holes.mean():.0%}", f"{plane.crowding:.0%}") for plane in planes}
    deviations[posterior.bundle.name] = posterior.deviations
    return Table(
        caption=f"Where codes lie; grids of {SIDE} × {SIDE}. A variational autoencoder’s codes are its "
        "posteriors’ means; the posteriors’ own spread comes on top where it is trained",
        columns=("Decoder", "Grid points in holes", "Around which half of the codes lie", "Standard deviations"),
        rows=tuple(
            (name, *places.get(name, ("", "")), f"{values.min():.2f} to {values.max():.2f}")
            for name, values in deviations.items()
        ),
    )


def figures(
    planes: tuple[Plane, Plane], posterior: Posterior, priced: Priced, judged: dict[str, Judged], unseen: Array
) -> dict[str, float]:
    """Name the numbers."""
    named = {
        "plane_holes": float(planes[0].holes.mean()),
        "vae_plane_holes": float(planes[1].holes.mean()),
        "plane_crowding": planes[0].crowding,
        "vae_plane_crowding": planes[1].crowding,
        "vae_divergence_nats": posterior.divergence,
        "vae_smallest_deviation": float(posterior.deviations.min()),
        "vae_largest_deviation": float(posterior.deviations.max()),
        "code_bits": priced.flat,
        "independent_bits": float(priced.independent.mean()),
        "prior_bits": float(priced.learned.mean()),
        "prior_saves": 1 - float(priced.learned.mean()) / priced.flat,
    }
    for key, one in judged.items():
        named[f"{key}_precision"] = float(one.real.mean())
        named[f"{key}_recall"] = float(one.found.mean())
        named[f"{key}_distance_ratio"] = ratio_of_medians(one.distances, unseen)[0]
        named[f"{key}_near"] = float(one.near.mean())
        named[f"{key}_detail"] = one.detail
    return named


if __name__ == "__main__":
    stage(main)
