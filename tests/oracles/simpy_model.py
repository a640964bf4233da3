"""An independent model of two servers in SimPy: it shares no code with our kernel, only the rules.

Each gives the completion time of every message, in ns, in the order of the story.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import simpy

from iosim import Costs, traffic

Steps = Generator[Any, Any, None]


class Oracle:
    """What both servers share: the network, the cores, and the list of completions."""

    def __init__(self, story: traffic.Traffic, costs: Costs, cores: int) -> None:
        self.env = simpy.Environment()
        self.story, self.costs = story, costs
        self.core = simpy.Resource(self.env, cores)
        self.stores = [simpy.Store(self.env) for _ in range(story.connections)]
        self.any = self.env.event()
        self.done: list[float] = [0] * len(story.messages)

    def network(self) -> Steps:
        for number, message in enumerate(self.story.messages):
            yield self.env.timeout(message.at_ns + self.costs.network - self.env.now)
            yield self.stores[message.connection].put((number, message.size))
            self.any.succeed()
            self.any = self.env.event()

    def start(self) -> simpy.Environment:
        self.env.process(self.network())
        return self.env

    def run(self) -> list[float]:
        self.start().run()
        return self.done

    def receive(self, number: int, size: int) -> Steps:
        yield self.env.timeout(round(self.costs.copy_base + self.costs.copy_per_byte * size))
        self.done[number] = self.env.now

    def trap(self) -> Steps:
        yield self.env.timeout(self.costs.user)
        yield self.env.timeout(self.costs.syscall)


def blocking(story: traffic.Traffic, costs: Costs, cores: int = 1) -> Oracle:
    """A process for each connection, all on `cores` cores, none ever preempted."""
    oracle = Oracle(story, costs, cores)

    def server(connection: int, count: int) -> Steps:
        store, running = oracle.stores[connection], oracle.core.request()
        yield running
        if connection >= cores:
            yield oracle.env.timeout(costs.context_switch)
        for _ in range(count):
            yield from oracle.trap()
            if not store.items:
                oracle.core.release(running)
                number, size = yield store.get()
                yield oracle.env.timeout(costs.wakeup)
                running = oracle.core.request()
                yield running
                yield oracle.env.timeout(costs.context_switch)
            else:
                number, size = yield store.get()
            yield from oracle.receive(number, size)
        oracle.core.release(running)

    for connection in range(story.connections):
        count = sum(message.connection == connection for message in story.messages)
        oracle.env.process(server(connection, count))
    return oracle


def select(story: traffic.Traffic, costs: Costs) -> Oracle:
    """One process that selects over all connections, then receives from each ready one."""
    oracle = Oracle(story, costs, 1)

    def server() -> Steps:
        look = round(costs.select_per_fd * story.connections)
        left = len(story.messages)
        while left:
            yield from oracle.trap()
            yield oracle.env.timeout(look)
            while not (ready := [store for store in oracle.stores if store.items]):
                yield oracle.any
                yield oracle.env.timeout(costs.wakeup)
                yield oracle.env.timeout(costs.context_switch)
                yield oracle.env.timeout(look)
            for store in ready:
                yield from oracle.trap()
                number, size = yield store.get()
                yield from oracle.receive(number, size)
                left -= 1

    oracle.env.process(server())
    return oracle
