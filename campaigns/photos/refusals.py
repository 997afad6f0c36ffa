"""Refusals of files that cannot become reference photos; each message says what to do."""

from __future__ import annotations


class Refused(ValueError):
    """This file cannot become a reference photo; the message says why and what to do."""


class NotAnImage(Refused):
    """The bytes are no picture, or of a kind that is not accepted."""


class Truncated(Refused):
    """The file ends early or is damaged."""


class TooLarge(Refused):
    """More bytes or pixels than are accepted."""


class TooSmall(Refused):
    """So few pixels that nothing can be made of it."""


class Animated(Refused):
    """Several frames; a photo has one."""


class TooCostly(TooLarge):
    """Opening it would take more memory or time than a photo may."""
