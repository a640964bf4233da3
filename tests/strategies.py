"""What the property tests draw from: any costs, stories, models, cores."""

from __future__ import annotations

from hypothesis import strategies as st

from iosim import Costs, models, traffic

_COST = st.integers(0, 5_000_000) | st.integers(0, 3_000)

costs = st.builds(
    Costs,
    syscall=_COST,
    user=_COST,
    network=_COST,
    copy_base=_COST,
    copy_per_byte=st.floats(0, 3_000, allow_nan=False),
    wakeup=_COST,
    context_switch=_COST,
    signal_delivery=_COST,
    select_per_fd=_COST,
    poll_per_fd=_COST,
    epoll_per_ready=_COST,
    timer_slack=_COST,
    time_slice=st.integers(100_000, 5_000_000),
    network_per_byte=st.floats(0, 100, allow_nan=False),
    user_per_byte=st.floats(0, 100, allow_nan=False),
    **dict.fromkeys(
        (
            "eagain",
            "step",
            "segment",
            "start",
            "first_call",
            "cold_call",
            "cold_receive",
            "cold_user",
            "submission",
            "completion",
        ),
        st.just(0) | _COST,
    ),
)


@st.composite
def stories(draw: st.DrawFn, connections: int = 3) -> traffic.Traffic:
    """One to eight messages of any size, at any time within 60 ms, over UDP or TCP."""
    rows = draw(
        st.lists(
            st.tuples(
                st.integers(0, 60_000_000) | st.integers(0, 3).map(lambda n: n * 10_000_000),
                st.integers(1, 65_507) | st.integers(1, 100),
                st.integers(0, connections - 1),
            ),
            min_size=1,
            max_size=8,
        )
    )
    used = sorted({row[2] for row in rows})
    rows = [(at, size, used.index(connection)) for at, size, connection in rows]
    return traffic.replay(rows, draw(st.sampled_from(["udp", "tcp"])))


programs = st.sampled_from([getattr(models, name) for name in models.MODEL_OF])
cores = st.integers(1, 3)
