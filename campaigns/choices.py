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
    PENDING = "pending"  # a URL or file name is known, the bytes are not here yet
    READY = "ready"
    REFUSED = "refused"
    REMOVED = "removed"  # by a person; the file stays for runs that were planned with it, and can come back


class CutoutMethod(TextChoices):
    ALPHA = "alpha"
    PLAIN = "plain"
    SCENE = "scene"  # before a background that is not plain; a person is always asked
    MANUAL = "manual"


class GuideStatus(TextChoices):
    DRAFT = "draft"
    PUBLISHED = "published"


class Light(TextChoices):
    """The direction of the light in a brand's images, in the words that engines obey."""

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
    WAITING = "waiting"  # kept, to be read by a worker
    CHECKED = "checked"  # dry run
    APPLIED = "applied"
    REFUSED = "refused"
    UNDONE = "undone"


class SourceKind(TextChoices):
    UPLOAD = "upload"  # people drop its files; it remembers the mapping
    URL = "url"  # fetched on a schedule
    PUSH = "push"  # sent by API


class PictureUse(TextChoices):
    """The purpose of an image beside the brief or in the brand guide."""

    LOGO = "logo"
    DO = "do"
    DONT = "dont"
    REFERENCE = "reference"


class ImageFormat(TextChoices):
    PNG = "png"
    JPEG = "jpeg"
    WEBP = "webp"
