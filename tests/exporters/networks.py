"""Small networks, one of each style that exporters are given: built here, trained by nobody, seeded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Network:
    """A module and an input that it takes.

    Attributes:
        build: makes the module.
        example: the input, batch 1.
        free: axes of the input, beside the batch, that an exporter is told to leave open.
        to: whether the signal has to end at an embedding, because the input holds whole numbers.
    """

    build: Callable[[], nn.Module]
    example: Callable[[], Tensor]
    free: tuple[int, ...] = ()
    to: bool = False


class Residual(nn.Module):
    """Two residual blocks with batch norm, the second with a projection."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2))
        self.one = nn.Sequential(nn.Conv2d(8, 8, 3, 1, 1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3, 1, 1))
        self.two = nn.Sequential(nn.Conv2d(8, 12, 3, 2, 1), nn.ReLU(), nn.Conv2d(12, 12, 3, 1, 1))
        self.short = nn.Conv2d(8, 12, 1, 2)
        self.head = nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = torch.relu(x + self.one(x))
        x = torch.relu(self.short(x) + self.two(x))
        return self.head(x.mean((2, 3)))


class Gated(nn.Module):
    """Depthwise convolutions, hard-swish, squeeze and excitation."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.Hardswish())
        self.depth = nn.Sequential(nn.Conv2d(8, 8, 5, 1, 2, groups=8), nn.BatchNorm2d(8), nn.Hardswish())
        self.squeeze = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(8, 4, 1), nn.ReLU(), nn.Conv2d(4, 8, 1))
        self.gate = nn.Hardsigmoid()
        self.last = nn.Sequential(nn.Conv2d(8, 6, 1), nn.SiLU())

    def forward(self, x: Tensor) -> Tensor:
        x = self.depth(self.stem(x))
        return self.last(x * self.gate(self.squeeze(x)))


class Transformer(nn.Module):
    """Tokens, positions, one block of attention and GELU, a head over the mean token."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens = nn.Embedding(50, 16)
        self.positions = nn.Parameter(torch.randn(1, 12, 16) * 0.1)
        self.norm, self.last = nn.LayerNorm(16), nn.LayerNorm(16)
        self.query, self.key, self.value = nn.Linear(16, 16), nn.Linear(16, 16), nn.Linear(16, 16)
        self.wide = nn.Sequential(nn.Linear(16, 32), nn.GELU(), nn.Linear(32, 16))
        self.head = nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = self.tokens(x) + self.positions[:, : x.shape[1]]
        n = self.norm(h)
        q, k, v = (
            layer(n).reshape(n.shape[0], n.shape[1], 4, 4).transpose(1, 2)
            for layer in (self.query, self.key, self.value)
        )
        weights = torch.softmax(q @ k.transpose(2, 3) / 2.0, -1)
        h = h + (weights @ v).transpose(1, 2).reshape(h.shape)
        h = h + self.wide(self.last(h))
        return self.head(h.mean(1))


class Recurrent(nn.Module):
    """An LSTM over embedded tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens = nn.Embedding(30, 8)
        self.cells = nn.LSTM(8, 10, batch_first=True)
        self.head = nn.Linear(10, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.cells(self.tokens(x))[0][:, -1])


class Hourglass(nn.Module):
    """A U-Net: down twice, up by a transposed convolution and by a resize, with skips."""

    def __init__(self) -> None:
        super().__init__()
        self.enter = nn.Sequential(nn.Conv2d(1, 6, 3, 1, 1), nn.ReLU())
        self.down = nn.Sequential(nn.MaxPool2d(2), nn.Conv2d(6, 8, 3, 1, 1), nn.ReLU())
        self.low = nn.Sequential(nn.MaxPool2d(2), nn.Conv2d(8, 8, 3, 1, 1), nn.LeakyReLU(0.1))
        self.up = nn.ConvTranspose2d(8, 8, 2, 2)
        self.join = nn.Sequential(nn.Conv2d(16, 6, 3, 1, 1), nn.ReLU())
        self.last = nn.Conv2d(12, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        first = self.enter(x)
        second = self.down(first)
        joined = self.join(torch.cat([self.up(self.low(second)), second], 1))
        wide = nn.functional.interpolate(joined, scale_factor=2.0, mode="nearest")
        return self.last(torch.cat([wide, first], 1))


class ChannelsLast(nn.Module):
    """Takes (N, H, W, C), as networks from TensorFlow do."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 6, 3, 2, 1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 4, 3), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


class TokensFirst(nn.Module):
    """Patches as tokens through torch's own attention, which puts the tokens in front of the batch."""

    def __init__(self) -> None:
        super().__init__()
        self.patches, self.first = nn.Conv2d(3, 16, 4, 4), nn.Parameter(torch.randn(1, 1, 16))
        self.norm, self.attention = nn.LayerNorm(16), nn.MultiheadAttention(16, 4, batch_first=True)
        self.head = nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        h = self.patches(x).flatten(2).transpose(1, 2)
        h = torch.cat([self.first.expand(h.shape[0], -1, -1), h], 1)
        n = self.norm(h)
        return self.head((h + self.attention(n, n, n, need_weights=False)[0])[:, 0])


