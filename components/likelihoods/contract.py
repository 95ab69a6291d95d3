"""The likelihood's contract: the loss's first term, and the mean that is shown, both from the decoder's output."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, Literal

from torch import Tensor

from components.settings import Settings
from items.spec import ItemSpec

SQUARED_ERROR = "squared_error"
PER_ITEM = "per item"  # the unit of squared errors: scaled values have none


class Likelihood(Settings, ABC):
    """What is made small between an item and what the decoder gave.

    It has no weights, so its settings are all there is to it.

    Attributes:
        term: the name of its error among the loss's terms.
        unit: that its error is given in.
        rebuilds: what :meth:`mean` gives: items in the scale that a model takes them in, or the chances of words.
    """

    kind: str
    term: ClassVar[str]
    unit: ClassVar[str]
    rebuilds: ClassVar[Literal["items", "chances"]] = "items"

    @property
    def objective(self) -> str:
        """The metric by which models can be compared whose losses differ."""
        return SQUARED_ERROR if self.rebuilds == "items" else self.term

    @property
    def objective_unit(self) -> str:
        """The unit of that metric."""
        return PER_ITEM if self.rebuilds == "items" else self.unit

    def check(self, item: ItemSpec) -> None:
        """Raise SettingError where items are none that it can be of; the key is that of the setting at fault."""

    def drawn(self, scaled: Tensor) -> Tensor:
        """Return what a step of training sees of scaled items (batch, ...), as its input and as its target."""
        return scaled

    def target(self, items: Tensor, scaled: Tensor) -> Tensor:
        """Return what is to be rebuilt, (batch, ...), of raw items and of these as they were scaled and drawn."""
        return scaled

    @abstractmethod
    def errors(self, target: Tensor, decoded: Tensor) -> Tensor:
        """Return the error of each item, (batch,), summed over its values; target and decoded are (batch, ...)."""

    @abstractmethod
    def mean(self, decoded: Tensor) -> Tensor:
        """Return what the decoder's output stands for, (batch, ...)."""
