"""Recurrent layers of com.microsoft whose weights are quantised, and whose input and states are as they come."""

from __future__ import annotations

import torch
from torch import Tensor

from unpool.ops.base import operator, whole
from unpool.ops.microsoft_quantized import DOMAIN, quantised_as_it_comes
from unpool.ops.recurrent import lstm


def _rounded_on_the_way(x: Tensor) -> Tensor:
    """Quantised as it comes, and backward as if nothing had been rounded."""
    return x + (quantised_as_it_comes(x) - x).detach() if x.requires_grad else quantised_as_it_comes(x)


@operator("DynamicQuantizeLSTM", 1, domain=DOMAIN, window=whole)
def dynamic_quantize_lstm(
    x: Tensor,
    w: Tensor,
    r: Tensor,
    b: Tensor | None = None,
    sequence_lens: Tensor | None = None,
    initial_h: Tensor | None = None,
    initial_c: Tensor | None = None,
    p: Tensor | None = None,
    w_scale: Tensor | None = None,
    w_zero_point: Tensor | None = None,
    r_scale: Tensor | None = None,
    r_zero_point: Tensor | None = None,
    *,
    activation_alpha: tuple[float, ...] = (),
    activation_beta: tuple[float, ...] = (),
    activations: tuple[str, ...] = (),
    clip: float = 0.0,
    direction: str = "forward",
    hidden_size: int = 0,
    input_forget: int = 0,
    outputs: int = 1,
) -> Tensor | tuple[Tensor, ...]:
    """An LSTM with quantised weights (directions, inputs, 4 H).

    Its input, and the states before each step, are each quantised as one matrix. (ONNX Runtime parts the states of a
    batch among its threads, and quantises each part by itself; one thread is what is done here.)
    """
    if w_scale is None or r_scale is None:
        raise NotImplementedError("a quantised LSTM without scales is not known here")
    longest = max(1, int(sequence_lens.max())) if sequence_lens is not None else len(x)
    weights = [
        ((m.to(x.device, x.dtype) - _per_direction(z, m, x)) * _per_direction(s, m, x)).mT
        for m, s, z in ((w, w_scale, w_zero_point), (r, r_scale, r_zero_point))
    ]
    return lstm(
        torch.cat([_rounded_on_the_way(x[:longest]), x[longest:]]),
        weights[0],
        weights[1],
        b,
        sequence_lens,
        initial_h,
        initial_c,
        p,
        _rounded_on_the_way,
        activation_alpha=activation_alpha,
        activation_beta=activation_beta,
        activations=activations,
        clip=clip,
        direction=direction,
        hidden_size=hidden_size,
        input_forget=input_forget,
        outputs=outputs,
    )


def _per_direction(value: Tensor | None, weight: Tensor, like: Tensor) -> Tensor:
    """A scale or zero point (directions,) or (directions, 4 H) against weights (directions, inputs, 4 H)."""
    if value is None:
        return like.new_zeros(())
    return value.to(like.device, like.dtype).reshape(weight.shape[0], 1, -1)
