"""When a byte came, as its sender's sends tell: only where it cannot have been held up."""

from iosim.recorder.sender import Sender


def test_a_byte_came_when_it_was_sent() -> None:
    sender = Sender([(10, 100, 110), (10, 200, 220)], room=50)
    assert sender.took(4, 300) == (100, 105)
    assert sender.took(10, 310) == (200, 210)  # its last byte is of the second send
    assert sender.took(6, 320) == (200, 210)
    assert sender.took(1, 330) is None  # nobody said that it was sent


def test_what_may_not_have_found_room_is_not_known() -> None:
    sender = Sender([(30, 100, 110), (30, 200, 210), (30, 300, 310)], room=50)
    assert sender.took(30, 150) == (100, 105)
    assert sender.took(15, 400) == (200, 205)  # 30 bytes were under way
    assert sender.took(15, 410) == (200, 205)
    assert sender.took(30, 420) is None  # 60 were


def test_a_datagram_is_one_receive() -> None:
    sender = Sender([(10, 100, 110), (20, 200, 210)], room=2, datagrams=True)
    assert sender.took(5, 300) == (100, 105)
    assert sender.took(20, 310) == (200, 205)