class Windows(nn.Module):
    """Places of 2 x 2 windows folded into the batch, mixed among windows, and put back (MobileViT)."""

    def __init__(self) -> None:
        super().__init__()
        self.enter, self.leave = nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(8, 4, 3, 1, 1)
        self.norm, self.query, self.value = nn.LayerNorm(8), nn.Linear(8, 8), nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.relu(self.enter(x))
        n, c, height, width = h.shape
        rows, columns = height // 2, width // 2
        p = h.reshape(n * c * rows, 2, columns, 2).transpose(1, 2).reshape(n, c, rows * columns, 4)
        p = p.transpose(1, 3).reshape(n * 4, rows * columns, c)
        q = self.norm(p)
        p = p + torch.softmax(self.query(q) @ q.transpose(1, 2), -1) @ self.value(q)
        p = p.view(n, 4, rows * columns, c).transpose(1, 3)
        p = p.reshape(n * c * rows, columns, 2, 2).transpose(1, 2).reshape(n, c, height, width)
        return self.leave(p)


class Standardised(nn.Module):
    """Convolutions whose filters are standardised as they run, by a batch norm over weights (BiT, NFNet)."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(8, 6, 3, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        for layer in (self.one, self.two):
            flat = layer.weight.reshape(1, layer.out_channels, -1)
            even = nn.functional.batch_norm(flat, None, None, training=True, momentum=0.0)
            weight = even.reshape_as(layer.weight) * 0.3
            x = torch.relu(nn.functional.conv2d(x, weight, layer.bias, layer.stride, layer.padding))
        return x


class Spectrogram(nn.Module):
    """A short-time Fourier transform in front of convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("window", torch.hann_window(32))
        self.body = nn.Sequential(nn.Conv2d(1, 6, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 3, 3))

    def forward(self, x: Tensor) -> Tensor:
        # Torch's older exporter knows no complex numbers, its newer one nothing else.
        parts = not torch.compiler.is_compiling()
        found = torch.stft(x, 32, 16, window=self.window, center=False, return_complex=not parts)
        power = (found if parts else torch.view_as_real(found)).square().sum(-1)
        return self.body(torch.log1p(power)[:, None])


def _plain() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, 1, 1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(8, 10, 3, 1, 1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(10 * 16, 20), nn.ReLU(), nn.Dropout(), nn.Linear(20, 5), nn.Softmax(1),
    )  # fmt: skip


def _audio() -> nn.Module:
    return nn.Sequential(
        nn.Conv1d(1, 8, 9, 4, 4), nn.BatchNorm1d(8), nn.ReLU(), nn.MaxPool1d(4),
        nn.Conv1d(8, 12, 5, 1, 2), nn.ELU(), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(12, 4),
    )  # fmt: skip


def _volume() -> nn.Module:
    return nn.Sequential(
        nn.Conv3d(2, 6, 3, 1, 1), nn.ReLU(), nn.MaxPool3d(2), nn.Conv3d(6, 8, (1, 3, 3)), nn.ReLU(),
        nn.AvgPool3d((2, 1, 1)), nn.Flatten(), nn.Linear(8 * 2 * 3 * 2, 3),
    )  # fmt: skip


def _picture(*shape: int) -> Callable[[], Tensor]:
    return lambda: torch.randn(shape, generator=torch.manual_seed(7))


def _whole(limit: int, length: int) -> Callable[[], Tensor]:
    return lambda: torch.randint(0, limit, (1, length), generator=torch.manual_seed(7))


NETWORKS = {
    "plain": Network(_plain, _picture(1, 3, 16, 16)),
    "residual": Network(Residual, _picture(1, 3, 32, 24), free=(2, 3)),
    "gated": Network(Gated, _picture(1, 3, 20, 24)),
    "audio": Network(_audio, _picture(1, 1, 256), free=(2,)),
    "volume": Network(_volume, _picture(1, 2, 8, 10, 8)),
    "transformer": Network(Transformer, _whole(50, 9), free=(1,), to=True),
    "recurrent": Network(Recurrent, _whole(30, 7), to=True),
    "hourglass": Network(Hourglass, _picture(1, 1, 16, 24), free=(2, 3)),
    "channels_last": Network(ChannelsLast, _picture(1, 20, 24, 3)),
    "tokens_first": Network(TokensFirst, _picture(1, 3, 16, 16)),
    "windows": Network(Windows, _picture(1, 3, 16, 24)),
    "standardised": Network(Standardised, _picture(1, 3, 16, 16)),
    "spectrogram": Network(Spectrogram, _picture(1, 256)),
}


def module(name: str) -> nn.Module:
    """A network of the list with seeded weights, batch norms away from the identity, ready for inference."""
    torch.manual_seed(sorted(NETWORKS).index(name))
    made = NETWORKS[name].build()
    for part in made.modules():
        if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d):
            nn.init.uniform_(part.weight, 0.5, 1.5)
            nn.init.uniform_(part.bias, -0.3, 0.3)
            part.running_mean.uniform_(-0.2, 0.2)
            part.running_var.uniform_(0.5, 1.5)
    return made.eval()
