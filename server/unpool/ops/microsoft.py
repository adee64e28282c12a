"""Operators of com.microsoft that ONNX Runtime's optimiser and the exporters put in place of several of ai.onnx."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from unpool.graph.model import Node
from unpool.ops.attention import join_heads, lowest_bias, rotated, split_heads
from unpool.ops.base import AxisWindows, Operand, Outputs, operator, whole
from unpool.ops.broadcasting import elementwise
from unpool.ops.convolution import conv, conv_window
from unpool.ops.linear import gemm
from unpool.ops.normalization import (
    LAYER,
    ROOT_MEAN_SQUARE,
    flattened_axes_window,
    layer_normalization,
    rms_normalization,
)

DOMAIN = "com.microsoft"


def _activated(x: Tensor, name: str, params: Sequence[float]) -> Tensor:
    """An activation that was fused into what comes before it (ONNX Runtime, FusedConv)."""
    if name in ("", "Relu"):
        return torch.relu(x) if name else x
    if name in ("Tanh", "Sigmoid"):
        return torch.tanh(x) if name == "Tanh" else torch.sigmoid(x)
    if name == "LeakyRelu":
        return functional.leaky_relu(x, params[0] if params else 0.01)
    if name == "Clip":
        return x.clamp(params[0], params[1])
    if name == "HardSigmoid":
        return (x * params[0] + params[1]).clamp(0, 1)
    if name == "HardSwish":
        return functional.hardswish(x)
    if name == "Gelu":
        return functional.gelu(x)
    raise NotImplementedError(f"the fused activation '{name}' is not known here")


def _fused_conv_window(
    node: Node, inputs: Sequence[Operand | None], outputs: Sequence[Operand | None]
) -> Sequence[AxisWindows]:
    """That of the convolution; with something added to its result, the whole plane."""
    return whole(node, inputs, outputs) if len(inputs) > 3 and inputs[3] else conv_window(node, inputs, outputs)


@operator("FusedConv", 1, domain=DOMAIN, window=_fused_conv_window)
def fused_conv(
    x: Tensor,
    w: Tensor,
    b: Tensor | None = None,
    z: Tensor | None = None,
    *,
    activation: str = "",
    activation_params: tuple[float, ...] = (),
    auto_pad: str = "NOTSET",
    dilations: tuple[int, ...] = (),
    group: int = 1,
    kernel_shape: tuple[int, ...] = (),
    pads: tuple[int, ...] = (),
    strides: tuple[int, ...] = (),
) -> Tensor:
    """Convolution, z added, then an activation."""
    y = conv(x, w, b, auto_pad=auto_pad, dilations=dilations, group=group, pads=pads, strides=strides)
    return _activated(y if z is None else y + z, activation, activation_params)


@operator("FusedMatMul", 1, domain=DOMAIN, window=whole)
def fused_matmul(
    a: Tensor,
    b: Tensor,
    *,
    alpha: float = 1.0,
    transA: int = 0,
    transB: int = 0,
    transBatchA: int = 0,
    transBatchB: int = 0,
) -> Tensor:
    """Alpha * A' B', transposed where asked for.

    ``transBatch`` says that the first axis stands before the last one.
    """
    a, b = (x.movedim(0, -2) if moved and x.ndim > 2 else x for x, moved in ((a, transBatchA), (b, transBatchB)))
    left = a.mT if transA and a.ndim > 1 else a
    right = b.mT if transB and b.ndim > 1 else b
    return torch.matmul(left, right) * alpha


@operator("FusedGemm", 1, domain=DOMAIN, window=whole)
def fused_gemm(
    a: Tensor,
    b: Tensor,
    c: Tensor | None = None,
    *,
    activation: str = "",
    activation_alpha: float = 0.0,
    activation_beta: float = 0.0,
    activation_gamma: float = 0.0,
    alpha: float = 1.0,
    beta: float = 1.0,
    transA: int = 0,
    transB: int = 0,
) -> Tensor:
    """Gemm, then an activation."""
    y = gemm(a, b, c, alpha=alpha, beta=beta, transA=transA, transB=transB)
    return _activated(y, activation, (activation_alpha, activation_beta))


@operator("Gelu", 1, domain=DOMAIN)
def gelu(x: Tensor) -> Tensor:
    """X times the normal distribution's probability below x (Hendrycks & Gimpel 2016)."""
    return functional.gelu(x)


