"""The L1 penalty on the code: many of its values come near zero (sparse autoencoder)."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from components.penalties.contract import Activity, Penalty


class L1Settings(Penalty):
    """weight · mean over items of Σ|h|, with h the code that the decoder gets.

    A decoder can outgrow the penalty by larger weights on a smaller code; the network's `unit_norm_decoder` stops it.
    """

    kind: Literal["l1"] = "l1"

    def term(self, activity: Activity) -> Tensor:
        """See :class:`Penalty`."""
        return activity.code.float().abs().flatten(1).sum(1).mean()
