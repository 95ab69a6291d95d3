"""denoising: the basic autoencoder against the denoising one on the very same noisy items.

After Vincent, Larochelle, Bengio, Manzagol, ICML 2008: how close does what is rebuilt from a noisy item come to the
clean one? Beside both stand the noisy item itself, and PCA of no more numbers: fewer components keep less noise.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from pydantic import Field, TypeAdapter

from components.batches import as_tensor
from components.corruptions import Corruption, CorruptionSettings, NoCorruption
from components.data import PreparedDataset, open_dataset
from components.models import PCASettings, TrainingRun
from components.models.pca import PCA
from items.spec import ItemSpec
from pipelines.metrics import item_metrics
from pipelines.studies.bundles import open_bundle, rebuilt, squared_errors
from pipelines.studies.contract import ExperimentName, Picture, Study, StudySettings, Table, write_page
from pipelines.studies.plan import StudyPlan
from pipelines.studies.text import corruption_text, difference_text, mean_text
from pipelines.sweep.record import read_record
from pipelines.sweep.trained import model_settings
from pipelines.units.unit import Unit

if TYPE_CHECKING:
    pass

Array = np.ndarray[Any, np.dtype[Any]]

WAYS = ("noisy", "pca", "basic", "denoising")  # doing nothing, and three models


class DenoisingSettings(StudySettings):
    """A plain autoencoder against one trained to denoise, under each of `noises`; the first is drawn."""

    kind: Literal["denoising"] = "denoising"
    basic: ExperimentName
    denoising: ExperimentName
    noises: tuple[CorruptionSettings, ...] = Field(min_length=1)

    def units(self, plan: StudyPlan) -> Unit:
        """See :class:`StudySettings`."""
        inputs = {
            "data": plan.data,
            "basic": plan.bundle(self.basic),
            "denoising": plan.bundle(self.denoising),
            "basic_evaluation": plan.evaluation(self.basic),
            "denoising_evaluation": plan.evaluation(self.denoising),
            "denoising_run": plan.run(self.denoising),
        }
        noises = [noise.model_dump(mode="json") for noise in self.noises]
        return plan.page(
            self.kind, write, inputs, seconds=15, experiments=self.experiments(), noises=noises, seed=plan.seed
        )


@dataclass(frozen=True)
class Trial:
    """One kind of noise, or none, and what becomes of the items by each of WAYS.

    Attributes:
        noise: as text.
        trained: whether the denoising autoencoder was trained under it.
        components: how many of PCA's were kept.
        errors: squared errors to the clean items, (n,).
    """

    noise: str
    trained: bool
    components: int
    errors: dict[str, Array]

    @property
    def ratio(self) -> float:
        """The denoising autoencoder's mean squared error over the basic one's."""
        return float(self.errors["denoising"].mean() / self.errors["basic"].mean())


def write(
    out: Path,
    study: dict[str, str],
    experiments: dict[str, str],
    noises: list[dict[str, Any]],
    seed: int,
    data: Path,
    basic: Path,
    denoising: Path,
    basic_evaluation: Path,
    denoising_evaluation: Path,
    denoising_run: Path,
) -> None:
    """Write the page."""
    from pipelines.plots.pictures import draw_rows, one_of_each

    dataset, bundles = open_dataset(data), {"basic": open_bundle(basic), "denoising": open_bundle(denoising)}
    learned = getattr(model_settings(read_record(denoising_run)), "corruption", NoCorruption())
    pca = fitted_pca(dataset, bundles["denoising"].feature_dimensions)
    item, clean, validation = (
        dataset.schema.item,
        np.asarray(dataset.array("test")),
        np.asarray(dataset.array("validation")),
    )
    wanted = item.scaled(clean)
    nothing = best_components(pca, validation, validation)
    without = {
        "noisy": np.zeros(len(clean)),
        "pca": item_metrics.squared_errors(wanted, projection(pca, clean, nothing)),
        "basic": squared_errors(basic_evaluation),
        "denoising": squared_errors(denoising_evaluation),
    }
    trials = [Trial(corruption_text(NoCorruption()), isinstance(learned, NoCorruption), nothing, without)]
    names = {"noisy": "the noisy item itself", "pca": "PCA", **experiments}
    chosen, drawn = one_of_each(dataset.labels("test"), len(clean)), {"clean": wanted}
    for noise in map(_CORRUPTION.validate_python, noises):
        noisy = corrupted(item, clean, noise, seed)
        components = best_components(pca, validation, corrupted(item, validation, noise, seed))
        found = {"noisy": item.scaled(noisy), "pca": projection(pca, noisy, components)}
        found |= {key: rebuilt(bundle, noisy) for key, bundle in bundles.items()}
        errors = {way: item_metrics.squared_errors(wanted, found[way]) for way in WAYS}
        trials.append(Trial(corruption_text(noise), damage(noise) == damage(learned), components, errors))
        if len(trials) == 2:
            drawn |= {names[way]: found[way] for way in WAYS}
    picture = draw_rows(item, {name: items[chosen] for name, items in drawn.items()})
    made_from = {experiments[key]: bundle.manifest.digest for key, bundle in bundles.items()}
    page = describe(study, trials, names, corruption_text(learned), made_from)
    write_page(out, page, {"denoised.png": picture})


def fitted_pca(data: PreparedDataset, size: int) -> PCA:
    """Return PCA of `size` numbers an item, or of as many as there are, fitted to the training split."""
    pca = PCASettings(size=min(size, data.schema.item.values)).build(data.schema.item)
    for _ in pca.fit(TrainingRun(data.array("train"), data.array("validation"), epochs=1, seed=0)):
        pass
    return pca


def projection(pca: PCA, items: Array, components: int) -> Array:
    """Return raw items (n, *item.shape) as the first components show them, scaled."""
    with torch.no_grad():
        codes = pca.encode(as_tensor(items))
        codes[:, components:] = 0
        projected: Array = pca.decode(codes).numpy()
    return projected


def best_components(pca: PCA, clean: Array, noisy: Array) -> int:
    """Return how many components, all or a half, a quarter … of them, come nearest to the clean items."""
    most, wanted = pca.code.shape[0], pca.item.scaled(clean)
    tried = [most >> halved for halved in range(most.bit_length())]
    return min(
        tried, key=lambda count: float(item_metrics.squared_errors(wanted, projection(pca, noisy, count)).mean())
    )


def corrupted(item: ItemSpec, items: Array, noise: Corruption, seed: int) -> Array:
    """Return noisy copies of raw items (n, *item.shape), raw again: what a noisy camera would have given."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        noisy: Array = noise(torch.from_numpy(item.scaled(items))).numpy()
    return (noisy.clip(0, 1) * 255).round().astype(np.uint8) if item.dtype == "uint8" else noisy


