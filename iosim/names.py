"""The public names, each where it is at home."""

# A name and its alias (which tells a type checker that it is public) stay together:
# ruff: isort: skip_file
from __future__ import annotations

from . import calls as calls, draw as draw
from .api import measure as measure, simulate as simulate
from .calls import futures as futures
from .costs import Costs as Costs
from .prediction import predict as predict
from .programs import models as models, pools as pools, servers as servers
from .real.features import Unsupported as Unsupported, features as features
from .recorder.record import record as record
from .trace import Timeline as Timeline
from .trace.comparison import compare as compare
from .machine.disturbances import (
    inconclusive as inconclusive,
    interference as interference,
    undisturbed as undisturbed,
)
from .workloads import clients as clients, jobs as jobs, traffic as traffic

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .hunting import Space as Space, claims as claims, hunt as hunt


def __getattr__(name: str) -> object:
    """Those of the hunt, which brings plain code along: not everybody has any."""
    if name not in ("Space", "claims", "hunt"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from . import hunting

    return getattr(hunting, name)
