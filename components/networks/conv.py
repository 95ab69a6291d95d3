"""Convolutional encoder and decoder for images of any size.

The image is cut into tiles of `downsample` x `downsample` pixels that become channels (space to depth, as in Shi et
al., arXiv 1609.05158), so every convolution runs on the small grid with stride 1: on a CPU this is nearly twice as
fast as the strided and transposed convolutions of the same shapes. Residual blocks follow arXiv 1711.00937, section
4.1: ReLU, 3x3, ReLU, 1x1.

Shapes: (batch, 28, 28, 1) with downsample 4 becomes (batch, 16, 7, 7), then (batch, channels, 7, 7).
"""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from components.settings import SettingError, Settings
from items.spec import ItemSpec


class ConvSettings(Settings):
    """`blocks` residual blocks of `channels` channels on a grid `downsample` times smaller than the image."""

    kind: Literal["conv"] = "conv"
    downsample: Literal[1, 2, 4, 8, 16] = 4
    channels: int = Field(default=64, ge=1)
    blocks: int = Field(default=1, ge=0)

    def positions(self, item: ItemSpec) -> int:
        """Return the number of places on the grid."""
        return math.prod(self._grid(item))

    def build(
        self, item: ItemSpec, latent_shape: tuple[int, ...], embedding_shape: tuple[int, ...] | None = None
    ) -> tuple[nn.Module, nn.Module]:
        """Return an encoder to (batch, *latent_shape), and a decoder from (batch, *embedding_shape).

        A shape with one vector a grid place is read off the grid; any other goes through a linear layer.
        """
        grid = self._grid(item)
        tile = item.shape[2] * self.downsample**2
        inward: list[nn.Module] = [Tiles(self.downsample, grid), nn.Conv2d(tile, self.channels, 3, padding=1)]
        outward: list[nn.Module] = [nn.ReLU(), nn.Conv2d(self.channels, tile, 3, padding=1)]
        outward.append(Untiles(self.downsample, (item.shape[0], item.shape[1], item.shape[2])))
        blocks = [[Residual(self.channels) for _ in range(self.blocks)] for _ in range(2)]

        embedding_shape = embedding_shape or latent_shape
        wide = self.channels * math.prod(grid)
        if _on_grid(latent_shape, grid):
            read: list[nn.Module] = [nn.ReLU(), nn.Conv2d(self.channels, latent_shape[1], 1), Positions()]
        else:
            read = [nn.ReLU(), nn.Flatten(), nn.Linear(wide, math.prod(latent_shape)), nn.Unflatten(1, latent_shape)]
        if _on_grid(embedding_shape, grid):
            write: list[nn.Module] = [Grid(grid), nn.Conv2d(embedding_shape[1], self.channels, 3, padding=1)]
        else:
            linear = nn.Linear(math.prod(embedding_shape), wide)
            write = [nn.Flatten(), linear, nn.Unflatten(1, (self.channels, *grid))]
        return nn.Sequential(*inward, *blocks[0], *read), nn.Sequential(*write, *blocks[1], *outward)

    def _grid(self, item: ItemSpec) -> tuple[int, int]:
        if item.kind != "image":
            raise SettingError("kind", self.kind, f"needs images, and the items are of kind {item.kind}")
        return -(-item.shape[0] // self.downsample), -(-item.shape[1] // self.downsample)


def _on_grid(shape: tuple[int, ...], grid: tuple[int, int]) -> bool:
    return len(shape) == 2 and shape[0] == math.prod(grid)


class Residual(nn.Module):
    """x + 1x1(ReLU(3x3(ReLU(x)))), with half the channels inside."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        inner = max(1, channels // 2)
        self.narrow = nn.Conv2d(channels, inner, 3, padding=1)
        self.widen = nn.Conv2d(inner, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, channels, height, width) to the same shape."""
        residual: Tensor = self.widen(F.relu(self.narrow(F.relu(x))))
        return x + residual


class Tiles(nn.Module):
    """Images (batch, height, width, channels), padded with zeros to whole tiles, to (batch, tile values, *grid)."""

    def __init__(self, side: int, grid: tuple[int, int]) -> None:
        super().__init__()
        self.side, self.grid = side, grid

    def forward(self, images: Tensor) -> Tensor:
        """Cut into tiles."""
        (rows, columns), side = self.grid, self.side
        _, height, width, channels = images.shape
        images = F.pad(images, (0, 0, 0, columns * side - width, 0, rows * side - height))
        tiles = images.reshape(-1, rows, side, columns, side, channels).permute(0, 5, 2, 4, 1, 3)
        return tiles.reshape(-1, channels * side * side, rows, columns)


class Untiles(nn.Module):
    """The inverse of :class:`Tiles`, cropped to the image's shape."""

    def __init__(self, side: int, shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.side, self.shape = side, shape

    def forward(self, tiles: Tensor) -> Tensor:
        """Put the tiles together."""
        height, width, channels = self.shape
        side, (rows, columns) = self.side, tiles.shape[2:]
        parts = tiles.reshape(-1, channels, side, side, rows, columns).permute(0, 4, 2, 5, 3, 1)
        return parts.reshape(-1, rows * side, columns * side, channels)[:, :height, :width]


class Positions(nn.Module):
    """A grid (batch, size, rows, columns) as vectors (batch, rows * columns, size)."""

    def forward(self, grid: Tensor) -> Tensor:
        """Read the grid row by row."""
        return grid.flatten(2).transpose(1, 2)


class Grid(nn.Module):
    """The inverse of :class:`Positions`."""

    def __init__(self, grid: tuple[int, int]) -> None:
        super().__init__()
        self.grid = grid

    def forward(self, vectors: Tensor) -> Tensor:
        """Lay the vectors out row by row."""
        return torch.unflatten(vectors.transpose(1, 2), 2, self.grid)
