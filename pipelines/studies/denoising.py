"""denoising: the basic autoencoder against the denoising one on the very same noisy items.

python -m pipelines.studies.denoising NAME

After Vincent, Larochelle, Bengio, Manzagol, ICML 2008: how close does what is rebuilt from a noisy item come to the
clean one?
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure

from components import metrics
from components.corruptions import Corruption
from components.items import ItemSpec
from pipelines.pictures import draw_rows, one_of_each
from pipelines.project import Project, stage
from pipelines.settings import load_params
from pipelines.studies.contract import Picture, Study, Table, publish
from pipelines.studies.measured import compared, in_words, opened, rebuilt
from pipelines.studies.settings import DenoisingSettings

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Trial:
    """One kind of noise, or none, and what both autoencoders make of it; squared errors are to the clean items."""

    noise: str
    noisy: Array
    rebuilt: tuple[Array, Array]
    errors: tuple[Array, Array]

    @property
    def ratio(self) -> float:
        """The denoising autoencoder's mean squared error over the basic one's."""
        basic, denoising = self.errors
        return float(denoising.mean() / basic.mean())


def main(name: str) -> None:
    """Compare the two experiments that `studies.denoising.<name>` names."""
    project = Project.here()
    params = load_params(project)
    settings = params.study(DenoisingSettings, f"denoising.{name}")
    (basic, data), (denoising, _) = (opened(project, e) for e in (settings.basic, settings.denoising))
    item, clean = data.schema.item, np.asarray(data.array("test"))
    trials = []
    for noise in (None, *settings.noises):
        noisy = clean if noise is None else corrupted(item, clean, noise, params.seed)
        made = rebuilt(basic, noisy), rebuilt(denoising, noisy)
        errors = tuple(metrics.squared_errors(item.scaled(clean), one) for one in made)
        trials.append(Trial("no noise" if noise is None else spoken(noise), noisy, made, (errors[0], errors[1])))
    made_from = {bundle.name: bundle.manifest.digest for bundle in (basic, denoising)}
    study = describe(name, data.schema.name, trials, made_from)
    chosen = one_of_each(data.labels("test"), len(clean))
    publish(project, study, {"denoised.png": draw_denoised(item, clean, trials[1], chosen, list(made_from))})


def corrupted(item: ItemSpec, items: Array, noise: Corruption, seed: int) -> Array:
    """Return noisy copies of raw items (n, *item.shape), raw again: what a noisy camera would have given."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        noisy: Array = noise(torch.from_numpy(item.scaled(items))).numpy()
    return (noisy.clip(0, 1) * 255).round().astype(np.uint8) if item.dtype == "uint8" else noisy


def spoken(noise: Corruption) -> str:
    """Return a noise in words: `gaussian, sigma 0.5`."""
    settings = noise.model_dump(exclude={"clean"})  # which is for training alone
    kind = settings.pop("kind").replace("_", " ")
    return ", ".join([kind, *(f"{key} {value}" for key, value in settings.items())])


def describe(name: str, dataset: str, trials: list[Trial], made_from: dict[str, str]) -> Study:
    """Put the figures into words and tables; the first noise is the one that findings speak of first."""
    basic, denoising = made_from
    clean, first, *others = trials
    worse, worse_clean = (compared(trial.errors[1], trial.errors[0]) for trial in (first, clean))
    judged = (" No difference beyond chance.", " It is worse.", "")[worse]
    order = "the two are not told apart" if worse_clean == 0 else "it is worse" if worse_clean > 0 else "it is better"
    findings = [
        f"From items under noise ({first.noise}), {denoising} rebuilds the clean ones with a squared error of "
        f"{in_words(first.errors[1])}, {first.ratio:.2f} times that of {basic}, {in_words(first.errors[0])}.{judged}",
        f"Without noise {order}: {in_words(clean.errors[1])} against {in_words(clean.errors[0])}.",
    ]
    if others:
        told = "; ".join(f"{t.noise}: {t.ratio:.2f} times{chance(t)}" for t in others)
        findings.append(f"Under other noises: {told} the error of {basic}.")
    return Study(
        kind="denoising",
        name=name,
        dataset=dataset,
        title="Clean items from noisy ones",
        question="Both autoencoders get the same noisy test items, and what they rebuild is compared with the clean "
        "ones. The basic autoencoder has only ever rebuilt what it was shown; the denoising one was shown noisy items "
        "and asked for the clean ones. Squared error per item, with 95 % intervals.",
        findings=tuple(findings),
        tables=(
            Table(
                caption="Squared error between what is rebuilt from a noisy item and the clean item",
                columns=("Noise", basic, denoising, "Ratio"),
                rows=tuple((t.noise, *(in_words(e) for e in t.errors), f"{t.ratio:.2f}") for t in trials),
            ),
        ),
        pictures=(Picture(file="denoised.png", caption=f"The same noisy test items ({first.noise}) given to both."),),
        figures={
            f"{who}_{re.sub('[ ,]+', '_', trial.noise)}": float(errors.mean())
            for trial in trials
            for who, errors in zip(("basic", "denoising"), trial.errors, strict=True)
        }
        | {"ratio": first.ratio},
        made_from=made_from,
    )


def chance(trial: Trial) -> str:
    """Return a remark where the two autoencoders are not told apart."""
    return " (no difference beyond chance)" if compared(trial.errors[1], trial.errors[0]) == 0 else ""


def draw_denoised(item: ItemSpec, clean: Array, trial: Trial, chosen: list[int], names: list[str]) -> Figure:
    """Draw clean items, noisy ones, and what each autoencoder made of them, in rows."""
    rows = {"clean": item.scaled(clean[chosen]), "noisy": item.scaled(trial.noisy[chosen])}
    rows |= {name: made[chosen] for name, made in zip(names, trial.rebuilt, strict=True)}
    return draw_rows(item, rows)


if __name__ == "__main__":
    stage(main)
