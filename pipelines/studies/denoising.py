"""denoising: the basic autoencoder against the denoising one on the very same noisy items.

python -m pipelines.studies.denoising NAME

After Vincent, Larochelle, Bengio, Manzagol, ICML 2008: how close does what is rebuilt from a noisy item come to the
clean one? Beside both stand the noisy item itself, and PCA of no more numbers: fewer components keep less noise.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure

from components import metrics
from components.corruptions import Corruption, NoCorruption
from components.data import PreparedDataset
from components.models import PCASettings, TrainingRun
from components.models.pca import PCA
from components.training import as_tensor
from items.spec import ItemSpec
from pipelines.plots.pictures import draw_rows, one_of_each
from pipelines.project import Project, stage
from pipelines.settings.params import load_params
from pipelines.studies.contract import Picture, Study, Table, publish
from pipelines.studies.measured import compared, in_words, opened, rebuilt
from pipelines.studies.settings import DenoisingSettings
from pipelines.sweep.record import read_record

Array = np.ndarray[Any, np.dtype[Any]]

WAYS = ("noisy", "pca", "basic", "denoising")  # doing nothing, and three models


@dataclass(frozen=True)
class Trial:
    """One kind of noise, or none, and what becomes of the items by each of WAYS.

    Attributes:
        noise: in words.
        familiar: whether the denoising autoencoder was trained under it.
        components: how many of PCA's were kept.
        made: what stands for the clean items, (n, *item.shape); `noisy` are the noisy items themselves, scaled.
        errors: squared errors of the same to the clean items, (n,).
    """

    noise: str
    familiar: bool
    components: int
    made: dict[str, Array]
    errors: dict[str, Array]

    @property
    def ratio(self) -> float:
        """The denoising autoencoder's mean squared error over the basic one's."""
        return float(self.errors["denoising"].mean() / self.errors["basic"].mean())


def main(name: str) -> None:
    """Compare the two experiments that `studies.denoising.<name>` names."""
    project = Project.here()
    params = load_params(project)
    settings = params.study(DenoisingSettings, f"denoising.{name}")
    (basic, data), (denoising, _) = (opened(project, e) for e in (settings.basic, settings.denoising))
    pca = fitted_pca(data, denoising.feature_dimensions)
    learnt = getattr(read_record(project.run(settings.denoising)).model, "corruption", NoCorruption())
    item, clean, validation = data.schema.item, np.asarray(data.array("test")), np.asarray(data.array("validation"))
    trials = []
    for noise in (NoCorruption(), *settings.noises):
        noisy = corrupted(item, clean, noise, params.seed)
        components = best_components(pca, validation, corrupted(item, validation, noise, params.seed))
        by_pca = projection(pca, noisy, components)
        by_networks = rebuilt(basic, noisy), rebuilt(denoising, noisy)
        made = dict(zip(WAYS, (item.scaled(noisy), by_pca, *by_networks), strict=True))
        errors = {way: metrics.squared_errors(item.scaled(clean), one) for way, one in made.items()}
        trials.append(Trial(in_english(noise), damage(noise) == damage(learnt), components, made, errors))
    names = ("the noisy item itself", "PCA", settings.basic, settings.denoising)
    words = dict(zip(WAYS, names, strict=True))
    made_from = {bundle.name: bundle.manifest.digest for bundle in (basic, denoising)}
    study = describe(name, data.schema.name, trials, words, in_english(learnt), made_from)
    chosen = one_of_each(data.labels("test"), len(clean))
    publish(project, study, {"denoised.png": draw_denoised(item, clean, trials[1], chosen, words)})


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
    return min(tried, key=lambda count: float(metrics.squared_errors(wanted, projection(pca, noisy, count)).mean()))


def corrupted(item: ItemSpec, items: Array, noise: Corruption, seed: int) -> Array:
    """Return noisy copies of raw items (n, *item.shape), raw again: what a noisy camera would have given."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        noisy: Array = noise(torch.from_numpy(item.scaled(items))).numpy()
    return (noisy.clip(0, 1) * 255).round().astype(np.uint8) if item.dtype == "uint8" else noisy


