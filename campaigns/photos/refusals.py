"""Refusals of files that cannot become reference photos; each message says what to do."""

from __future__ import annotations


class Refused(ValueError):
    """This file cannot become a reference photo; the message says why and what to do."""


class NotAnImage(Refused):
    """The bytes are not an image, or an image of a format that is not accepted."""


class Truncated(Refused):
    """The file ends early or is damaged."""


class TooLarge(Refused):
    """The file has more bytes or pixels than are accepted."""


class TooSmall(Refused):
    """The image has too few pixels to be used."""


class Animated(Refused):
    """The image has several frames; a photo has one."""


class TooCostly(TooLarge):
    """Opening the file would take more memory or time than is allowed."""
