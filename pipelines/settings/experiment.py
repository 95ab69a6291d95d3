"""An experiment's settings: a model, some of whose values may be distributions, how they are searched, and budgets."""

from __future__ import annotations

from functools import cached_property
from typing import Any, Literal

from pydantic import Field, TypeAdapter

from components.models import Model, ModelSettings
from components.settings import SettingError, Settings
from items.errors import one_line
from items.spec import ItemSpec
from pipelines.settings.spaces import Distribution, Parameters, corners, fill, find_space


class Budget(Settings):
    """Limits of an experiment: passes over the training items, and trials of the sweep."""

    epochs: int = Field(default=1, ge=1)
    trials: int = Field(default=1, ge=1)


class SweepSettings(Settings):
    """Settings of the search: how trials are compared, and each trial's share of a node.

    Attributes:
        objective: the validation metric to minimize. `error` is the squared error, or where the likelihood rebuilds no
            items the likelihood's own; rather than the loss, because a sweep may change the weights of its terms.
        reduction: ASHA (arXiv 1810.05934) keeps one trial in this many at each rung.
        first_rung: epochs before a trial can be stopped; null takes a quarter of them.
        cpus: each trial's CPUs; fractions are allowed.
        gpus: each trial's GPUs; fractions are allowed. Null takes 1 where the cluster has GPUs, and none elsewhere.
    """

    objective: Literal["error", "loss"] = "error"
    reduction: float = Field(default=3, gt=1)
    first_rung: int | None = Field(default=None, ge=1)
    cpus: float = Field(default=1, gt=0)
    gpus: float | None = Field(default=None, ge=0)


class ExperimentSettings(Settings):
    """One experiment: `experiments.<dataset>.<name>` in params.yaml."""

    model: dict[str, Any]
    sweep: SweepSettings = SweepSettings()
    quick: Budget = Budget()
    paper: Budget = Budget()

    @cached_property
    def space(self) -> dict[str, Distribution]:
        """The searched values by their dotted path, such as `model.training.learning_rate`."""
        return find_space(self.model, "model")

    def model_settings(self, parameters: Parameters) -> ModelSettings:
        """Return the model's settings with the searched values filled in."""
        return MODEL.validate_python(fill(self.model, parameters, "model"))

    def check(self, place: str, item: ItemSpec) -> None:
        """Build the model at every corner of its space, so that errors are found before a sweep starts.

        Args:
            place: the experiment's place below `experiments`, such as `mnist.deep`, for errors.
            item: the items that the model is to take.

        Raises:
            SettingError: the model cannot take these items.
        """
        objectives = {self.build(place, parameters, item)[0].objective for parameters in corners(self.space)}
        if len(objectives) > 1 and self.sweep.objective == "error":
            named = " and ".join(sorted(objectives))
            raise SettingError(
                f"experiments.{place}.sweep.objective", "error", f"must be loss: trials differ in {named}"
            )

    def build(self, place: str, parameters: Parameters, item: ItemSpec) -> tuple[ModelSettings, Model]:
        """Return the model's settings at a point of the space, and the model.

        Raises:
            SettingError: the model cannot take these items, or is larger than can be built.
        """
        settings, path = self.model_settings(parameters), f"experiments.{place}.model"
        try:
            return settings, settings.build(item)
        except SettingError as error:
            raise error.under(path) from None
        except (RuntimeError, TypeError, OverflowError, MemoryError) as error:  # torch, asked for too large a tensor
            raise SettingError(path, one_line(error, 200), "must be a model that can be built") from error


MODEL: TypeAdapter[ModelSettings] = TypeAdapter(ModelSettings)
