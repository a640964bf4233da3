"""What each step costs: the model (`Costs`), and what measures it on this machine."""

from .model import Costs as Costs
