"""Words drawn one after the other, each from the same distribution: the decoder gives the words' logits.

Salakhutdinov, Hinton, "Semantic Hashing", 2009, section 2; Hinton, Salakhutdinov, Science 313 (2006), supporting text:
a softmax over the vocabulary, and the cross-entropy weighted by the document's length.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from torch import Tensor

from components.likelihoods.contract import Likelihood
from components.settings import SettingError
from items.spec import ItemSpec


class Multinomial(Likelihood):
    """The cross-entropy of a document's words in nats, summed over its words; the order of words is left out.

    What is rebuilt are the chances of the words, which sum to 1, and no item.
    """

    kind: Literal["multinomial"] = "multinomial"
    term: ClassVar[str] = "cross_entropy"
    unit: ClassVar[str] = "nats per item"
    rebuilds: ClassVar[Literal["items", "chances"]] = "chances"

    def check(self, item: ItemSpec) -> None:
        """See :class:`Likelihood`."""
        if item.kind != "text":
            raise SettingError("kind", self.kind, f"is for texts, and the items are of kind {item.kind}")

    def target(self, items: Tensor, scaled: Tensor) -> Tensor:
        """Return the counts themselves."""
        return items.float()

    def errors(self, target: Tensor, decoded: Tensor) -> Tensor:
        """See :class:`Likelihood`."""
        logits = decoded.float()
        return target.sum(1) * logits.logsumexp(1) - (target * logits).sum(1)

    def mean(self, decoded: Tensor) -> Tensor:
        """Return the chance of each word, (batch, words)."""
        return decoded.softmax(1)
