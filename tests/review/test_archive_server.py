"""Tests of archives through the real web server: a closed connection, a slow client, a file that was changed."""

from __future__ import annotations

import http.client
import io
import os
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.conf import settings
from django.test import Client

from core.models import Brand, Notice, User
from generation.models import Rendition
from tests.support import factories
from tests.support.archives import create_approved, stored_path
from tests.support.processes import wait_until
from tests.support.web_server import WebServer, serving

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]

IMAGES, IMAGE_BYTES = 16, 15_000_000


@pytest.fixture
def temporary(tmp_path: Path) -> Path:
    folder = tmp_path / "temporary"
    folder.mkdir()
    return folder


@pytest.fixture
def server(brand: Brand, reviewer: User, temporary: Path) -> Iterator[WebServer]:
    """Serve with one thread, so that an archive nobody reads would block everything, and 240 MB of approved images."""
    content, campaign = os.urandom(IMAGE_BYTES), factories.CampaignFactory(brand=brand)
    run, specs = factories.RunFactory(campaign=campaign), [factories.OutputSpecFactory(campaign=campaign)]
    for _ in range(IMAGES):
        create_approved(brand, reviewer, content=content, run=run, specs=specs)
    with serving(threads=1, TMPDIR=str(temporary)) as web_server:
        yield web_server


def begin(server: WebServer, user: User, brand: Brand) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
    """Request the archive, and return the connection and the answer after its first megabyte."""
    client = Client()
    client.force_login(user)
    session = client.cookies[settings.SESSION_COOKIE_NAME].value
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    cookie = {"Cookie": f"{settings.SESSION_COOKIE_NAME}={session}"}
    connection.request("GET", f"/brands/{brand.slug}/library/approved.zip", headers=cookie)
    answer = connection.getresponse()
    assert answer.status == 200
    assert answer.read(1_000_000)[:2] == b"PK"
    return connection, answer


def archives_in(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.name.startswith("proofline-archive-")]


def test_closing_the_connection_frees_the_thread_and_its_files(
    server: WebServer, brand: Brand, manager: User, temporary: Path
) -> None:
    connection, answer = begin(server, manager, brand)
    assert len(archives_in(temporary)) == 1
    answer.close()
    connection.close()
    wait_until(lambda: not archives_in(temporary), seconds=10, what="the temporary files to be removed")
    other = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    other.request("GET", "/accounts/login/")
    assert other.getresponse().status == 200


def test_a_client_that_reads_slowly_costs_no_memory(server: WebServer, brand: Brand, manager: User) -> None:
    connection, answer = begin(server, manager, brand)
    before = server.memory_mb()
    time.sleep(3)  # time enough to make the whole archive
    assert server.memory_mb() - before < 60
    total = 1_000_000
    while piece := answer.read(1 << 20):
        total += len(piece)
    assert total > IMAGES * IMAGE_BYTES
    assert server.memory_mb() - before < 60
    connection.close()


def test_a_file_that_was_changed_leaves_a_zip_that_no_program_opens(
    server: WebServer, brand: Brand, manager: User, temporary: Path
) -> None:
    path = stored_path(Rendition.objects.filter(version__asset__brand=brand)[0])
    connection, answer = begin(server, manager, brand)
    path.chmod(0o600)
    path.write_bytes(bytes(IMAGE_BYTES))
    content = answer.read()  # Granian ends it as if it were whole
    connection.close()
    assert len(content) < IMAGES * IMAGE_BYTES
    with pytest.raises(zipfile.BadZipFile):
        zipfile.ZipFile(io.BytesIO(content))
    wait_until(lambda: not archives_in(temporary), seconds=10, what="the temporary files to be removed")
    notice = Notice.objects.get(user=manager)
    assert "was stopped and cannot be used. The stored file of " in notice.sentence
