"""Pages of the core app: the audit trail and a person's notices."""

from django.urls import path

from core.views import audit, notices

urlpatterns = [
    path("brands/<slug:brand>/audit/", audit.index, name="audit"),
    path("brands/<slug:brand>/audit/verify/", audit.verify, name="audit_verify"),
    path("brands/<slug:brand>/audit/export.jsonl", audit.export, name="audit_export"),
    path("brands/<slug:brand>/notices/", notices.index, name="notices"),
    path("brands/<slug:brand>/notices/unread/", notices.unread, name="notices_unread"),
    path("brands/<slug:brand>/notices/<int:notice_id>/", notices.follow, name="notice"),
    path("brands/<slug:brand>/notices/<slug:verb>/", notices.act, name="notices_act"),
]