def damage(noise: Corruption) -> dict[str, Any]:
    """Return what a noise does to the items that it damages, whatever share of them it leaves clean in training."""
    return noise.model_dump(exclude={"clean"})


def describe(
    study: dict[str, str], trials: list[Trial], names: dict[str, str], learned: str, made_from: dict[str, str]
) -> Study:
    """Return the page; the first trial is without noise, the second is the one that is drawn."""
    first = trials[1]
    rows = tuple(
        (
            trial.noise,
            *(mean_text(trial.errors[way]) for way in WAYS),
            difference_text(trial.errors["denoising"], trial.errors["basic"]),
            f"{trial.components:,}",
            "yes" if trial.trained else "no",
        )
        for trial in trials
    )
    return Study(
        **study,
        title="Clean items from noisy ones",
        question="All get the same noisy test items, and what they make of them is compared with the clean ones. "
        f"{names['basic']} has only ever rebuilt what it was shown; {names['denoising']} was trained to rebuild clean "
        f"items from noisy ones ({learned}). PCA, fitted to clean items, has at most as many numbers as that "
        "code; how many it keeps is chosen for each noise on validation items. Squared error per item, with 95 % "
        "intervals over items, of one training run each.",
        summary=f"Under {first.noise}, the squared error of {names['denoising']} is {first.ratio:.2f} times that of "
        f"{names['basic']}.",
        tables=(
            Table(
                caption=f"Squared error to the clean item. The difference is {names['denoising']} less "
                f"{names['basic']}, of the same items",
                columns=("Noise", *(names[way] for way in WAYS), "Difference", "Components of PCA", "Trained under it"),
                rows=rows,
            ),
        ),
        pictures=(Picture(file="denoised.png", caption=f"The same noisy test items ({first.noise}) given to each."),),
        metrics={f"{way}_{key(trial)}": float(trial.errors[way].mean()) for trial in trials for way in WAYS}
        | {f"pca_components_{key(trial)}": trial.components for trial in trials}
        | {"ratio": first.ratio},
        made_from=made_from,
    )


def key(trial: Trial) -> str:
    """Return its noise as metrics are named: `gaussian_sigma_0.5`."""
    return re.sub("[ ,]+", "_", trial.noise)


_CORRUPTION: TypeAdapter[Corruption] = TypeAdapter(CorruptionSettings)
