"""The first contents of the example's magazine: what Wagtail's migrations would make, people with tokens, pages."""

from __future__ import annotations

from urllib.parse import urlsplit

from django.contrib.auth.models import Group, Permission, User
from wagtail.models import APIToken, Collection, GroupCollectionPermission, GroupPagePermission, Locale, Page, Site

from examples.wagtail_site.models import Article, FrontPage

COLLECTION = "Approved images"
IMAGE_RIGHTS = ("add_image", "change_image", "delete_image", "choose_image")
#: User name: rights on pages, rights on images of the collection.
PEOPLE = {
    "publisher": (("add_page", "change_page", "publish_page"), IMAGE_RIGHTS),
    "contributor": (("add_page", "change_page"), IMAGE_RIGHTS),
    "reader": ((), ()),
}


def create(*, url: str, password: str) -> dict[str, str]:
    """Make pages, a collection and people in empty tables; return the people's tokens by user name."""
    Locale.objects.create(language_code="en")
    tree = Page.add_root(title="Root", slug="root")
    everything = Collection.add_root(name="Root")
    collection = everything.add_child(name=COLLECTION)
    front = tree.add_child(instance=FrontPage(title="The Kilnmoor magazine", slug="home"))
    address = urlsplit(url)
    Site.objects.create(
        hostname=address.hostname, port=address.port or 80, root_page=front, is_default_site=True, site_name=front.title
    )
    article = Article(title="Setting an autumn table", slug="setting-an-autumn-table", body="<p>Plates first.</p>")
    front.add_child(instance=article)
    article.save_revision().publish()
    tokens = {"admin": _token(User.objects.create_superuser("admin", password=password))}
    for name, (page_rights, image_rights) in PEOPLE.items():
        tokens[name] = _token(_create_person(name, password, front, page_rights, collection, image_rights))
    return tokens


def _create_person(
    name: str,
    password: str,
    front: Page,
    page_rights: tuple[str, ...],
    collection: Collection,
    image_rights: tuple[str, ...],
) -> User:
    group = Group.objects.create(name=f"{name}s")
    if page_rights or image_rights:
        group.permissions.add(Permission.objects.get(codename="access_admin"))
    for right in page_rights:
        permission = Permission.objects.get(codename=right, content_type__app_label="wagtailcore")
        GroupPagePermission.objects.create(group=group, page=front, permission=permission)
    for right in image_rights:
        permission = Permission.objects.get(codename=right, content_type__app_label="wagtailimages")
        GroupCollectionPermission.objects.create(group=group, collection=collection, permission=permission)
    person = User.objects.create_user(name, password=password)
    person.groups.add(group)
    return person


def _token(user: User) -> str:
    _row, token = APIToken.create_token(user=user, name="Proofline")
    return str(token)
