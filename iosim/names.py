"""The public names, each where it is at home."""

# A name and its alias (which tells a type checker that it is public) stay together:
# ruff: isort: skip_file
from __future__ import annotations

from . import (
    clients as clients,
    draw as draw,
    futures as futures,
    jobs as jobs,
    pipes as pipes,
    sockets as sockets,
    syscalls as syscalls,
    traffic as traffic,
)
from .api import measure as measure, simulate as simulate
from .comparison import compare as compare
from .costs import Costs as Costs
from .disturbances import (
    inconclusive as inconclusive,
    interference as interference,
    undisturbed as undisturbed,
)
from .kernels.recorder.record import record as record
from .prediction import predict as predict
from .programs import calls as calls, models as models, servers as servers
from .real.features import Unsupported as Unsupported, features as features
from .timeline import Timeline as Timeline
