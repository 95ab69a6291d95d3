"""Bernoulli variables: each value is the chance of a 1, and the decoder gives its logit.

Kingma, Welling, "Auto-Encoding Variational Bayes", arXiv 1312.6114, appendix C.1.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import torch.nn.functional as F
from torch import Tensor

from components.likelihoods.contract import Likelihood
from components.settings import SettingError
from items.spec import ItemSpec


class Bernoulli(Likelihood):
    """The cross-entropy between values in 0-1 and Bernoulli variables, in nats, summed over an item's values.

    Where the values are 0 and 1 it is the negative log-likelihood; of grey values it is not.

    Attributes:
        binarize: draw each value as 0 or 1, with its scaled value as chance, anew at each step of training (dynamic
            binarization: Burda et al., arXiv 1509.00519, section 5).
    """

    kind: Literal["bernoulli"] = "bernoulli"
    binarize: bool = False
    term: ClassVar[str] = "cross_entropy"
    unit: ClassVar[str] = "nats per item"

    def check(self, item: ItemSpec) -> None:
        """See :class:`Likelihood`."""
        if item.scale != "bytes":
            allowed = f"must be squared_error: items are {item.dtype}, and only bytes are sure to scale to 0-1"
            raise SettingError("kind", self.kind, allowed)

    def drawn(self, scaled: Tensor) -> Tensor:
        """See :class:`Likelihood`."""
        return scaled.bernoulli() if self.binarize else scaled

    def errors(self, target: Tensor, decoded: Tensor) -> Tensor:
        """See :class:`Likelihood`."""
        each = F.binary_cross_entropy_with_logits(decoded.float(), target.float(), reduction="none")
        return each.flatten(1).sum(1)

    def mean(self, decoded: Tensor) -> Tensor:
        """See :class:`Likelihood`."""
        return decoded.sigmoid()
