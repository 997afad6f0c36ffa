"""Names of axes that planning itself handles, for every engine."""

from typing import Final

#: An axis of this name chooses the reference photo by its role instead of filling a placeholder.
PHOTO_AXIS = "photo"
#: Marks the id of one particular photo: "#12".
PHOTO_MARK = "#"
#: The axis that sets the seed of the spec.
SEED_AXIS = "seed"
#: The placeholder that a free prompt fills.
WORDS_AXIS: Final = "words"
