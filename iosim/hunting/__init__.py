"""The search for a story and a schedule under which a program fails.

    hunt(program, claims.everybody_is_served(within_ms=50), within=clients.several(3, ...))

A case is a row of choices: where the story and the kernel are free, `choices` says which way they
go; 0 is the ordinary one.  `search` tries rows with one choice that is not, then with two, then at
random, and makes the row that breaks the claim as short as it can.
"""

from . import claims as claims
from .claims import Claim as Claim
from .search import Broken as Broken
from .search import Held as Held
from .search import hunt as hunt
from .space import Space as Space

__all__ = ["Broken", "Claim", "Held", "Space", "claims", "hunt"]
