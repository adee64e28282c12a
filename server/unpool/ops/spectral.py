"""Fourier transforms, windows and mel filters."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from unpool.ops.base import operator, whole
from unpool.ops.linearity import linear
from unpool.ops.types import torch_type


def _complex(x: Tensor) -> Tensor:
    return torch.complex(x[..., 0], x[..., 1]) if x.shape[-1] == 2 else x[..., 0]


def _transformed(x: Tensor, length: int | None, axis: int, inverse: int, onesided: int) -> Tensor:
    """Over axis ``axis`` of (..., 1) or (..., 2), real or real and imaginary part (ONNX, DFT-20)."""
    axis %= x.ndim
    signal = _complex(x if x.dtype == torch.float64 else x.float())
    if inverse and onesided:
        extent = length if length is not None else 2 * (x.shape[axis] - 1)
        real: Tensor = torch.fft.irfft(signal, extent, axis)
        return real.unsqueeze(-1).to(x.dtype)
    if inverse:
        found = torch.fft.ifft(signal, length, axis)
    elif onesided and not signal.is_complex():
        found = torch.fft.rfft(signal, length, axis)
    else:
        found = torch.fft.fft(signal, length, axis)
        if onesided:
            found = found.narrow(axis, 0, found.shape[axis] // 2 + 1)
    return torch.view_as_real(found.resolve_conj()).to(x.dtype)


def _length(dft_length: Tensor | None) -> int | None:
    return int(dft_length.flatten()[0]) if dft_length is not None else None


def _dft_17(
    x: Tensor, dft_length: Tensor | None = None, *, axis: int = 1, inverse: int = 0, onesided: int = 0
) -> Tensor:
    """Discrete Fourier transform along one axis, as attribute, up to opset 19."""
    return _transformed(x, _length(dft_length), axis, inverse, onesided)


operator("DFT", 17, window=whole, adjoint=linear(_dft_17))(_dft_17)


def _dft(
    x: Tensor, dft_length: Tensor | None = None, axis: Tensor | None = None, *, inverse: int = 0, onesided: int = 0
) -> Tensor:
    """Discrete Fourier transform along one axis: (..., 1 or 2) -> (..., 2), real and imaginary part."""
    along = int(axis.flatten()[0]) if axis is not None else -2
    return _transformed(x, _length(dft_length), along, inverse, onesided)


operator("DFT", 20, window=whole, adjoint=linear(_dft))(_dft)


def _stft(
    x: Tensor,
    frame_step: Tensor,
    window: Tensor | None = None,
    frame_length: Tensor | None = None,
    *,
    onesided: int = 1,
) -> Tensor:
    """Short-time Fourier transform: (N, L, 1 or 2), or (N, L) of a real signal -> (N, frames, bins, 2)."""
    if frame_length is not None:
        length = int(frame_length.flatten()[0])
    elif window is not None:
        length = window.shape[0]
    else:
        length = x.shape[1]
    # ONNX Runtime takes a real signal without the axis of its parts as well, and torch exports it so.
    x = x.unsqueeze(-1) if x.ndim == 2 else x
    frames = x.unfold(1, length, int(frame_step.flatten()[0])).transpose(2, 3)
    if window is not None:
        frames = frames * window.reshape(-1, 1)
    return _transformed(frames, None, 2, 0, onesided)


operator("STFT", 17, window=whole, adjoint=linear(_stft))(_stft)


def _cosines(size: Tensor, periodic: int, kind: int, *weights: float) -> Tensor:
    """A sum of cosines over one period."""
    count = int(size.flatten()[0])
    at = torch.arange(count, dtype=torch.float64) * (2 * math.pi / (count if periodic else max(count - 1, 1)))
    return torch.stack([w * torch.cos(at * i) for i, w in enumerate(weights)]).sum(0).to(torch_type(kind))


@operator("HannWindow", 17, window=whole)
def hann_window(size: Tensor, *, output_datatype: int = 1, periodic: int = 1) -> Tensor:
    """A raised cosine."""
    return _cosines(size, periodic, output_datatype, 0.5, -0.5)


@operator("HammingWindow", 17, window=whole)
def hamming_window(size: Tensor, *, output_datatype: int = 1, periodic: int = 1) -> Tensor:
    """A cosine on a pedestal."""
    return _cosines(size, periodic, output_datatype, 25 / 46, -21 / 46)


@operator("BlackmanWindow", 17, window=whole)
def blackman_window(size: Tensor, *, output_datatype: int = 1, periodic: int = 1) -> Tensor:
    """A sum of two cosines."""
    return _cosines(size, periodic, output_datatype, 0.42, -0.5, 0.08)


@operator("MelWeightMatrix", 17, window=whole)
def mel_weight_matrix(
    num_mel_bins: Tensor,
    dft_length: Tensor,
    sample_rate: Tensor,
    lower_edge_hertz: Tensor,
    upper_edge_hertz: Tensor,
    *,
    output_datatype: int = 1,
) -> Tensor:
    """Triangular filters, equally far apart on the mel scale: (bins of the transform, mel bins)."""
    mels, bins = int(num_mel_bins), int(dft_length) // 2 + 1
    low, high = (2595 * math.log10(1 + float(edge) / 700) for edge in (lower_edge_hertz, upper_edge_hertz))
    step = (high - low) / (mels + 2)
    edges = [700 * (10 ** ((low + step * i) / 2595) - 1) for i in range(mels + 2)]
    places = [int((int(dft_length) + 1) * edge // int(sample_rate)) for edge in edges]
    found = torch.zeros(bins, mels)
    for i, (first, centre, last) in enumerate(zip(places, places[1:], places[2:], strict=False)):
        if first == centre:
            found[centre, i] = 1
        else:
            for j in range(first, centre + 1):
                found[j, i] = (j - first) / (centre - first)
        for j in range(centre, last):
            found[j, i] = (last - j) / (last - centre)
    return found.to(torch_type(output_datatype))
