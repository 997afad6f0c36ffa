"""Measure what expensive files do to a running installation: time, memory, and whether it still answers.

    make bench NAME=hostile         prints a table

Starts the web server, the workers and the clock as `make up` does, with a database and files of its own below var/.
Each file of tests/support/hostile_files.py is sent over HTTP: feeds to the API, the file with mistakes is downloaded,
photos go to a product's page, alone, four at once, and in an archive. The sign-in page is requested all the time.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psutil

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
PASSWORD = "benchmark only"  # noqa: S105
AT_ONCE = 4


@dataclass
class InstallationMonitor:
    """Measures a running installation: the memory of its processes with all their children, and its sign-in page."""

    processes: dict[str, psutil.Process]
    address: str
    peaks: dict[str, float] = field(default_factory=dict)
    slowest: float = 0.0
    failures: int = 0
    has_ended: bool = False

    def begin(self) -> None:
        self.peaks, self.slowest = dict.fromkeys(self.processes, 0.0), 0.0

    def measure(self) -> None:
        while not self.has_ended:
            for name, process in self.processes.items():
                self.peaks[name] = max(self.peaks.get(name, 0.0), sum(map(megabytes, _process_tree(process))))
            time.sleep(0.02)

    def sign_in(self) -> None:
        with httpx.Client(timeout=30) as client:
            while not self.has_ended:
                began = time.monotonic()
                try:
                    self.failures += client.get(f"{self.address}/accounts/login/").status_code != 200
                except httpx.HTTPError:
                    self.failures += 1
                self.slowest = max(self.slowest, time.monotonic() - began)
                time.sleep(0.1)


def _process_tree(process: psutil.Process) -> list[psutil.Process]:
    try:
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def megabytes(process: psutil.Process) -> float:
    try:
        return float(process.memory_info().rss) / 2**20
    except psutil.NoSuchProcess:
        return 0.0


def processor_seconds(process: psutil.Process) -> float:
    """Return the processor time of a process and all its children, ended ones included."""
    times = process.cpu_times()
    living = [child.cpu_times() for child in process.children(recursive=True)]
    ended = times.children_user + times.children_system
    return float(times.user + times.system + ended + sum(cpu.user + cpu.system for cpu in living))


@contextmanager
def installation() -> Iterator[tuple[str, InstallationMonitor]]:
    """Start a whole installation in processes of its own; yield its address and the monitor that measures it."""
    from config import embedded, supervisor

    with embedded.services(watch=True):
        import django

        django.setup()
        supervisor.migrate_and_collect_static()
        port = supervisor.find_free_port("127.0.0.1", 18_400)
        programs = [supervisor.web_program(host="127.0.0.1", port=port), *supervisor.worker_programs()]
        with supervisor.run_programs(programs, write=supervisor.to_files(ROOT / "var" / "hostile" / "log")) as line:
            supervisor.wait_until_reachable("127.0.0.1", port, seconds=60)
            time.sleep(10)  # the workers need longer to start
            processes = {program.name: psutil.Process(line.pid(program.name)) for program in programs}
            watch = InstallationMonitor(processes, f"http://127.0.0.1:{port}")
            threads = [threading.Thread(target=work, daemon=True) for work in (watch.measure, watch.sign_in)]
            for thread in threads:
                thread.start()
            yield watch.address, watch
            watch.has_ended = True
            for thread in threads:
                thread.join()
            assert all(process.is_running() for process in processes.values()), "a process has ended"


def create_person() -> tuple[str, int]:
    """Create a brand with a product, and a user who may import. Returns the brand's slug and the product's id."""
    from campaigns.models import Subject
    from core.models import Brand, Membership, User

    user, _ = User.objects.get_or_create(username="hostile")
    user.set_password(PASSWORD)
    user.save()
    brand, _ = Brand.objects.get_or_create(slug="hostile", defaults={"name": "Hostile"})
    for role in ("campaign_manager", "designer"):
        Membership.objects.get_or_create(user=user, brand=brand, role=role)
    subject, _ = Subject.objects.get_or_create(brand=brand, kind="product", key="M-1", defaults={"name": "Mug"})
    return brand.slug, subject.pk


def signed_in(address: str) -> httpx.Client:
    client = httpx.Client(base_url=address, timeout=120, headers={"Referer": address})
    client.get("/accounts/login/")
    token = {"csrfmiddlewaretoken": client.cookies["csrftoken"]}
    answer = client.post("/accounts/login/", data={"login": "hostile", "password": PASSWORD} | token)
    assert answer.status_code == 302, answer.text[:500]
    client.headers["X-CSRFToken"] = client.cookies["csrftoken"]
    return client


def requests(client: httpx.Client, brand: str, subject: int) -> dict[str, Callable[[], list[httpx.Response]]]:
    """Return a function for each case that sends its file, by the case's name."""
    from tests.support import hostile_files

    def feed(data: bytes) -> list[httpx.Response]:
        form = {"brand": brand, "dry_run": "true"}
        return [client.post("/api/v1/imports/", data=form, files={"file": ("feed.csv", data)})]

    def mistakes(cell: str) -> list[httpx.Response]:
        answers = feed(hostile_files.table(cell))
        return [*answers, client.get(f"/brands/{brand}/import/{answers[0].json()['id']}/file/")]

    def photos(data: bytes, times: int = 1) -> list[httpx.Response]:
        def send(_: int) -> httpx.Response:
            return client.post(f"/brands/{brand}/products/{subject}/photo/", files={"file": ("photo.png", data)})

        with ThreadPoolExecutor(times) as pool:
            return list(pool.map(send, range(times)))

    def archive(**photos: bytes) -> list[httpx.Response]:
        data = hostile_files.zipped(**photos)
        return [client.post("/api/v1/photos/", data={"brand": brand}, files={"file": ("photos.zip", data)})]

    cases: dict[str, Callable[[], list[httpx.Response]]] = {}
    for name, data in hostile_files.FEEDS.items():
        cases[f"feed: {name}"] = lambda data=data: feed(data)
    for name, text in hostile_files.TEXTS.items():
        rows = hostile_files.table(*[text.replace('"', "")] * 10)
        cases[f"ten descriptions: {name}"] = lambda rows=rows: feed(rows)
    cases["file with mistakes: + and 131,000 digits"] = lambda: mistakes("+" + "1" * 131_000 + "a")
    cases["file with mistakes: + and 32,000 digits"] = lambda: mistakes("=x\t" + "+" + "1" * 32_000 + "a")
    for name, data in hostile_files.photos().items():
        cases[f"photo: {name}"] = lambda data=data: photos(data)
        cases[f"{AT_ONCE} at once: {name}"] = lambda data=data: photos(data, AT_ONCE)
    strip, good, another = (hostile_files.png(*size) for size in ((4_000_000, 16), (300, 300), (310, 310)))
    cases["archive: a good photo alone, to compare"] = lambda: archive(**{"M-1__png": good})
    cases["archive: a strip of 4,000,000 × 16 beside a good photo"] = lambda: archive(
        **{"M-1__png": strip, "M-1_2__png": another}
    )
    return cases


