"""Where a derivative is infinite, nothing passes: an answer is finite."""

from __future__ import annotations

import pytest
import torch

from unpool.ops.elementwise import div, log, pow_, reciprocal, sqrt


@pytest.mark.parametrize("function", [sqrt, log, reciprocal])
def test_a_root_a_logarithm_and_a_reciprocal_pass_nothing_at_zero(function) -> None:  # type: ignore[no-untyped-def]
    x = torch.tensor([0.0, 0.25, 4.0], requires_grad=True)
    y = function(x)
    plain = torch.tensor([0.25, 4.0], requires_grad=True)
    expected = function(plain)
    assert torch.equal(y, function(x.detach()))
    (grad,) = torch.autograd.grad(y, x, torch.tensor([3.0, 1.0, 2.0]))
    (wanted,) = torch.autograd.grad(expected, plain, torch.tensor([1.0, 2.0]))
    assert torch.equal(grad, torch.cat([torch.zeros(1), wanted]))


def test_a_quotient_passes_nothing_where_its_divisor_is_zero() -> None:
    a = torch.tensor([[1.0, 0.0, 3.0], [4.0, -5.0, 6.0]], requires_grad=True)
    b = torch.tensor([2.0, 0.0, 4.0], requires_grad=True)
    y = div(a, b)
    assert torch.equal(y.isfinite(), torch.tensor([[True, False, True]] * 2))
    to_a, to_b = torch.autograd.grad(y, (a, b), torch.ones(2, 3))
    assert torch.equal(to_a, torch.tensor([[0.5, 0.0, 0.25]] * 2))
    assert torch.equal(to_b, torch.tensor([-5 / 4, 0.0, -9 / 16]))


@pytest.mark.parametrize(("exponent", "slopes"), [(0.5, (0.0, 0.25)), (-1.0, (0.0, -1 / 16)), (2.0, (0.0, 8.0))])
def test_a_power_passes_nothing_where_its_slope_is_infinite(exponent: float, slopes: tuple[float, float]) -> None:
    x = torch.tensor([0.0, 4.0], requires_grad=True)
    (grad,) = torch.autograd.grad(pow_(x, torch.tensor(exponent)).sum(), x)
    assert torch.allclose(grad, torch.tensor(slopes))


def test_a_power_of_one_keeps_its_slope_at_zero() -> None:
    x = torch.zeros(2, requires_grad=True)
    (grad,) = torch.autograd.grad(pow_(x, torch.tensor(1.0)).sum(), x)
    assert torch.equal(grad, torch.ones(2))


def test_the_norm_of_zero_is_at_its_kink() -> None:
    x = torch.zeros(3, requires_grad=True)
    (grad,) = torch.autograd.grad(sqrt((x * x).sum()), x)
    assert torch.equal(grad, torch.zeros(3))
