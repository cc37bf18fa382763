"""The one way in which tests wait: for a condition, with a limit."""

import threading
import time


def until(condition, seconds, what):
    """Asks until the condition holds and answers its value; fails after the limit."""
    end = time.monotonic() + seconds
    pause = threading.Event()
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < end, f"after {seconds} s still waiting for {what}"
        pause.wait(0.05)
