"""Closed lists of values used by models, forms and the API of this app."""

from django.db.models import TextChoices


class SubjectKind(TextChoices):
    PRODUCT = "product"
    ARTICLE = "article"
    CONCEPT = "concept"


class PhotoRole(TextChoices):
    FRONT = "front"
    ANGLE = "angle"
    INNER = "inner"
    DETAIL = "detail"
    BACK = "back"


class PhotoStatus(TextChoices):
    PENDING = "pending"  # a URL or file name is given, the file is still missing
    READY = "ready"
    REFUSED = "refused"
    REMOVED = "removed"  # by a person; the file stays for planned runs, and the photo can be restored


class CutoutMethod(TextChoices):
    ALPHA = "alpha"
    PLAIN = "plain"
    SCENE = "scene"  # the background is not plain; a person always has to accept it
    MANUAL = "manual"


class GuideStatus(TextChoices):
    DRAFT = "draft"
    PUBLISHED = "published"


class Light(TextChoices):
    """The direction of the light in a brand's images, in the words that engines understand."""

    LEFT = "left"
    RIGHT = "right"
    TOP = "top"
    HARD_LEFT = "hard left"
    HARD_RIGHT = "hard right"
    HARD_TOP = "hard top"


class SeedStrategy(TextChoices):
    FIXED = "fixed"
    PER_SUBJECT = "per_subject"
    RANDOM = "random"


class PromptStatus(TextChoices):
    DRAFT = "draft"
    REQUESTED = "requested"  # its designer asked a lead for approval
    APPROVED = "approved"


class ImportStatus(TextChoices):
    WAITING = "waiting"  # stored, to be read by a worker
    CHECKED = "checked"  # dry run
    APPLIED = "applied"
    REFUSED = "refused"
    UNDONE = "undone"


class SourceKind(TextChoices):
    UPLOAD = "upload"  # people upload its files; it stores the mapping
    URL = "url"  # fetched on a schedule
    PUSH = "push"  # sent by API


class ImageUse(TextChoices):
    """The purpose of an image in a brief or in the brand guide."""

    LOGO = "logo"
    DO = "do"
    DONT = "dont"
    REFERENCE = "reference"


class ImageFormat(TextChoices):
    PNG = "png"
    JPEG = "jpeg"
    WEBP = "webp"
