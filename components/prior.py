"""Priors over discrete codes: how likely a code is, so how many bits it costs under an entropy coder; and new codes.

van den Oord, Kalchbrenner, Vinyals, Espeholt, Graves, Kavukcuoglu, "Conditional Image Generation with PixelCNN
Decoders", arXiv 1606.05328: each position is guessed from those before it by masked, gated convolutions.

Shapes: codes (batch, 49) of 512 levels are laid out as 7 rows of 7, and give log-probabilities (batch, 49, 512).
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from pydantic import Field, field_validator
from torch import Tensor, nn

from components.batches import Batches
from components.contract import Epoch, Trainable, TrainingRun
from components.settings import SettingError, Settings
from components.training import MEASURE_BATCH, TrainingSettings, descend

SMOOTHING = 50.0  # items that a position's frequencies borrow from all positions'


class PriorSettings(Settings):
    """A gated PixelCNN.

    Attributes:
        embedding: dimensions of the vectors that stand for a code's values.
        channels: of the hidden layers.
        kernel: side of the first convolution; those of the blocks are of 3.
        blocks: gated residual blocks after it; each sees a row and a column farther.
        columns: how many of a code's integers make a row; null takes the shape nearest to a square.
    """

    embedding: int = Field(default=32, ge=1)
    channels: int = Field(default=64, ge=1)
    kernel: int = Field(default=5, ge=3)
    blocks: int = Field(default=1, ge=0)
    columns: int | None = Field(default=None, ge=1)
    training: TrainingSettings = TrainingSettings(batch_size=64, learning_rate=3e-3, weight_decay=0.01)

    @field_validator("kernel")
    @classmethod
    def _has_a_middle(cls, value: int) -> int:
        if value % 2 == 0:
            raise ValueError("must be odd: the position that is guessed lies in the middle")
        return value

    def build(self, positions: int, levels: int, seed: int = 0) -> PixelCNN:
        """Build the prior of codes of `positions` integers below `levels`, with weights drawn from `seed`.

        Raises:
            SettingError: the positions do not make whole rows.
        """
        columns = self.columns or near_square(positions)
        if positions % columns:
            raise SettingError("columns", columns, f"must divide {positions}, the integers of a code")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return PixelCNN(self, (positions // columns, columns), levels)


def near_square(positions: int) -> int:
    """Return the columns of the grid of `positions` places that is nearest to a square, no taller than wide."""
    rows = next(rows for rows in range(math.isqrt(positions), 0, -1) if positions % rows == 0)
    return positions // rows


class PositionFrequencies:
    """Each position drawn by itself, by how often each value was seen there.

    Attributes:
        log_shares: (positions, levels), natural logarithms, none infinite.
    """

    def __init__(self, codes: Tensor, levels: int) -> None:
        """Count codes (n, positions); a position borrows SMOOTHING items from all positions' frequencies."""
        counts = torch.zeros(codes.shape[1], levels, dtype=torch.float64, device=codes.device)
        counts.scatter_add_(1, codes.T.long(), torch.ones_like(codes.T, dtype=torch.float64))
        overall = counts.sum(0) + 0.5
        shares = (counts + SMOOTHING * overall / overall.sum()) / (len(codes) + SMOOTHING)
        self.log_shares = shares.log().float()

    def bits(self, codes: Tensor) -> Tensor:
        """Return what each of codes (n, positions) costs under an ideal entropy coder, (n,)."""
        return -self.log_shares.gather(1, codes.T.long()).sum(0) / math.log(2)

    def sample(self, count: int, seed: int) -> Tensor:
        """Draw codes (count, positions), int64."""
        generator = torch.Generator(self.log_shares.device).manual_seed(seed)
        return torch.multinomial(self.log_shares.exp(), count, replacement=True, generator=generator).T.contiguous()


