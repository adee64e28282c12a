"""How values MOVE: sessions and capture forward, the reverse walk, policies, the torch executor, devices, memory."""

from unpool.engine.boxes import Boxes
from unpool.engine.captures import Capture
from unpool.engine.engine import Engine
from unpool.engine.executor import Executor
from unpool.engine.feeds import Feeds
from unpool.engine.geometry import Field, Geometry
from unpool.engine.occluders import Occluded, Occluders, hidden_axes, painted, repeated
from unpool.engine.patchwise import Occlusion
from unpool.engine.plan import Plan, Route
from unpool.engine.policies import Policy
from unpool.engine.settings import EngineSettings
from unpool.engine.walk import Piece, Signal

__all__ = [
    "Boxes",
    "Capture",
    "Engine",
    "EngineSettings",
    "Executor",
    "Feeds",
    "Field",
    "Geometry",
    "Occluded",
    "Occluders",
    "Occlusion",
    "Piece",
    "Plan",
    "Policy",
    "Route",
    "Signal",
    "hidden_axes",
    "painted",
    "repeated",
]
