"""Names of the axes that mean something to planning itself, whatever the engine."""

from typing import Final

#: An axis of this name chooses the reference photo by its role instead of filling a placeholder.
PHOTO_AXIS = "photo"
#: Before its number, one photo and no other: "#12".
PHOTO_MARK = "#"
#: What an axis may set on the spec itself.
SEED_AXIS = "seed"
#: The placeholder that a free prompt fills.
WORDS_AXIS: Final = "words"
