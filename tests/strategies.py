"""What the property tests draw from: any costs, stories, models, cores."""

from __future__ import annotations

from hypothesis import strategies as st

from iosim import Costs, clients, models, traffic

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
            "cold_code",
            "submission",
            "completion",
            "accept",
            "send",
            "clone",
            "user_per_fd",
            "queue_per_fd",
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


@st.composite
def _client(draw: st.DrawFn) -> clients.Client:
    """Sends what it likes, pauses as it likes, and takes all of it back before it leaves."""
    steps: list[clients.Step] = []
    owed = 0
    for _ in range(draw(st.integers(0, 5))):
        size = draw(st.integers(1, 5_000) | st.integers(1, 400_000))
        steps.append((clients.SEND, size))
        owed += size
        if draw(st.booleans()):
            steps.append((clients.WAIT, draw(st.integers(0, 20_000_000))))
        taken = draw(st.integers(0, owed))
        if taken:
            steps.append((clients.RECEIVE, taken))
            owed -= taken
    steps += [(clients.RECEIVE, owed)] if owed else []
    steps += [(clients.SHUTDOWN, 0)] if draw(st.booleans()) else []
    rcvbuf = draw(st.none() | st.integers(1_000, 200_000))
    return clients.Client(draw(st.integers(0, 30_000_000)), tuple(steps), rcvbuf)


crowds = st.lists(_client(), min_size=1, max_size=6).map(lambda many: clients.of(*many))
