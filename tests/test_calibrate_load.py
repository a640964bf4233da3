"""The programs of the calibration on a busy machine."""

from iosim import simulate
from iosim.kernels.calibrate import signalled
from iosim.traffic import burst


def test_one_signal_may_stand_for_several_messages() -> None:
    """UNP 25.3: while the process stands in line for a core, SIGIO is pending once at most."""
    run = simulate(signalled, burst(5, after_ms=5, size=64), limit_s=2)
    assert all(fate.received is not None for fate in run.deliveries)