@operator("BiasGelu", 1, domain=DOMAIN, window=elementwise)
def bias_gelu(x: Tensor, bias: Tensor) -> Tensor:
    """Gelu of x + bias."""
    return functional.gelu(x + bias)


@operator("FastGelu", 1, domain=DOMAIN, window=elementwise)
def fast_gelu(x: Tensor, bias: Tensor | None = None) -> Tensor:
    """Gelu by tanh, of x + bias."""
    return functional.gelu(x if bias is None else x + bias, approximate="tanh")


@operator("QuickGelu", 1, domain=DOMAIN)
def quick_gelu(x: Tensor, *, alpha: float = 1.702) -> Tensor:
    """X * Sigmoid(alpha * x)."""
    return x * torch.sigmoid(x * alpha)


@operator("Trilu", 1, domain=DOMAIN, window=whole)
def trilu(x: Tensor, k: Tensor | None = None, *, upper: int = 1) -> Tensor:
    """The upper, or lower, triangle of every matrix."""
    diagonal = int(k.flatten()[0]) if k is not None else 0
    return x.triu(diagonal) if upper else x.tril(diagonal)


_LAST = flattened_axes_window(-1)


# ONNX Runtime has these two in the ai.onnx domain, from before the standard had them.
@operator("LayerNormalization", 1, window=_LAST, adjoint=LAYER)
def layer_normalization_1(
    x: Tensor,
    scale: Tensor,
    b: Tensor | None = None,
    *,
    axis: int = -1,
    epsilon: float = 1e-5,
    stash_type: int = 1,
    outputs: int = 1,
) -> Outputs:
    """The axes from ``axis`` on to mean 0 and variance 1, scaled and shifted."""
    return layer_normalization(x, scale, b, axis=axis, epsilon=epsilon, outputs=outputs)


@operator("SimplifiedLayerNormalization", 1, window=_LAST, adjoint=ROOT_MEAN_SQUARE)
@operator("SimplifiedLayerNormalization", 1, domain=DOMAIN, window=_LAST, adjoint=ROOT_MEAN_SQUARE)
def simplified_layer_normalization(
    x: Tensor, scale: Tensor, *, axis: int = -1, epsilon: float = 1e-5, stash_type: int = 1, outputs: int = 1
) -> Outputs:
    """The axes from ``axis`` on to root mean square 1, then scaled."""
    y = rms_normalization(x, scale, axis=axis, epsilon=epsilon)
    if outputs == 1:
        return y
    axes = tuple(range(axis % x.ndim, x.ndim))
    return y, torch.rsqrt(x.square().mean(axes, keepdim=True) + epsilon)


def _skipped(x: Tensor, skip: Tensor, bias: Tensor | None) -> Tensor:
    total = x + skip
    return total if bias is None else total + bias


def _with_sum(normalised: Tensor, total: Tensor, outputs: int) -> Outputs:
    """The outputs between, mean and deviation, are of training."""
    empty = total.new_zeros(0)
    return (normalised, empty, empty, total)[:outputs]


@operator("SkipLayerNormalization", 1, domain=DOMAIN, window=whole)
def skip_layer_normalization(
    x: Tensor,
    skip: Tensor,
    gamma: Tensor,
    beta: Tensor | None = None,
    bias: Tensor | None = None,
    *,
    epsilon: float = 1e-12,
    outputs: int = 1,
) -> Outputs:
    """Layer normalisation of a residual sum, over the last axis."""
    total = _skipped(x, skip, bias)
    found = functional.layer_norm(total, total.shape[-1:], gamma, beta, epsilon)
    return _with_sum(found, total, outputs)


