"""The training loop: a generator that yields after every epoch, and knows no sweep and no stage.

It is fast by what it leaves out. Items stay raw bytes, are shuffled by one gather per block of batches, and
become floats a batch at a time; the optimizer is fused; the loss's terms are added up by one operation a step and read
once an epoch.
"""

from __future__ import annotations

import contextlib
import functools
import math
import time
from collections.abc import Iterator
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.optim.swa_utils import get_swa_multi_avg_fn

from components.batches import Batches
from components.codebook_use import code_counts, codebook_metrics
from components.contract import Epoch, Model, Trainable, TrainingRun
from components.settings import Settings
from components.state import State

STARTED = 4096  # items that a model is initialized from
MEASURE_BATCH = 1024
WARMUP, DECAY = 0.05, 0.5  # shares of the steps after which the learning rate is constant, and falls
AVERAGED = 0.5  # share of an epoch's steps, the last, whose weights are averaged
AVERAGED_EVERY = 8  # steps: often enough for a good mean, seldom enough to take next to no time


class Diverged(ArithmeticError):  # noqa: N818
    """The loss is no longer a finite number."""


class TrainingSettings(Settings):
    """The training of a network, whatever it is.

    `schedule` is of the learning rate. `warmup_constant_decay` rises for a twentieth of the steps, stays constant to
    the middle, and falls to nothing as 1 - sqrt (Hägele et al., arXiv 2405.18392). An epoch that ends while the rate
    is constant is validated by the mean of its later weights, which is near what they come to once the rate falls
    (Izmailov et al., arXiv 1803.05407): so trials can be compared early, whatever their rates. `cosine` falls from the
    start, `constant` not at all.
    """

    batch_size: int = Field(default=128, ge=1)
    learning_rate: float = Field(default=1e-3, gt=0)
    weight_decay: float = Field(default=0.0, ge=0)
    schedule: Literal["warmup_constant_decay", "cosine", "constant"] = "warmup_constant_decay"

    def learning_rate_at(self, progress: float) -> float:
        """Return the learning rate after a share `progress` (0-1) of all steps."""
        match self.schedule:
            case "constant":
                share = 1.0
            case "cosine":
                share = 0.5 * (1 + math.cos(math.pi * progress))
            case "warmup_constant_decay":
                rising = 0.04 + 0.96 * min(1.0, progress / WARMUP)
                share = min(rising, 1 - math.sqrt(max(0.0, progress - DECAY) / (1 - DECAY)))
        return self.learning_rate * share

    def averages_at(self, progress: float) -> bool:
        """Return whether an epoch that ends after a share `progress` of all steps is validated by averaged weights."""
        return self.schedule == "warmup_constant_decay" and progress <= DECAY