class PixelCNN(Trainable):
    """p(code) as the product over positions, row by row, of p(position | positions before it).

    Its last layer adds to each position's log-frequencies, so training starts at :class:`PositionFrequencies` and only
    learns how positions depend on each other. One stack of masked convolutions, not the paper's two: far up on the
    right some positions stay unseen, which on grids as small as a code's is next to nothing.

    Buffers: `log_shares` (positions, levels).
    """

    log_shares: Tensor

    def __init__(self, settings: PriorSettings, grid: tuple[int, int], levels: int) -> None:
        super().__init__()
        self.settings, self.grid, self.levels = settings, grid, levels
        channels = settings.channels
        self.embedding = nn.Embedding(levels, settings.embedding)
        self.places = nn.Parameter(torch.zeros(2 * channels, *grid))
        self.first = MaskedConv(settings.embedding, 2 * channels, settings.kernel, sees_itself=False)
        self.blocks = nn.ModuleList(GatedBlock(channels) for _ in range(settings.blocks))
        self.norm = nn.LayerNorm(channels)
        self.last = nn.Linear(channels, levels)
        nn.init.normal_(self.last.weight, std=0.01)
        nn.init.zeros_(self.last.bias)
        self.register_buffer("log_shares", torch.full((math.prod(grid), levels), -math.log(levels)))

    def fit(self, run: TrainingRun) -> Iterator[Epoch]:
        """Count the training codes (n, positions), int64, then train; metrics are in bits an item."""
        self.log_shares.copy_(PositionFrequencies(Batches.of(run.train).rows(slice(None)), self.levels).log_shares)
        yield from descend(self, self.settings.training, run)

    def losses(self, items: Tensor) -> dict[str, Tensor]:
        """Return `bits`, the mean over codes (batch, positions) of what each costs."""
        return {"bits": self._bits(items).mean()}

    @torch.no_grad()
    def bits(self, codes: Tensor) -> Tensor:
        """Return what each of codes (n, positions) costs under an ideal entropy coder, (n,)."""
        self.eval()
        codes = codes.to(self.log_shares.device)
        return torch.cat([self._bits(batch) for batch in torch.split(codes, MEASURE_BATCH)]).cpu()

    @torch.no_grad()
    def sample(self, count: int, seed: int) -> Tensor:
        """Draw codes (count, positions), int64, one position after the other."""
        self.eval()
        rows, columns = self.grid
        generator = torch.Generator(self.log_shares.device).manual_seed(seed)
        codes = torch.zeros(count, rows * columns, dtype=torch.long, device=self.log_shares.device)
        for position in range(rows * columns):
            shares = self.guess(codes, position).softmax(-1)
            codes[:, position] = torch.multinomial(shares, 1, generator=generator)[:, 0]
        return codes.cpu()

    def guess(self, codes: Tensor, position: int) -> Tensor:
        """Return a position's logits (batch, levels) of codes (batch, positions), from the rows that it depends on."""
        columns = self.grid[1]
        row, column = divmod(position, columns)
        top = max(0, row - self.settings.kernel // 2 - self.settings.blocks)
        hidden = self._hidden(codes[:, top * columns : (row + 1) * columns], top)
        logits: Tensor = self.last(hidden[:, -columns + column])
        return logits + self.log_shares[position]

    def forward(self, codes: Tensor) -> Tensor:
        """Return logits (batch, positions, levels) of codes (batch, positions)."""
        logits: Tensor = self.last(self._hidden(codes, 0))
        return logits + self.log_shares

    def _hidden(self, codes: Tensor, top: int) -> Tensor:
        """Return (batch, positions, channels) of whole rows of codes, the first of them the grid's row `top`."""
        embedded: Tensor = self.embedding(codes)
        grid = torch.unflatten(embedded.transpose(1, 2), 2, (-1, self.grid[1]))
        hidden = gated(self.first(grid) + self.places[:, top : top + grid.shape[2]])
        for block in self.blocks:
            hidden = block(hidden)
        normal: Tensor = self.norm(hidden.flatten(2).transpose(1, 2))
        return normal

    def _bits(self, codes: Tensor) -> Tensor:
        nats = F.cross_entropy(self(codes).float().flatten(0, 1), codes.flatten().long(), reduction="none")
        return nats.reshape(codes.shape).sum(1) / math.log(2)


class MaskedConv(nn.Conv2d):
    """A convolution that sees rows above, and of its own row what lies to the left, and itself if `sees_itself`.

    Rows below are left out of the kernel rather than masked, which saves their arithmetic.
    """

    mask: Tensor

    def __init__(self, inward: int, outward: int, side: int, sees_itself: bool) -> None:
        super().__init__(inward, outward, (side // 2 + 1, side))
        self.reach = side // 2
        mask = torch.ones(side // 2 + 1, side)
        mask[-1, self.reach + sees_itself :] = 0
        self.register_buffer("mask", mask, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, inward, rows, columns) to (batch, outward, rows, columns)."""
        padded = F.pad(x, (self.reach, self.reach, self.reach, 0))
        return F.conv2d(padded, self.weight * self.mask, self.bias)


class GatedBlock(nn.Module):
    """x + 1x1(gated(masked 3x3(x)))."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = MaskedConv(channels, 2 * channels, 3, sees_itself=True)
        self.mix = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, channels, rows, columns) to the same shape."""
        residual: Tensor = self.mix(gated(self.conv(x)))
        return x + residual


def gated(x: Tensor) -> Tensor:
    """Return tanh(a) sigmoid(b) (equation 2) of (batch, 2 channels, ...), a and b its halves."""
    a, b = x.chunk(2, dim=1)
    return torch.tanh(a) * torch.sigmoid(b)