@operator("SkipSimplifiedLayerNormalization", 1, domain=DOMAIN, window=whole)
def skip_simplified_layer_normalization(
    x: Tensor, skip: Tensor, gamma: Tensor, bias: Tensor | None = None, *, epsilon: float = 1e-12, outputs: int = 1
) -> Outputs:
    """A residual sum to root mean square 1 over the last axis, then scaled."""
    total = _skipped(x, skip, bias)
    return _with_sum(rms_normalization(total, gamma, epsilon=epsilon), total, outputs)


@operator("EmbedLayerNormalization", 1, domain=DOMAIN, window=whole)
def embed_layer_normalization(
    input_ids: Tensor,
    segment_ids: Tensor | None,
    word_embedding: Tensor,
    position_embedding: Tensor,
    segment_embedding: Tensor | None = None,
    gamma: Tensor | None = None,
    beta: Tensor | None = None,
    mask: Tensor | None = None,
    position_ids: Tensor | None = None,
    *,
    epsilon: float = 1e-12,
    mask_index_type: int = 0,
    outputs: int = 1,
) -> Outputs:
    """Embeddings of words, positions and segments, added and normalised: (N, L) -> (N, L, hidden)."""
    device = word_embedding.device
    total = functional.embedding(input_ids.to(device, torch.int64), word_embedding)
    if position_ids is None:
        total = total + position_embedding[: input_ids.shape[1]]
    else:
        total = total + functional.embedding(position_ids.to(device, torch.int64), position_embedding)
    if segment_ids is not None and segment_embedding is not None:
        total = total + functional.embedding(segment_ids.to(device, torch.int64), segment_embedding)
    normalised = functional.layer_norm(total, total.shape[-1:], gamma, beta, epsilon)
    counted = mask.sum(1) if mask is not None else torch.zeros(input_ids.shape[0], dtype=torch.int64)
    return (normalised, counted.to(torch.int32), total)[:outputs]


