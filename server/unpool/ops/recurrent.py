"""Recurrent layers: RNN, LSTM and GRU, in every direction and layout, step by step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor
from torch.nn import functional

from unpool.ops.base import Outputs, operator, whole

Function: TypeAlias = Callable[[Tensor], Tensor]
States: TypeAlias = tuple[Tensor, ...]
Cell: TypeAlias = Callable[[Tensor, States], States]
"""(input at one step, states before it) -> states behind it; the first of them is the output."""


def _function(name: str, alpha: float | None, beta: float | None) -> Function:
    """An activation by the name that ONNX gives it (RNN-7), with its own defaults."""

    def a(default: float) -> float:
        return default if alpha is None else alpha

    def b(default: float) -> float:
        return default if beta is None else beta

    known: dict[str, Function] = {
        "relu": torch.relu,
        "tanh": torch.tanh,
        "sigmoid": torch.sigmoid,
        "softsign": functional.softsign,
        "softplus": functional.softplus,
        "affine": lambda x: x * a(1.0) + b(0.0),
        "leakyrelu": lambda x: functional.leaky_relu(x, a(0.01)),
        "thresholdedrelu": lambda x: torch.where(x >= a(1.0), x, torch.zeros_like(x)),
        "scaledtanh": lambda x: torch.tanh(x * b(1.0)) * a(1.0),
        "hardsigmoid": lambda x: (x * a(0.2) + b(0.5)).clamp(0, 1),
        "elu": lambda x: functional.elu(x, a(1.0)),
    }
    if name.lower() not in known:
        raise NotImplementedError(f"activation '{name}' is not known here")
    return known[name.lower()]


_WITH_ALPHA = {"affine", "leakyrelu", "thresholdedrelu", "scaledtanh", "hardsigmoid", "elu"}
_WITH_BETA = {"affine", "scaledtanh", "hardsigmoid"}


def _functions(names: Sequence[str], alphas: Sequence[float], betas: Sequence[float]) -> list[Function]:
    """The activations; alphas and betas are listed for those that take any."""
    found = []
    rest_a, rest_b = list(alphas), list(betas)
    for name in names:
        alpha = rest_a.pop(0) if name.lower() in _WITH_ALPHA and rest_a else None
        beta = rest_b.pop(0) if name.lower() in _WITH_BETA and rest_b else None
        found.append(_function(name, alpha, beta))
    return found


@dataclass(frozen=True)
class _Layer:
    """What the three operators share.

    Attributes:
        direction: forward, reverse or bidirectional.
        layout: 1 puts the batch first.
        lengths: of every sequence, or ``None`` where all are whole.
    """

    direction: str
    layout: int
    lengths: Tensor | None

    def run(
        self, x: Tensor, states: Sequence[Tensor | None], hidden: int, cells: Sequence[Cell], outputs: int
    ) -> Outputs:
        """Runs every direction; gives all outputs, then the last of every state."""
        x = x.transpose(0, 1) if self.layout else x
        lengths = self.lengths.to(x.device) if self.lengths is not None else None
        all_steps, last = [], []
        for d, cell in enumerate(cells):
            begin = tuple(
                x.new_zeros(x.shape[1], hidden) if s is None else (s[:, d] if self.layout else s[d]) for s in states
            )
            backwards = self.direction == "reverse" or d == 1
            source = _turned(x, lengths) if backwards else x
            steps, final = _steps(source, begin, cell, lengths)
            all_steps.append(_turned(steps, lengths) if backwards else steps)
            last.append(final)
        place = 2 if self.layout else 1
        y = torch.stack([s.transpose(0, 1) for s in all_steps] if self.layout else all_steps, place)
        ends = [torch.stack([f[i] for f in last], 1 if self.layout else 0) for i in range(len(states))]
        return (y, *ends)[:outputs]


def _turned(x: Tensor, lengths: Tensor | None) -> Tensor:
    """(T, N, ...) reversed in time, every sequence within its own length."""
    if lengths is None:
        return x.flip(0)
    time = torch.arange(x.shape[0], device=x.device).unsqueeze(-1)
    places = torch.where(time < lengths, lengths - 1 - time, time)
    return torch.gather(x, 0, places.unsqueeze(-1).expand(x.shape))


def _steps(x: Tensor, states: States, cell: Cell, lengths: Tensor | None) -> tuple[Tensor, States]:
    found = []
    for t in range(x.shape[0]):
        if lengths is None:
            new = cell(x[t], states)
            shown = new[0]
        else:
            runs = (t < lengths).unsqueeze(-1)
            # Where a cell looks at the states of all sequences, ONNX Runtime shows it zeros a step after one's end.
            shows = (t <= lengths).unsqueeze(-1)
            new = cell(x[t], tuple(torch.where(shows, s, torch.zeros_like(s)) for s in states))
            shown = new[0]
            new = tuple(torch.where(runs, n, s) for n, s in zip(new, states, strict=True))
            shown = torch.where(runs, shown, torch.zeros_like(shown))
        states = new
        found.append(shown)
    if not found:
        return x.new_zeros(0, *states[0].shape), states
    return torch.stack(found), states


def _as_it_is(x: Tensor) -> Tensor:
    return x


def _count(direction: str) -> int:
    return 2 if direction == "bidirectional" else 1


def _named(activations: Sequence[str], defaults: Sequence[str], direction: str) -> Sequence[str]:
    return activations or tuple(defaults) * _count(direction)


def _clipped(clip: float) -> Function:
    return (lambda x: x.clamp(-clip, clip)) if clip > 0 else (lambda x: x)


def _halves(b: Tensor | None, d: int, size: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """Biases of the input's and of the state's product."""
    if b is None:
        return like.new_zeros(size), like.new_zeros(size)
    return b[d, :size], b[d, size:]


@operator("RNN", 7, 14, 22, window=whole)
def rnn(
    x: Tensor,
    w: Tensor,
    r: Tensor,
    b: Tensor | None = None,
    sequence_lens: Tensor | None = None,
    initial_h: Tensor | None = None,
    *,
    activation_alpha: tuple[float, ...] = (),
    activation_beta: tuple[float, ...] = (),
    activations: tuple[str, ...] = (),
    clip: float = 0.0,
    direction: str = "forward",
    hidden_size: int = 0,
    layout: int = 0,
    outputs: int = 1,
) -> Outputs:
    """Elman's recurrent layer: x (T, N, I), w (directions, H, I), r (directions, H, H), b (directions, 2 H)."""
    hidden = r.shape[-1]
    functions = _functions(_named(activations, ("Tanh",), direction), activation_alpha, activation_beta)
    bound = _clipped(clip)

    def cell(d: int) -> Cell:
        ahead, back = _halves(b, d, hidden, x)

        def step(x_t: Tensor, states: States) -> States:
            return (functions[d](bound(x_t @ w[d].mT + states[0] @ r[d].mT + ahead + back)),)

        return step

    layer = _Layer(direction, layout, sequence_lens)
    return layer.run(x, [initial_h], hidden, [cell(d) for d in range(_count(direction))], outputs)