def main() -> None:
    os.environ["PROOFLINE_VAR"] = str(ROOT / "var" / "hostile")
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    rows: list[dict[str, float]] = []
    with installation() as (address, watch):
        brand, subject = create_person()
        client = signed_in(address)
        print("| what | answer | seconds | of CPU | web MB | workers MB | sign-in s |\n|---|---|---|---|---|---|---|")
        for name, send in requests(client, brand, subject).items():
            watch.begin()
            began, used = time.monotonic(), processor_seconds(watch.processes["web"])
            answers = send()
            seconds, cpu = time.monotonic() - began, processor_seconds(watch.processes["web"]) - used
            time.sleep(0.3)
            workers = max(peak for program, peak in watch.peaks.items() if program != "web")
            codes = ", ".join(sorted({str(answer.status_code) for answer in answers}))
            row = {"seconds": seconds, "cpu_seconds": cpu, "web_mb": watch.peaks["web"], "workers_mb": workers}
            row["sign_in_seconds"] = watch.slowest
            shown = f"{seconds:.2f} | {cpu:.2f} | {row['web_mb']:.0f} | {workers:.0f} | {watch.slowest:.2f}"
            print(f"| {name} | {codes} | {shown} |", flush=True)
            rows.append(row)
    worst = {key: round(max(row[key] for row in rows), 2) for key in rows[0]}
    print(json.dumps({"cases": len(rows), "failed_sign_ins": watch.failures, "load": os.getloadavg()[0], **worst}))


if __name__ == "__main__":
    main()
