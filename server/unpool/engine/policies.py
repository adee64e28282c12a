"""A policy is a dictionary from operator type to a backward rule; everything else is the adjoint."""

from __future__ import annotations

import enum


class Policy(enum.Enum):
    """Which signal is carried down (Zeiler & Fergus 2013; Springenberg et al. 2014)."""

    DECONVNET = "deconvnet"
    GUIDED = "guided"
    GRADIENT = "gradient"