@operator("GRU", 7, 14, 22, window=whole)
def gru(
    x: Tensor,
    w: Tensor,
    r: Tensor,
    b: Tensor | None = None,
    sequence_lens: Tensor | None = None,
    initial_h: Tensor | None = None,
    *,
    activation_alpha: tuple[float, ...] = (),
    activation_beta: tuple[float, ...] = (),
    activations: tuple[str, ...] = (),
    clip: float = 0.0,
    direction: str = "forward",
    hidden_size: int = 0,
    layout: int = 0,
    linear_before_reset: int = 0,
    outputs: int = 1,
) -> Outputs:
    """Gated recurrent unit (Cho et al. 2014); gates in the order update, reset, hidden."""
    hidden = r.shape[-1]
    functions = _functions(_named(activations, ("Sigmoid", "Tanh"), direction), activation_alpha, activation_beta)
    bound = _clipped(clip)

    def cell(d: int) -> Cell:
        f, g = functions[2 * d : 2 * d + 2]
        ahead, back = _halves(b, d, 3 * hidden, x)
        gates_r, hidden_r = r[d, : 2 * hidden], r[d, 2 * hidden :]

        def step(x_t: Tensor, states: States) -> States:
            (h,) = states
            from_x = x_t @ w[d].mT + ahead
            both = f(bound(from_x[:, : 2 * hidden] + h @ gates_r.mT + back[: 2 * hidden]))
            update, reset = both[:, :hidden], both[:, hidden:]
            if linear_before_reset:
                recurrent = reset * (h @ hidden_r.mT + back[2 * hidden :])
            else:
                recurrent = (reset * h) @ hidden_r.mT + back[2 * hidden :]
            new = g(bound(from_x[:, 2 * hidden :] + recurrent))
            return ((1 - update) * new + update * h,)

        return step

    layer = _Layer(direction, layout, sequence_lens)
    return layer.run(x, [initial_h], hidden, [cell(d) for d in range(_count(direction))], outputs)


@operator("LSTM", 7, 14, 22, window=whole)
def lstm(
    x: Tensor,
    w: Tensor,
    r: Tensor,
    b: Tensor | None = None,
    sequence_lens: Tensor | None = None,
    initial_h: Tensor | None = None,
    initial_c: Tensor | None = None,
    p: Tensor | None = None,
    read: Function = _as_it_is,
    *,
    activation_alpha: tuple[float, ...] = (),
    activation_beta: tuple[float, ...] = (),
    activations: tuple[str, ...] = (),
    clip: float = 0.0,
    direction: str = "forward",
    hidden_size: int = 0,
    input_forget: int = 0,
    layout: int = 0,
    outputs: int = 1,
) -> Outputs:
    """Long short-term memory (Hochreiter & Schmidhuber 1997); gates in the order input, output, forget, cell.

    ``read`` stands behind the operator's inputs: what the product with ``r`` makes of a state before it counts.
    """
    hidden = r.shape[-1]
    names = _named(activations, ("Sigmoid", "Tanh", "Tanh"), direction)
    functions = _functions(names, activation_alpha, activation_beta)
    bound = _clipped(clip)

    def cell(d: int) -> Cell:
        f, g, h_of = functions[3 * d : 3 * d + 3]
        ahead, back = _halves(b, d, 4 * hidden, x)
        bias = ahead + back
        holes = p[d] if p is not None else x.new_zeros(3 * hidden)
        hole_i, hole_o, hole_f = holes.chunk(3)

        def step(x_t: Tensor, states: States) -> States:
            h, c = states
            i, o, forget, new = (x_t @ w[d].mT + read(h) @ r[d].mT + bias).chunk(4, -1)
            i = f(bound(i + hole_i * c))
            forget = 1 - i if input_forget else f(bound(forget + hole_f * c))
            c = forget * c + i * g(bound(new))
            return f(bound(o + hole_o * c)) * h_of(c), c

        return step

    layer = _Layer(direction, layout, sequence_lens)
    return layer.run(x, [initial_h, initial_c], hidden, [cell(d) for d in range(_count(direction))], outputs)
