"""The public names, each where it is at home."""

from __future__ import annotations

from . import (
    clients as clients,
)
from . import (
    draw as draw,
)
from . import (
    futures as futures,
)
from . import (
    jobs as jobs,
)
from . import (
    sockets as sockets,
)
from . import (
    syscalls as syscalls,
)
from . import (
    traffic as traffic,
)
from .api import measure as measure
from .api import simulate as simulate
from .comparison import compare as compare
from .costs import Costs as Costs
from .disturbances import (
    inconclusive as inconclusive,
)
from .disturbances import (
    interference as interference,
)
from .disturbances import (
    undisturbed as undisturbed,
)
from .kernels.recorder.record import record as record
from .prediction import predict as predict
from .programs import calls as calls
from .programs import models as models
from .programs import servers as servers
from .real.features import Unsupported as Unsupported
from .real.features import features as features
from .timeline import Timeline as Timeline
