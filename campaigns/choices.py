"""Closed lists of values used by models, forms and the API of this app."""

from django.db.models import TextChoices
from django.utils.translation import gettext_lazy as _


class SubjectKind(TextChoices):
    PRODUCT = "product", _("Product")
    ARTICLE = "article", _("Article")
    CONCEPT = "concept", _("Concept")


class PhotoRole(TextChoices):
    FRONT = "front", _("Front")
    ANGLE = "angle", _("Angle")
    INNER = "inner", _("Inner")
    DETAIL = "detail", _("Detail")
    BACK = "back", _("Back")


class PhotoStatus(TextChoices):
    PENDING = "pending", _("Pending")  # a URL or file name is given, the file is still missing
    READY = "ready", _("Ready")
    REFUSED = "refused", _("Refused")
    REMOVED = "removed", _("Removed")  # by a person; the file stays for planned runs, and the photo can be restored


class CutoutMethod(TextChoices):
    ALPHA = "alpha", _("Alpha")
    PLAIN = "plain", _("Plain")
    SCENE = "scene", _("Scene")  # the background is not plain; a person always has to accept it
    MANUAL = "manual", _("Manual")


class GuideStatus(TextChoices):
    DRAFT = "draft", _("Draft")
    PUBLISHED = "published", _("Published")


class Light(TextChoices):
    """The direction of the light in a brand's images, in the words that engines understand."""

    LEFT = "left", _("Left")
    RIGHT = "right", _("Right")
    TOP = "top", _("Top")
    HARD_LEFT = "hard left", _("Hard Left")
    HARD_RIGHT = "hard right", _("Hard Right")
    HARD_TOP = "hard top", _("Hard Top")


class SeedStrategy(TextChoices):
    FIXED = "fixed", _("Fixed")
    PER_SUBJECT = "per_subject", _("Per Subject")
    RANDOM = "random", _("Random")


class PromptStatus(TextChoices):
    DRAFT = "draft", _("Draft")
    REQUESTED = "requested", _("Requested")  # its designer asked a lead for approval
    APPROVED = "approved", _("Approved")


class ImportStatus(TextChoices):
    WAITING = "waiting", _("Waiting")  # stored, to be read by a worker
    CHECKED = "checked", _("Checked")  # dry run
    APPLIED = "applied", _("Applied")
    REFUSED = "refused", _("Refused")
    UNDONE = "undone", _("Undone")


class SourceKind(TextChoices):
    UPLOAD = "upload", _("Upload")  # people upload its files; it stores the mapping
    URL = "url", _("Url")  # fetched on a schedule
    PUSH = "push", _("Push")  # sent by API


class ImageUse(TextChoices):
    """The purpose of an image in a brief or in the brand guide."""

    LOGO = "logo", _("Logo")
    DO = "do", _("Do")
    DONT = "dont", _("Dont")
    REFERENCE = "reference", _("Reference")


class ImageFormat(TextChoices):
    PNG = "png", _("PNG")
    JPEG = "jpeg", _("JPEG")
    WEBP = "webp", _("WebP")
    AVIF = "avif", _("AVIF")


class LabelCorner(TextChoices):
    """The place of a visible label."""

    BOTTOM_RIGHT = "bottom-right", _("Bottom right")
    BOTTOM_LEFT = "bottom-left", _("Bottom left")
    TOP_RIGHT = "top-right", _("Top right")
    TOP_LEFT = "top-left", _("Top left")