def in_english(noise: Corruption) -> str:
    """Return a noise in words: `gaussian, sigma 0.5`."""
    if isinstance(noise, NoCorruption):
        return "no noise"
    settings = damage(noise)
    kind = settings.pop("kind").replace("_", " ")
    return ", ".join([kind, *(f"{key} {value}" for key, value in settings.items())])


def damage(noise: Corruption) -> dict[str, Any]:
    """Return what a noise does to the items that it damages, whatever share of them it leaves clean in training."""
    return noise.model_dump(exclude={"clean"})


def describe(
    name: str, dataset: str, trials: list[Trial], words: dict[str, str], learnt: str, made_from: dict[str, str]
) -> Study:
    """Put the figures into words and tables; the first noise is the one that is drawn."""
    clean, first, *others = trials
    ratios = "; ".join(f"{t.noise}{', as in its training' * t.familiar}: {t.ratio:.2f}{chance(t)}"
                       for t in (first, *others, clean))  # fmt: skip
    return Study(
        kind="denoising",
        name=name,
        dataset=dataset,
        title="Clean items from noisy ones",
        question="All get the same noisy test items, and what they make of them is compared with the clean ones. "
        f"{words['basic']} has only ever rebuilt what it was shown; {words['denoising']} was trained to rebuild clean "
        f"items from noisy ones ({learnt}). PCA, fitted to clean items, has at most as many numbers as that "
        "code; how many it keeps is chosen for each noise on validation items. Squared error per item, with 95 % "
        "intervals over items, of one training run each.",
        findings=(
            f"Squared error of {words['denoising']} over that of {words['basic']}: {ratios}.",
            f"Lowest error: {'; '.join(f'{t.noise}: {lowest(t, words)}' for t in (first, *others))}.",
        ),
        tables=(
            Table(
                caption="Squared error to the clean item",
                columns=("Noise", *words.values(), "Ratio", "Components of PCA"),
                rows=tuple(
                    (t.noise, *(in_words(t.errors[w]) for w in WAYS), f"{t.ratio:.2f}", f"{t.components:,}")
                    for t in trials
                ),
            ),
        ),
        pictures=(Picture(file="denoised.png", caption=f"The same noisy test items ({first.noise}) given to each."),),
        figures={f"{way}_{named(trial)}": float(trial.errors[way].mean()) for trial in trials for way in WAYS}
        | {f"pca_components_{named(trial)}": trial.components for trial in trials}
        | {"ratio": first.ratio},
        made_from=made_from,
    )


def named(trial: Trial) -> str:
    """Return its noise as figures are named: `gaussian_sigma_0.5`."""
    return re.sub("[ ,]+", "_", trial.noise)


def chance(trial: Trial) -> str:
    """Return a remark where the two autoencoders do not differ significantly."""
    return "" if compared(trial.errors["denoising"], trial.errors["basic"]) else " (no significant difference)"


def lowest(trial: Trial, words: dict[str, str]) -> str:
    """Return which way has the lowest error, and those that do not differ significantly from it."""
    best = min(WAYS, key=lambda way: float(trial.errors[way].mean()))
    return " or ".join(words[way] for way in WAYS if compared(trial.errors[way], trial.errors[best]) == 0)


def draw_denoised(item: ItemSpec, clean: Array, trial: Trial, chosen: list[int], words: dict[str, str]) -> Figure:
    """Draw clean items, noisy ones, and what each model made of them, in rows."""
    rows = {words[way]: trial.made[way][chosen] for way in WAYS}
    return draw_rows(item, {"clean": item.scaled(clean[chosen])} | rows)


if __name__ == "__main__":
    stage(main)