@operator("RotaryEmbedding", 1, domain=DOMAIN, window=whole)
def rotary_embedding(
    x: Tensor,
    position_ids: Tensor,
    cos_cache: Tensor,
    sin_cache: Tensor,
    *,
    interleaved: int = 0,
    is_packed_batching: int = 0,
    num_heads: int = 0,
    rotary_embedding_dim: int = 0,
    scale: float = 1.0,
) -> Tensor:
    """Pairs of features turned by angles that grow with the position (Su et al. 2021): x (N, L, hidden) or 4 axes."""
    packed = x.ndim == 3
    width = rotary_embedding_dim or 2 * cos_cache.shape[1]
    heads = split_heads(x, num_heads or x.shape[-1] // width) if packed else x
    length = heads.shape[2]
    places = position_ids.to(x.device)
    if places.numel() == 1:
        places = places.reshape(1, 1) + torch.arange(length, device=x.device)
    turned = rotated(heads, cos_cache[places].unsqueeze(1), sin_cache[places].unsqueeze(1), bool(interleaved), width)
    return join_heads(turned) if packed else turned


def _attended(
    q: Tensor, k: Tensor, v: Tensor, allowed: Tensor | None, added: Tensor | None, scale: float, filtered: float
) -> Tensor:
    """Attention of (N, heads, L, D); what is not allowed gets a low score, as the operator's attribute says."""
    scores = q @ k.mT * (scale or 1 / math.sqrt(q.shape[-1]))
    if added is not None:
        scores = scores + added
    if allowed is not None:
        zero = torch.zeros((), dtype=scores.dtype, device=scores.device)
        scores = scores + torch.where(allowed, zero, torch.full_like(zero, filtered))
    return torch.softmax(scores, -1) @ v


def _causal(queries: int, keys: int, like: Tensor) -> Tensor:
    behind = torch.arange(queries, device=like.device).unsqueeze(-1) + keys - queries
    return lowest_bias(torch.arange(keys, device=like.device) <= behind, like.dtype)


def _mask(mask: Tensor | None, n: int, keys: int, like: Tensor) -> Tensor | None:
    """Keys that may be attended: lengths (N,), ends and beginnings (2 N,), or one number for every key."""
    if mask is None:
        return None
    given = mask.to(like.device)
    along = torch.arange(keys, device=like.device)
    if given.ndim == 1 and given.shape[0] != n:
        return ((along < given[:n, None]) & (along >= given[n : 2 * n, None])).reshape(n, 1, 1, keys)
    if given.ndim == 1:
        return (along < given.unsqueeze(-1)).reshape(n, 1, 1, keys)
    if given.ndim == 2:
        return (given > 0).reshape(given.shape[0], 1, 1, -1)
    return (given > 0).unsqueeze(1) if given.ndim == 3 else given[..., : like.shape[2], :keys] > 0


@operator("Attention", 1, domain=DOMAIN, window=whole)
def attention(
    x: Tensor,
    weights: Tensor,
    bias: Tensor | None = None,
    mask_index: Tensor | None = None,
    past: Tensor | None = None,
    attention_bias: Tensor | None = None,
    past_sequence_length: Tensor | None = None,
    *,
    do_rotary: int = 0,
    mask_filter_value: float = -10000.0,
    num_heads: int,
    past_present_share_buffer: int = 0,
    qkv_hidden_sizes: tuple[int, ...] = (),
    rotary_embedding_dim: int = 0,
    scale: float = 0.0,
    unidirectional: int = 0,
    outputs: int = 1,
) -> Outputs:
    """Self-attention with its projections: x (N, L, hidden), weights (hidden, q + k + v)."""
    if do_rotary or past_present_share_buffer:
        raise NotImplementedError("attention with rotary positions or shared buffers is not known here")
    projected = x @ weights
    if bias is not None:
        projected = projected + bias
    sizes = list(qkv_hidden_sizes) or [projected.shape[-1] // 3] * 3
    q, k, v = (split_heads(part, num_heads) for part in torch.split(projected, sizes, -1))
    if past is not None:
        k, v = torch.cat([past[0], k], 2), torch.cat([past[1], v], 2)
    added = attention_bias
    if unidirectional:
        causal = _causal(q.shape[2], k.shape[2], q)
        added = causal if added is None else added + causal
    allowed = _mask(mask_index, x.shape[0], k.shape[2], q)
    y = join_heads(_attended(q, k, v, allowed, added, scale, mask_filter_value))
    return (y, torch.stack((k, v)))[:outputs] if outputs > 1 else y


@operator("MultiHeadAttention", 1, domain=DOMAIN, window=whole)
def multi_head_attention(
    query: Tensor,
    key: Tensor | None = None,
    value: Tensor | None = None,
    bias: Tensor | None = None,
    key_padding_mask: Tensor | None = None,
    attention_bias: Tensor | None = None,
    past_key: Tensor | None = None,
    past_value: Tensor | None = None,
    *,
    mask_filter_value: float = -10000.0,
    num_heads: int,
    scale: float = 0.0,
    unidirectional: int = 0,
    outputs: int = 1,
) -> Outputs:
    """Attention of query, key and value (N, L, hidden), which may come packed in one, or as (N, heads, L, D)."""
    if query.ndim == 5:  # (N, L, heads, 3, D)
        q, k, v = query.permute(3, 0, 2, 1, 4).unbind(0)
    elif key is not None and key.ndim == 5:  # (N, L, heads, 2, D)
        q = split_heads(query, num_heads)
        k, v = key.permute(3, 0, 2, 1, 4).unbind(0)
    else:
        if key is None or value is None:
            raise NotImplementedError("attention without key or value is not known here")
        wide = query.shape[-1]
        biases = (None, None, None) if bias is None else (bias[:wide], bias[wide : 2 * wide], bias[2 * wide :])
        q, k, v = (
            x if x.ndim == 4 else split_heads(x if b is None else x + b, num_heads)
            for x, b in zip((query, key, value), biases, strict=True)
        )
    if past_key is not None and past_value is not None:
        k, v = torch.cat([past_key, k], 2), torch.cat([past_value, v], 2)
    added = attention_bias
    if unidirectional:
        causal = _causal(q.shape[2], k.shape[2], q)
        added = causal if added is None else added + causal
    allowed = _mask(key_padding_mask, q.shape[0], k.shape[2], q)
    y = join_heads(_attended(q, k, v, allowed, added, scale, mask_filter_value))
    return (y, k, v)[:outputs] if outputs > 1 else y
