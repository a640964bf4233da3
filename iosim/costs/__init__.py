"""What each step costs (`Costs`), and what a question to select, poll or epoll is made of."""

from .model import Costs as Costs
