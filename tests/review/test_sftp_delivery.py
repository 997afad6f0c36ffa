"""Tests of deliveries to an SFTP server: host keys, the sign-in, connections that break, full disks, slow servers."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, rsa

from core import fetching
from review.delivery import base
from review.delivery.base import DeliveryError
from review.delivery.hot_folder import ssh, ssh_keys
from review.delivery.hot_folder.sftp import SftpConfig, split_secret
from tests.support import sftp_server
from tests.support.faulty_proxy import SLOW
from tests.support.hot_folders import NO_SESSION, Place, create_sftp, file, package, path_of
from tests.support.sftp_server import CUT_AFTER, CUT_BEFORE, CUT_MIDDLE, FULL, PASSWORD, USER, SftpServer

MUG = path_of(file())
DELIVERED = sorted([MUG, f"{MUG}.json", "autumn/manifest/1.csv"])
LARGE = file(content=bytes(range(256)) * 1_000)  # eight pieces


@pytest.fixture
def server(tmp_path: Path) -> Iterator[SftpServer]:
    with sftp_server.serving(tmp_path / "served") as running:
        yield running


@pytest.fixture
def place(server: SftpServer) -> Place:
    return create_sftp(server)


def push(place: Place, *files: Any, **rest: Any) -> list[dict[str, str]]:
    return [dict(entry) for entry in place.destination.push(package(*files, **rest), NO_SESSION).files]


def build(server: SftpServer, secret: str = PASSWORD, **config: Any) -> Any:
    return base.build("sftp", server.config(**config), secret)


def try_connection(server: SftpServer, secret: str = PASSWORD, **config: Any) -> str:
    """Return the sentences of the connection test."""
    return " ".join(build(server, secret, **config).test_connection(NO_SESSION))


# -- host keys ---------------------------------------------------------------------------------------------------------


def test_an_unconfirmed_host_key_is_shown_and_no_password_is_sent(server: SftpServer) -> None:
    sentence = try_connection(server, host_keys=[])
    assert f"shows the host key {server.fingerprint} (ssh-ed25519), which nobody has confirmed" in sentence
    assert "enter it in “Host keys”" in sentence
    assert server.sign_ins == [] and server.requests == []
    assert try_connection(server, host_keys=[server.fingerprint]) == ""


def test_another_host_key_is_refused_before_the_password_is_sent(server: SftpServer, place: Place) -> None:
    push(place, file())
    server.sign_ins.clear()
    server.change_host_key("another")
    with pytest.raises(DeliveryError, match="which is none of those in “Host keys”; nothing was sent") as refused:
        push(place, file())
    assert refused.value.is_final and server.fingerprint in refused.value.message
    assert server.sign_ins == []


def test_of_several_host_keys_the_confirmed_one_is_asked_for(server: SftpServer) -> None:
    """A server with keys of several kinds shows the one of the kind that is asked for first."""
    import paramiko

    other = paramiko.RSAKey.generate(2048)
    server.host_keys.append(other)
    assert try_connection(server, host_keys=[f"ssh-rsa {other.get_base64()} root@files"]) == ""
    assert try_connection(server, host_keys=[f"ssh-rsa {other.get_base64()}", server.host_key]) == ""


@pytest.mark.parametrize(
    "form", ["{key}", "files.example.com {key}", "{key} root@files", "256 {print} files (ED25519)"]
)
def test_a_host_key_is_read_in_all_forms_in_which_tools_write_it(server: SftpServer, form: str) -> None:
    line = form.format(key=server.host_key, print=server.fingerprint)
    assert ssh_keys.HostKey.read(line).fingerprint == server.fingerprint


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("16:27:ac:a5:76:28:2d:36:63:1b:56:4d:eb:df:a6:48", "is an MD5 fingerprint, which is not safe"),
        ("ssh-ed25519 AAAAC3Nza", "is not a whole public key"),
        ("ssh-rsa AAAAC3NzaC1lZDI1NTE5AAAAIA==", "is not a whole public key"),
        ("SHA256:short", "is no public key"),
        ("hello", "is no public key"),
    ],
)
def test_a_host_key_that_is_none_is_refused(line: str, words: str) -> None:
    problems = dict(SftpConfig.problems({"host": "files.example.com", "user": "u", "host_keys": [line]}))
    assert words in problems["host_keys"]


def test_the_fingerprint_is_the_one_that_ssh_keygen_shows(server: SftpServer, tmp_path: Path) -> None:
    import shutil
    import subprocess

    if not shutil.which("ssh-keygen"):
        pytest.skip("ssh-keygen is not here")
    (tmp_path / "key.pub").write_text(server.host_key)
    shown = subprocess.run(["ssh-keygen", "-lf", tmp_path / "key.pub"], capture_output=True, text=True, check=True)
    assert ssh_keys.HostKey.read(shown.stdout).fingerprint == server.fingerprint == shown.stdout.split()[1]


# -- the sign-in -------------------------------------------------------------------------------------------------------


def test_a_wrong_password_is_said_once_and_is_final(server: SftpServer) -> None:
    with pytest.raises(DeliveryError, match=f"does not accept the user “{USER}” with this password") as refused:
        push(Place(build(server, "wrong password"), dict), file())
    assert refused.value.is_final and server.sign_ins == [f"password of {USER}"]
    assert "wrong password" not in refused.value.message


def _pem(key: Any, form: str) -> str:
    formats = {"openssh": serialization.PrivateFormat.OpenSSH, "pkcs8": serialization.PrivateFormat.PKCS8}
    plain = (formats[form], serialization.NoEncryption())
    return str(key.private_bytes(serialization.Encoding.PEM, *plain).decode())


def test_a_private_key_signs_in_also_without_its_line_ends(server: SftpServer) -> None:
    key = server.keys[USER] = sftp_server.private_key("of the user")
    assert try_connection(server, key) == ""
    assert try_connection(server, key.replace("\n", "")) == "", "as a browser pastes it into a field of one line"
    assert server.sign_ins == [f"key of {USER}"] * len(server.sign_ins)
    assert "does not accept the user “proofline” with this private key" in try_connection(
        server, sftp_server.private_key("of somebody else")
    )


@pytest.mark.parametrize("form", ["openssh", "pkcs8"])
@pytest.mark.parametrize("kind", ["rsa", "ecdsa"])
def test_private_keys_of_other_kinds_are_read(kind: str, form: str) -> None:
    key: Any = rsa.generate_private_key(65537, 2048) if kind == "rsa" else ec.generate_private_key(ec.SECP256R1())
    assert ssh_keys.read_private_key(_pem(key, form)).get_name().startswith(("ssh-rsa", "ecdsa-sha2"))


def test_a_private_key_that_cannot_be_used_is_refused_in_the_form(server: SftpServer) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    encryption = serialization.BestAvailableEncryption(b"passphrase")
    for form in (serialization.PrivateFormat.OpenSSH, serialization.PrivateFormat.PKCS8):
        [sentence] = build(server, key.private_bytes(serialization.Encoding.PEM, form, encryption).decode()).validate()
        assert "secret: the private key has a passphrase" in sentence
    for secret, words in {
        "": "expected a password or a private key",
        "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA": "is not whole",
        "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----": "cannot be read",
        _pem(dsa.generate_private_key(2048), "pkcs8"): "of a kind that is not used any more",
    }.items():
        [sentence] = build(server, secret).validate()
        assert sentence.startswith("secret: ") and words in sentence


def test_a_server_that_allows_only_keys_says_so(server: SftpServer) -> None:
    server.means = "publickey"
    assert "sign in with a password, only with: publickey" in try_connection(server)


@pytest.mark.parametrize(
    ("secret", "has_purge", "expected"),
    [
        ("pass word", False, ("pass word", "")),
        ("pass word purge", True, ("pass word", "purge")),
        ("password", True, ("password", "")),
        ("-----BEGIN PRIVATE KEY-----\nAA\n-----END PRIVATE KEY-----\n", True, None),
        ("-----BEGIN PRIVATE KEY-----\nAA\n-----END PRIVATE KEY----- purge", True, None),
    ],
)
def test_the_secret_of_the_purge_follows_after_a_space(secret: str, has_purge: bool, expected: Any) -> None:
    key = "-----BEGIN PRIVATE KEY-----\nAA\n-----END PRIVATE KEY-----"
    assert split_secret(secret, has_purge=has_purge) == (expected or (key, secret.removeprefix(key).strip()))


# -- where it connects to ----------------------------------------------------------------------------------------------


def test_a_private_address_needs_the_operators_permission(server: SftpServer) -> None:
    destination = build(server, allow_private=False)
    assert "is not a public address" in destination.validate()[0]
    with pytest.raises(DeliveryError, match="not a public address") as refused:
        push(Place(destination, dict), file())
    assert refused.value.is_final and server.connections == set()


@pytest.mark.parametrize(
    "host", ["user@files.example.com", "files.example.com:22", "files/x", "localhost", "0x7f.1", ""]
)
def test_a_host_that_is_none_is_refused(host: str) -> None:
    config = {"host": host, "user": "u"}
    problems = dict(SftpConfig.problems(config)) or base.build("sftp", config, "password").validate()
    assert "host" in str(problems)


def test_the_address_that_was_checked_is_the_one_that_is_connected_to(
    server: SftpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name that leads elsewhere at its second look-up does not get us there."""
    answers = iter([["127.0.0.1"], ["127.0.0.9"]])
    policy = fetching.Policy(schemes=frozenset({"sftp"}), ports=None, private=fetching.PRIVATE)
    rebound = fetching.Policy(policy.schemes, None, policy.private, resolve=lambda _host, _port: next(answers))
    with fetching.connect(f"sftp://files.example.com:{server.port}", policy=rebound, timeout_seconds=5) as connection:
        assert connection.getpeername() == ("127.0.0.1", server.port)
    assert next(answers) == ["127.0.0.9"], "it was looked up once"
    public = fetching.Policy(policy.schemes, None, resolve=lambda _host, _port: ["93.184.216.34", "10.0.0.1"])
    with pytest.raises(fetching.Refused, match=r"leads to 10\.0\.0\.1"):
        fetching.connect("sftp://files.example.com", policy=public, timeout_seconds=5)


