"""All addresses of the site: the pages, and the API below /api/v1/."""

from django.contrib import admin
from django.contrib.auth.decorators import login_required
from django.http import Http404
from django.urls import include, path, re_path
from rest_framework.routers import SimpleRouter

from campaigns.api import feeds
from campaigns.api import views as campaigns
from config.errors import page_not_found
from core.accounts import VerifiedEmailView
from core.api import views as core
from generation.api import views as generation
from review.api import deliveries, image_feeds, pull, verify, webhooks
from review.api import views as review

handler400 = "config.errors.bad_request"
handler403 = "config.errors.permission_denied"
handler404 = "config.errors.page_not_found"
handler500 = "config.errors.server_error"

router = SimpleRouter()
router.register("brands", core.BrandViewSet, "brand")
router.register("subjects", campaigns.SubjectViewSet, "subject")
router.register("imports", feeds.ImportViewSet, "import")
router.register("sources", feeds.FeedSourceViewSet, "source")
router.register("campaigns", campaigns.CampaignViewSet, "campaign")
router.register("styles", campaigns.StyleViewSet, "style")
router.register("prompt-templates", campaigns.PromptTemplateViewSet, "prompt-template")
router.register("prompt-versions", campaigns.PromptVersionViewSet, "prompt-version")
router.register("endpoints", generation.EndpointViewSet, "endpoint")
router.register("runs", generation.RunViewSet, "run")
router.register("jobs", generation.JobViewSet, "job")
router.register("assets", generation.AssetViewSet, "asset")
router.register("tasks", review.TaskViewSet, "task")
router.register("checklists", review.ChecklistViewSet, "checklist")
router.register("decisions", review.DecisionViewSet, "decision")
router.register("approved-assets", pull.ApprovedAssetViewSet, "approved-asset")
router.register("destinations", deliveries.DestinationViewSet, "destination")
router.register("deliveries", deliveries.DeliveryViewSet, "delivery")
router.register("image-feeds", image_feeds.ImageFeedViewSet, "image-feed")
router.register("webhooks", webhooks.WebhookViewSet, "webhook")
router.register("webhook-messages", webhooks.WebhookMessageViewSet, "webhook-message")

api_patterns = [
    path("tokens/", core.TokenView.as_view(), name="token"),
    path("photos/", campaigns.PhotosView.as_view(), name="photos"),
    path("brands/<slug:brand>/sources/<slug:source>/rows/", feeds.SourceRowsView.as_view(), name="source-rows"),
    path("brands/<slug:slug>/guide/", campaigns.GuideView.as_view(), name="guide"),
    path("brands/<slug:slug>/guide/publish/", campaigns.PublishGuideView.as_view(), name="guide-publish"),
    path("campaigns/<int:pk>/approved/", pull.ApprovedView.as_view(), name="approved"),
    path("campaigns/<int:pk>/approved/sizes/", pull.ApprovedSizesView.as_view(), name="approved-sizes"),
    path("changes/", pull.ChangesView.as_view(), name="changes"),
    path("products/<path:sku>/assets/", pull.ProductAssetsView.as_view(), name="product-assets"),
    path("files/<int:pk>/", pull.FileView.as_view(), name="rendition"),
    path("verify/", verify.VerifyView.as_view(), name="verify"),
    path("audit/", core.AuditView.as_view(), name="audit"),
    path("schema/", core.SchemaView.as_view(), name="schema"),
    path("docs/", core.DocsView.as_view(url_name="api:schema"), name="docs"),
    *router.urls,
]

urlpatterns = [
    # Django's links from the admin to a row's page. No model here has one, and a model without a table would fail.
    re_path(r"^admin/r/", page_not_found, {"exception": Http404()}),
    path("admin/", admin.site.urls),
    path("accounts/email/", login_required(VerifiedEmailView.as_view()), name="account_email"),
    path("accounts/", include("allauth.account.urls")),
    path("api/v1/", include((api_patterns, "api"))),
    path("", include("core.urls")),
    path("", include("campaigns.urls")),
    path("", include("generation.urls")),
    path("", include("review.urls")),
]
