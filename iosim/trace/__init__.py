"""What happened: records, the `Timeline` that is made of them, and what it can be asked."""

# ruff: noqa: F403 (it says what it has to offer)
from .invariants import Broken as Broken
from .records import *
from .timeline import Timeline as Timeline
