"""pretraining: layers learned without labels against random weights, fine-tuned with few labels and with many.

Bengio et al., NIPS 2006; Vincent et al., JMLR 11 (2010); Rifai et al., ICML 2011: see components/pretraining.py.
Both starts are the same network with the same labels, epochs and choice of learning rates.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from components.data.raw import Outline
from components.pretraining import StackSettings
from components.settings import SettingError, Settings
from pipelines.studies.contract import StudySettings
from pipelines.studies.plan import Given, Inputs, StudyPlan
from pipelines.studies.pretraining.training import STARTS, Start, pretrain_stack, train
from pipelines.units.unit import Unit

Count = Annotated[int, Field(ge=1)]

# On one core: of an epoch of a layer of 500 units over MNIST, of a step with 50 labelled items, of what is around it.
LAYER_SECONDS, STEP_SECONDS, START_SECONDS = 4.0, 0.004, 0.5


class FineTuningBudget(Settings):
    """How often a network is trained with this many labels, and for how long.

    Attributes:
        labels: of the training split, as many of each class; null for all of them.
        epochs: passes over the labelled items, the same whatever the network starts from.
        seeds: each with labels of its own, and random weights of its own.
    """

    labels: Count | None
    epochs: Count
    seeds: Count


class PretrainingBudget(Settings):
    """How long a study of pretraining may take.

    Attributes:
        epochs: of each layer's pretraining.
        stacks: pretrained from random weights of their own; the seeds take turns with them.
        fine_tuning: a line for each number of labels.
    """

    epochs: Count
    stacks: Count = 1
    fine_tuning: tuple[FineTuningBudget, ...] = Field(min_length=1)

    @field_validator("fine_tuning")
    @classmethod
    def _differ_in_labels(cls, lines: tuple[FineTuningBudget, ...]) -> tuple[FineTuningBudget, ...]:
        if len({line.labels for line in lines}) < len(lines):
            raise ValueError("must name each number of labels once")
        return lines


class FineTuningSettings(Settings):
    """How labels are learned; the validation split chooses among the learning rates, for each start on its own."""

    batch_size: Count = 50
    learning_rates: tuple[Annotated[float, Field(gt=0)], ...] = Field(default=(1e-3, 3e-3), min_length=1)


class PretrainingSettings(StudySettings, StackSettings):
    """Greedy layer-wise pretraining against random weights, with few labels and with many."""

    kind: Literal["pretraining"] = "pretraining"
    fine_tuning: FineTuningSettings = FineTuningSettings()
    quick: PretrainingBudget
    paper: PretrainingBudget

    def errors(self, data: Outline) -> Iterator[SettingError]:
        """See :class:`StudySettings`."""
        if data.classes is None:
            yield SettingError("kind", self.kind, "must be of a dataset with classes: labels are fine-tuned with")
            return
        for name, budget in (("quick", self.quick), ("paper", self.paper)):
            for place, line in enumerate(budget.fine_tuning):
                if line.labels is not None and not data.classes <= line.labels <= data.train:
                    allowed = f"must be {data.classes} (a label a class) to {data.train} (the training split), or null"
                    yield SettingError(f"{name}.fine_tuning.{place}.labels", line.labels, allowed)

    def units(self, plan: StudyPlan) -> Unit:
        """See :class:`StudySettings`. Each pretrained stack and each training with labels is a part."""
        from pipelines.studies.pretraining.page import write  # matplotlib takes half a second

        budget = self.quick if plan.budget == "quick" else self.paper
        stack = self.model_dump(mode="json", include=set(StackSettings.model_fields))
        stacks = [self._stack(plan, budget, stack, number) for number in range(budget.stacks)]
        trainings = [
            training
            for line in budget.fine_tuning
            for start in STARTS
            for training in self._trainings(plan, line, start, stacks if start == "pretrained" else [])
        ]
        inputs: Inputs = {"data": plan.data, "trainings": tuple(trainings), "stack": stacks[0]}
        return plan.page(
            self.kind,
            write,
            inputs,
            seconds=3,
            settings=stack,
            epochs=budget.epochs,
            stacks=budget.stacks,
            seed=plan.seed,
        )

    def _stack(self, plan: StudyPlan, budget: PretrainingBudget, stack: dict[str, Any], number: int) -> Unit:
        return plan.part(
            f"stack {number + 1}",
            pretrain_stack,
            {"data": plan.data},
            seconds=LAYER_SECONDS * len(self.layers) * budget.epochs,
            stack=stack,
            epochs=budget.epochs,
            seed=plan.seed + number,
        )

    def _trainings(self, plan: StudyPlan, line: FineTuningBudget, start: Start, stacks: list[Unit]) -> list[Unit]:
        """Return the trainings of one start: of the first seed with each learning rate, of the others with the best."""
        units: list[Unit] = []
        rates = self.fine_tuning.learning_rates
        for number, rate in [*((0, rate) for rate in rates), *((number, None) for number in range(1, line.seeds))]:
            inputs: dict[str, Given | Unit | tuple[Unit, ...]] = {"data": plan.data}
            inputs |= {"pretrained": stacks[number % len(stacks)]} if stacks else {}
            inputs |= {} if rate else {"tried": tuple(units[: len(rates)])}
            name = f"{line.labels or 'all'} labels, {start} start, seed {number + 1}"
            steps = line.epochs * (line.labels or 60_000) / self.fine_tuning.batch_size
            part = plan.part(
                f"{name}, learning rate {rate}" if rate else name,
                train,
                inputs,
                seconds=START_SECONDS + STEP_SECONDS * steps,
                network=self.model_dump(mode="json", include={"layers", "activation"}),
                batch_size=self.fine_tuning.batch_size,
                labels=line.labels,
                epochs=line.epochs,
                start=start,
                seed=plan.seed + number,
                **({"learning_rate": rate} if rate else {}),
            )
            units.append(part)
        return units