def test_a_port_at_which_nothing_answers_is_said_and_tried_again(server: SftpServer) -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    with pytest.raises(DeliveryError, match="nothing answers at its port") as away:
        push(Place(build(server, port=port), dict), file())
    assert not away.value.is_final


# -- what breaks in the middle -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", [CUT_BEFORE, CUT_AFTER, CUT_MIDDLE])
def test_a_connection_that_is_cut_anywhere_leaves_no_half_file_and_a_retry_finishes(
    server: SftpServer, place: Place, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("review.delivery.hot_folder.places.ARRIVAL_SECONDS", 0.0)
    wanted = path_of(LARGE)
    cuts = 0
    for number in range(60):
        server.fail_next(*[""] * number, fault)
        earlier = [{"name": LARGE.name, "sha256": LARGE.sha256}] if number else []
        if (error := push_and_fail(place, earlier)) is None:
            break
        cuts += 1
        assert not error.is_final and "broke the connection off" in error.message, error.message
        assert place.list_files().get(wanted) in {None, LARGE.read()}
    assert cuts > 5
    server.faults.heal()
    push(place, LARGE, previous=[{"name": LARGE.name, "sha256": LARGE.sha256}])
    files = place.list_files()
    assert sorted(files) == sorted([wanted, f"{wanted}.json", "autumn/manifest/1.csv"])
    assert files[wanted] == LARGE.read()


def push_and_fail(place: Place, earlier: Any) -> DeliveryError | None:
    try:
        push(place, LARGE, previous=earlier)
    except DeliveryError as error:
        return error
    return None


def test_a_full_disk_is_said_and_nothing_is_left(server: SftpServer, place: Place) -> None:
    names = record_requests(server, place)
    server.fail_next(*[""] * names.index("open to write"), FULL)
    with pytest.raises(DeliveryError, match="it says “Failure”, as servers do if their disk is full") as full:
        push(place, LARGE)
    assert not full.value.is_final
    assert place.list_files() == {}


def record_requests(server: SftpServer, place: Place) -> list[str]:
    """Deliver and recall once; return the requests of a delivery to a folder that is there."""
    receipt = push(place, LARGE)
    place.destination.recall(package(previous=receipt), NO_SESSION)
    server.requests.clear()
    receipt = push(place, LARGE)
    names = list(server.requests)
    place.destination.recall(package(previous=receipt), NO_SESSION)
    return names


def test_a_missing_right_is_said(server: SftpServer, place: Place) -> None:
    server.denied.add("open to write")
    with pytest.raises(
        DeliveryError, match=r"does not allow “proofline” to write .*: give this account the right"
    ) as no:
        push(place, file())
    assert no.value.is_final
    server.denied = {"remove"}
    assert "does not allow “proofline” to delete" in " ".join(place.destination.test_connection(NO_SESSION))


def test_a_server_without_posix_rename_replaces_sidecar_and_manifest(server: SftpServer, place: Place) -> None:
    server.lacks_posix_rename = True
    receipt = push(place, file())
    before = place.list_files()
    push(place, file(), previous=receipt, alt="A green mug")
    after = place.list_files()
    assert sorted(after) == DELIVERED and after[MUG] == before[MUG]
    assert b"A green mug" in after[f"{MUG}.json"] and b"A green mug" in after["autumn/manifest/1.csv"]
    assert "posix_rename" in server.requests


def test_one_connection_is_made_for_each_delivery(server: SftpServer, place: Place) -> None:
    receipt = push(place, file(), file("b.jpg", b"b", "wide"))
    assert len(server.sign_ins) == 1
    place.destination.recall(package(previous=receipt), NO_SESSION)
    assert len(server.sign_ins) == 2
    for _ in range(100):
        if not server.connections:
            break
        time.sleep(0.05)
    assert server.connections == set()
    assert not [thread for thread in threading.enumerate() if isinstance(thread, threading.Timer)]


# -- servers that are slow, or no SSH servers --------------------------------------------------------------------------


def test_a_slow_server_is_given_up(server: SftpServer, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    push(place, file())
    monkeypatch.setattr(ssh, "STEP_SECONDS", 0.5)
    server.faults.slow_seconds = 5.0
    server.fail_next("", SLOW)
    began = time.monotonic()
    with pytest.raises(DeliveryError, match=r"did not answer within 0\.5 s, on the way to") as slow:
        push(place, file())
    assert time.monotonic() - began < 3 and not slow.value.is_final


def silent(connection: socket.socket) -> None:
    time.sleep(5)


def trickling(connection: socket.socket) -> None:
    for _ in range(200):
        connection.sendall(b"x")
        time.sleep(0.05)


def endless(connection: socket.socket) -> None:
    connection.sendall(b"SSH-2.0-OpenSSH_9.6\r\n" + b"\x7f\xff\xff\xff" + b"\0" * 12)
    for _ in range(200):
        connection.sendall(b"\0" * 1_000_000)


def web(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n" * 200)


@pytest.mark.parametrize("spoken", [silent, trickling, endless, web])
def test_whatever_answers_at_the_port_ends_in_time_and_in_words(
    server: SftpServer, spoken: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ssh, "CONNECT_SECONDS", 1.0)
    server.spoken = spoken
    began = time.monotonic()
    with pytest.raises(DeliveryError, match="on the way to sign in") as failed:
        push(Place(build(server), dict), file())
    assert time.monotonic() - began < 4
    assert "127.0.0.1" in failed.value.message


def test_a_password_that_the_server_repeats_is_not_shown(server: SftpServer) -> None:
    one = ssh.Server("files.example.com", 22, "u", PASSWORD)
    assert one.hide(f"You sent {PASSWORD}\x00\n and more") == "You sent … and more"
