"""When a byte came, as its sender's sends tell: only where it cannot have been held up."""

from iosim.recorder.sender import PACKET, Sender

LARGE = 100_000  # bytes


def test_a_byte_came_when_it_was_sent() -> None:
    sender = Sender([(10, 100, 110), (10, 200, 220)], LARGE)
    assert sender.took(4, 300) == (100, 105)
    assert sender.took(10, 310) == (200, 210)  # its last byte is of the second send
    assert sender.took(6, 320) == (200, 210)
    assert sender.took(1, 330) is None  # nobody said that it was sent


def test_what_may_not_have_found_room_is_not_known() -> None:
    """Many small sends take up more than their bytes."""
    sends = [(30, 100 * n, 100 * n + 10) for n in range(1, 5)]
    sender = Sender(sends, 2 * (60 + 2 * PACKET))
    assert sender.took(30, 150) == (100, 105)
    assert sender.took(15, 450) == (200, 205)
    assert sender.took(15, 460) == (200, 205)
    assert sender.took(30, 470) == (300, 305)  # two were there by then
    assert sender.took(30, 480) is None  # three


def test_what_comes_to_an_empty_queue_has_a_fourth_of_it() -> None:
    sender = Sender([(100, 100, 110), (101, 200, 210), (100, 300, 310)], 400)
    assert sender.took(100, 150) == (100, 105)
    assert sender.took(101, 250) is None
    assert sender.took(100, 350) == (300, 305)


def test_a_datagram_is_one_receive() -> None:
    sender = Sender([(10, 100, 110), (20, 200, 210)], LARGE, datagrams=True)
    assert sender.took(5, 300) == (100, 105)
    assert sender.took(20, 310) == (200, 205)
    assert sender.took(20, 320) is None
