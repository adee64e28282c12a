"""Attention, rotary positions, linear attention, and the causal convolution that goes with it."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from unpool.ops.base import Outputs, operator, whole
from unpool.ops.types import torch_type


def split_heads(x: Tensor, heads: int) -> Tensor:
    """(N, L, heads * D) -> (N, heads, L, D)."""
    n, length, hidden = x.shape
    return x.reshape(n, length, heads, hidden // heads).transpose(1, 2)


def join_heads(x: Tensor) -> Tensor:
    """(N, heads, L, D) -> (N, L, heads * D)."""
    return x.transpose(1, 2).flatten(2)


def lowest_bias(allowed: Tensor, kind: torch.dtype) -> Tensor:
    """0 where attention is allowed, minus infinity elsewhere."""
    zero = torch.zeros((), dtype=kind, device=allowed.device)
    return torch.where(allowed, zero, torch.full_like(zero, -math.inf))


def attend(scores: Tensor, bias: Tensor | None) -> Tensor:
    """Softmax of scores and bias over the keys; a query that may attend nothing gets zeros."""
    if bias is None:
        return torch.softmax(scores, -1)
    nothing = torch.isneginf(bias).all(-1, keepdim=True)
    safe = torch.where(nothing, torch.zeros((), dtype=scores.dtype, device=scores.device), scores + bias)
    return torch.where(nothing, torch.zeros_like(safe), torch.softmax(safe, -1))


def _grown(mask: Tensor, keys: int) -> Tensor:
    """A mask that ends early forbids the rest."""
    missing = keys - mask.shape[-1]
    return (
        functional.pad(mask, (0, missing), value=False if mask.dtype == torch.bool else -math.inf)
        if missing > 0
        else mask
    )


@operator("Attention", 23, 24, 25, window=whole)
def attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    attn_mask: Tensor | None = None,
    past_key: Tensor | None = None,
    past_value: Tensor | None = None,
    nonpad_kv_seqlen: Tensor | None = None,
    *,
    is_causal: int = 0,
    kv_num_heads: int = 0,
    left_window_size: int = -1,
    q_num_heads: int = 0,
    qk_matmul_output_mode: int = 0,
    right_window_size: int = -1,
    scale: float | None = None,
    softcap: float = 0.0,
    softmax_precision: int = 0,
    outputs: int = 1,
) -> Outputs:
    """Scaled dot-product attention (Vaswani et al. 2017), multi-head or grouped-query.

    Query, key and value are (N, heads, L, D), or (N, L, heads * D) with the heads named. Also gives the keys and values
    with what was cached before them, and the scores: plain, with softcap, with bias, or after softmax.
    """
    packed = q.ndim == 3
    if packed:
        q, k, v = split_heads(q, q_num_heads), split_heads(k, kv_num_heads), split_heads(v, kv_num_heads)
    if past_key is not None and past_value is not None:
        k, v = torch.cat([past_key, k], 2), torch.cat([past_value, v], 2)
    present = (k, v)
    queries, keys = q.shape[2], k.shape[2]
    offset = torch.zeros(1, dtype=torch.int64, device=q.device)
    if nonpad_kv_seqlen is not None and past_key is None:
        offset = nonpad_kv_seqlen.to(q.device).flatten() - queries
    elif past_key is not None:
        offset = offset + past_key.shape[2]
    bias: Tensor | None = None
    if attn_mask is not None:
        mask = _grown(attn_mask.to(q.device), keys)
        bias = lowest_bias(mask, q.dtype) if mask.dtype == torch.bool else mask.to(q.dtype)
    # How far behind a query a key lies: (N or 1, 1, queries, keys).
    behind = torch.arange(queries, device=q.device).unsqueeze(-1) - torch.arange(keys, device=q.device)
    behind = behind + offset.reshape(-1, 1, 1, 1)
    allowed: Tensor | None = None
    for applies, inside in (
        (bool(is_causal), behind >= 0),
        (left_window_size >= 0, behind <= left_window_size),
        (right_window_size >= 0, -behind <= right_window_size),
    ):
        if applies:
            allowed = inside if allowed is None else allowed & inside
    if nonpad_kv_seqlen is not None:
        real = torch.arange(keys, device=q.device) < nonpad_kv_seqlen.to(q.device).reshape(-1, 1, 1, 1)
        allowed = real if allowed is None else allowed & real
    if allowed is not None:
        shut = lowest_bias(allowed, q.dtype)
        bias = shut if bias is None else bias + shut
    if q.shape[1] != k.shape[1]:
        k, v = (x.repeat_interleave(q.shape[1] // k.shape[1], 1) for x in (k, v))
    root = math.sqrt(scale if scale is not None else 1 / math.sqrt(q.shape[3]))
    scores = (q * root) @ (k * root).mT
    shown = scores
    if softcap > 0:
        scores = torch.tanh(scores / softcap) * softcap
        shown = scores if qk_matmul_output_mode in (0, 1) else shown
    if qk_matmul_output_mode == 2:
        shown = scores if bias is None else scores + bias
    if softmax_precision and torch_type(softmax_precision).itemsize > scores.element_size():
        scores = scores.to(torch_type(softmax_precision))
    shares = attend(scores, bias.to(scores.dtype) if bias is not None else None).to(q.dtype)
    if qk_matmul_output_mode == 3:
        shown = shares
    y = shares @ v
    return (join_heads(y) if packed else y, *present, shown)[:outputs]


@operator("RotaryEmbedding", 23, window=whole)
def rotary_embedding(
    x: Tensor,
    cos_cache: Tensor,
    sin_cache: Tensor,
    position_ids: Tensor | None = None,
    *,
    interleaved: int = 0,
    num_heads: int = 0,
    rotary_embedding_dim: int = 0,
) -> Tensor:
    """Pairs of features turned by angles that grow with the position (Su et al. 2021): x (N, heads, L, D) or packed."""
    packed = x.ndim == 3
    heads = split_heads(x, num_heads) if packed else x
    if position_ids is not None:
        places = position_ids.to(x.device)
        cos_cache, sin_cache = cos_cache[places], sin_cache[places]
    turned = rotated(heads, cos_cache.unsqueeze(1), sin_cache.unsqueeze(1), bool(interleaved), rotary_embedding_dim)
    return join_heads(turned) if packed else turned


def rotated(x: Tensor, cos: Tensor, sin: Tensor, interleaved: bool, turning: int) -> Tensor:
    """The first ``turning`` features, all where it is 0, turned in pairs; cos and sin are broadcast to (..., half)."""
    turning = turning or x.shape[-1]
    moving, rest = x[..., :turning], x[..., turning:]
    if interleaved:
        a, b = moving[..., 0::2], moving[..., 1::2]
        both = torch.stack((cos * a - sin * b, sin * a + cos * b), -1).flatten(-2)
    else:
        a, b = moving.chunk(2, -1)
        both = torch.cat((cos * a - sin * b, sin * a + cos * b), -1)
    return torch.cat((both, rest), -1)


@operator("LinearAttention", 27, window=whole)
def linear_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    past_state: Tensor | None = None,
    decay: Tensor | None = None,
    beta: Tensor | None = None,
    *,
    chunk_size: int = 64,
    kv_num_heads: int,
    q_num_heads: int,
    scale: float = 0.0,
    update_rule: str = "gated_delta",
) -> tuple[Tensor, Tensor]:
    """Attention as a recurrence over a state of keys by values (Katharopoulos et al. 2020; Yang et al. 2024)."""
    kind = query.dtype
    counted = torch.float64 if kind == torch.float64 else torch.float32
    q = split_heads(query, q_num_heads).to(counted)
    k, v = (split_heads(x, kv_num_heads).to(counted) for x in (key, value))
    n, _, length, width = q.shape
    state = k.new_zeros(n, kv_num_heads, width, v.shape[-1]) if past_state is None else past_state.to(counted)
    gates = split_heads(decay, kv_num_heads).to(counted) if decay is not None else None
    rates = beta.transpose(1, 2).unsqueeze(-1).to(counted) if beta is not None else None
    factor = scale or 1 / math.sqrt(width)
    found = []
    for t in range(length):
        k_t, v_t = k[:, :, t], v[:, :, t]
        if gates is not None and "gated" in update_rule:
            state = state * gates[:, :, t].exp().unsqueeze(-1)
        if rates is not None and "delta" in update_rule:
            v_t = rates[:, :, t] * (v_t - (state * k_t.unsqueeze(-1)).sum(-2))
        state = state + k_t.unsqueeze(-1) * v_t.unsqueeze(-2)
        read = state.repeat_interleave(q_num_heads // kv_num_heads, 1)
        found.append((q[:, :, t].unsqueeze(-1) * read).sum(-2) * factor)
    result = join_heads(torch.stack(found, 2)).to(kind)
    return result, state.to(past_state.dtype if past_state is not None else kind)


@operator("CausalConvWithState", 27, window=whole)
def causal_conv_with_state(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, past_state: Tensor | None = None, *, activation: str = "none"
) -> tuple[Tensor, Tensor]:
    """Depthwise convolution (N, C, L) of what has come so far; also gives the last K - 1 places to go on from."""
    before = weight.shape[-1] - 1
    past = x.new_zeros(*x.shape[:2], before) if past_state is None else past_state
    padded = torch.cat([past, x], -1)
    y = functional.conv1d(padded, weight, bias, groups=x.shape[1])
    if activation in ("silu", "swish"):
        y = functional.silu(y)
    return y, padded[..., padded.shape[-1] - before :]