def descend(
    model: Trainable, settings: TrainingSettings, run: TrainingRun, resume: State | None = None
) -> Iterator[Epoch]:
    """Train `model` by gradient descent (AdamW).

    All randomness of an epoch comes from the seed and the epoch's number, so a state needs no generator's insides and
    a resumed run is the same run.

    Args:
        model: moved to CUDA where there is one.
        settings: batch size, learning rate and so on.
        run: items, epochs, seed.
        resume: a state that an earlier run yielded.

    Yields:
        Each epoch's metrics and state.

    Raises:
        Diverged: a metric of an epoch is infinite or NaN.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model.to(device)
    train, validation = Batches.of(run.train, device), Batches.of(run.validation, device)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay, fused=True
    )
    steps_per_epoch = math.ceil(len(train) / settings.batch_size)
    steps = steps_per_epoch * run.epochs
    if resume is not None:
        _restore(model, optimizer, resume)
    start = 0 if resume is None else int(resume.rest["epoch"])

    for epoch in range(start + 1, run.epochs + 1):
        began = time.perf_counter()
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(run.seed * 1_000_003 + epoch)
            order = torch.randperm(len(train), device=device)
            if epoch == 1:
                with torch.no_grad():
                    model.initialize(train.rows(order[:STARTED]))
            model.anneal((epoch - 1) / max(1, run.epochs - 1))
            model.train()
            totals = torch.zeros((), device=device)  # the loss's terms, each summed over items
            step = (epoch - 1) * steps_per_epoch
            average = _Average(model) if settings.averages_at(epoch / run.epochs) else None
            for batch in train.shuffled(order, settings.batch_size):
                for group in optimizer.param_groups:
                    group["lr"] = settings.learning_rate_at(step / steps)
                with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
                    losses = model.losses(batch)
                    loss = functools.reduce(torch.add, losses.values())  # one term needs no operation at all
                optimizer.zero_grad(set_to_none=True)
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                terms = torch.stack([term.detach() for term in losses.values()])
                totals = torch.add(totals, terms, alpha=len(batch))
                step += 1
                if average is not None:
                    average.add(steps_per_epoch * epoch - step, steps_per_epoch)
        means = [total / len(train) for total in totals.tolist()]
        trained = {"train_loss": sum(means)} | {f"train_{name}": mean for name, mean in zip(losses, means, strict=True)}
        trained["train_items_per_second"] = len(train) / (time.perf_counter() - began)
        with contextlib.nullcontext() if average is None else average.in_use():
            validated, weights = measure(model, validation), model.state_dict()
        metrics = trained | {f"validation_{name}": value for name, value in validated.items()}
        for name, value in metrics.items():
            if not math.isfinite(value):
                raise Diverged(f"{name} became {value} in epoch {epoch}")
        yield Epoch(epoch, metrics, _state(model, optimizer, epoch), weights)


class _Average:
    """The mean of a model's weights over the later steps of an epoch; buffers, such as codebooks, are the last ones."""

    def __init__(self, model: Trainable) -> None:
        self._weights = dict(model.named_parameters())
        self._count = 0
        self._means: dict[str, Tensor] = {}
        self._update = get_swa_multi_avg_fn()  # type: ignore[no-untyped-call]

    @torch.no_grad()
    def add(self, to_go: int, steps: int) -> None:
        """Add the weights after a step of which `to_go` of the epoch's `steps` are left; most are passed over."""
        if to_go % AVERAGED_EVERY or to_go > AVERAGED * steps:
            return
        if self._count:
            self._update(list(self._means.values()), list(self._weights.values()), self._count)
        else:
            self._means = {name: weight.detach().clone() for name, weight in self._weights.items()}
        self._count += 1

    @contextlib.contextmanager
    def in_use(self) -> Iterator[None]:
        """Give the model the mean of its weights for as long as the context lasts."""
        live = {name: weight.data for name, weight in self._weights.items()}
        try:
            for name, weight in self._weights.items():
                weight.data = self._means[name]
            yield
        finally:
            for name, weight in self._weights.items():
                weight.data = live[name]


@torch.no_grad()
def measure(model: Trainable, items: Batches) -> dict[str, float]:
    """Return the means of a model's losses and metrics over raw items, and the use of codebooks.

    Each item goes through the model once. `loss` is the sum of the losses.
    """
    model.eval()
    totals: dict[str, float] = {}
    counts: Any = None
    for batch in items.split(MEASURE_BATCH):
        found = model.validate(batch)
        loss = torch.stack(list(found.losses.values())).sum()
        for name, value in {**found.losses, "loss": loss, **found.metrics}.items():
            totals[name] = totals.get(name, 0.0) + float(value) * len(batch)
        if found.codes is not None and isinstance(model, Model) and model.code.levels:
            used = code_counts(found.codes.cpu().numpy(), model.code.levels, model.code.alphabets)
            counts = used if counts is None else counts + used
    means = {name: total / len(items) for name, total in totals.items()}
    return means if counts is None else means | codebook_metrics(counts)


def only_epoch(model: Model, run: TrainingRun) -> Epoch:
    """Return the epoch of a model that was fitted in closed form: all there is of its training."""
    train, validation = (measure(model, Batches.of(items)) for items in (run.train, run.validation))
    metrics = {f"train_{name}": value for name, value in train.items()}
    metrics |= {f"validation_{name}": value for name, value in validation.items()}
    weights = model.state_dict()
    state = State({f"model.{name}": tensor for name, tensor in weights.items()}, {"epoch": 1})
    return Epoch(1, metrics, state, weights)


def _state(model: Trainable, optimizer: torch.optim.Optimizer, epoch: int) -> State:
    tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    for index, moments in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{name}": tensor for name, tensor in moments.items()}
    return State(tensors, {"epoch": epoch})


def _restore(model: Trainable, optimizer: torch.optim.Optimizer, state: State) -> None:
    model.load_state_dict(state.part("model"))
    moments: dict[int, dict[str, Tensor]] = {}
    for key, tensor in state.part("optimizer").items():
        index, name = key.split(".", 1)
        moments.setdefault(int(index), {})[name] = tensor.clone()  # the optimizer writes into it
    optimizer.load_state_dict({"state": moments, "param_groups": optimizer.state_dict()["param_groups"]})
