"""Penalties: terms of the loss that ask something of the code, or of the encoder, beside rebuilding."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from components.penalties.contract import Activity, Penalty
from components.penalties.contractive import ContractiveSettings, jacobians
from components.penalties.kl_sparsity import KLSparsitySettings
from components.penalties.l1 import L1Settings

PenaltySettings = Annotated[L1Settings | KLSparsitySettings | ContractiveSettings, Field(discriminator="kind")]

__all__ = [
    "Activity",
    "ContractiveSettings",
    "KLSparsitySettings",
    "L1Settings",
    "Penalty",
    "PenaltySettings",
    "jacobians",
]
