"""Spellings of addresses that are not public, as programs really read them, and disguised forms of them.

Each is a URL; NAMES has the addresses of the host names among them.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

PRIVATE_IPV4 = ("127.0.0.1", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "127.8.9.10")
"""Spelled out in every way below."""

MORE_PRIVATE_IPV4 = (  # addresses to refuse, not to listen on
    "0.0.0.0",  # noqa: S104
    "0.1.2.3", "10.255.255.255", "100.127.255.254", "127.255.255.254", "168.63.129.16", "169.254.170.2",
    "172.31.255.255", "192.0.0.1", "192.0.0.192", "192.0.2.1", "192.88.99.1", "192.168.255.255", "198.18.0.1",
    "198.19.255.254", "198.51.100.7", "203.0.113.7", "224.0.0.1", "239.255.255.250", "240.0.0.1", "255.255.255.255",
)  # fmt: skip

PRIVATE_IPV6 = (
    "::", "::1", "0:0:0:0:0:0:0:1", "0000:0000:0000:0000:0000:0000:0000:0001", "::0:1", "fe80::1", "febf::1",
    "fec0::1", "fc00::1", "fd00::1", "fd00:ec2::254", "fdff:ffff::1", "ff02::1", "ff0e::1", "100::1", "2001::1",
    "2001:2::1", "2001:10::1", "2001:20::1", "2001:db8::1", "3ffe::1", "3fff::1", "5f00::1", "4000::1", "e000::1",
)  # fmt: skip

PRIVATE_HOST_NAMES = {
    "127.0.0.1.nip.io": ["127.0.0.1"],
    "7f000001.nip.io": ["127.0.0.1"],
    "10.0.0.1.sslip.io": ["10.0.0.1"],
    "localtest.me": ["127.0.0.1", "::1"],
    "lvh.me": ["127.0.0.1"],
    "vcap.me": ["127.0.0.1"],
    "spoofed.example.com": ["169.254.169.254"],
    "both.example.com": ["93.184.216.34", "127.0.0.1"],
    "six.example.com": ["2606:2800:220:1:248:1893:25c8:1946", "fd00::1"],
    "mapped.example.com": ["::ffff:127.0.0.1"],
    "nat.example.com": ["64:ff9b::a9fe:a9fe"],
    "zoned.example.com": ["fe80::1%eth0"],
    "zero.example.com": ["0.0.0.0"],  # noqa: S104 - an address to refuse
    "shared.example.com": ["100.100.100.200"],
    "garbage.example.com": ["not an address"],
    "xn--mnchen-3ya.example.com": ["192.168.0.1"],
}

LOCAL_NAMES = (
    "localhost", "LOCALHOST", "LocalHost", "localhost.", "localhost..", "localhost.localdomain", "a.localhost",
    "a.b.LOCALHOST", "foo.localhost.", "printer.local", "metadata.google.internal", "metadata", "instance-data",
    "kubernetes.default.svc", "kubernetes.default.svc.cluster.local", "db.internal", "intranet", "wiki.intranet",
    "files.corp", "nas.lan", "nas.home", "router.home.arpa", "1.0.0.127.in-addr.arpa", "ip6-localhost", "broadcasthost",
    "a.test", "a.onion", "host.docker.internal",
)  # fmt: skip

DISGUISED_URLS = (
    # user information that looks like a host
    "http://example.com@127.0.0.1/", "http://example.com:80@127.0.0.1/", "http://127.0.0.1@example.com/",
    "http://example.com%40127.0.0.1/", "http://@127.0.0.1/", "http://a:b@[::1]/", "http://127.0.0.1:80@example.com/",
    "http://example.com:@127.0.0.1/", "http://[::1]@example.com/",
    # backslashes, blanks, tabs and line breaks
    "http:\\\\127.0.0.1/", "http://127.0.0.1\\@example.com/", "http://example.com\\@127.0.0.1/",
    "http:/\\127.0.0.1/", "\\\\127.0.0.1\\share", "http://127.0.0.1\t/", "http://127.0.\n0.1/", "http://\r127.0.0.1/",
    "ht\ntp://127.0.0.1/", "http://127.0.0.1\x00.example.com/", "http://127.0.0.1 .example.com/",
    "http://127.0.0.1\u00a0/", "http://127.0.0.1\u200b/", "http://127.0.0.1\u2028/",
    "\x01http://127.0.0.1/", "http://127.0.0.1\u00ad/", "\ufeffhttp://127.0.0.1/",
    # slashes, and what is no web address
    "http:127.0.0.1/", "http:/127.0.0.1/", "http:///127.0.0.1/", "http:////127.0.0.1/", "//127.0.0.1/", "127.0.0.1",
    "127.0.0.1:80", "file://127.0.0.1/etc/passwd", "ftp://127.0.0.1/", "gopher://127.0.0.1:6379/_INFO",
    "dict://127.0.0.1:11211/", "ldap://127.0.0.1/", "jar:http://127.0.0.1!/", "view-source:http://127.0.0.1/",
    # brackets and zones
    "http://[::1/", "http://::1/", "http://::1]/", "http://[[::1]]/", "http://[::1]x/", "http://[::1%lo]/",
    "http://[::1%25lo]/", "http://[fe80::1%25eth0]/", "http://[127.0.0.1]/", "http://[v1.127.0.0.1]/",
    "http://[0:0:0:0:0:ffff:127.0.0.1]/", "http://[::ffff:7f00:1]:80/", "http://[::FFFF:127.0.0.1]/",
    "http://[::ffff:0:127.0.0.1]/", "http://[0::0:7f00:1]/", "http://[]/", "http://[::1]./", "http://[::１]/",
    # digits and letters that look alike, and characters that look like dots
    "http://①②⑦.⓪.⓪.①/", "http://１２７.0.0.1/", "http://127。0。0。1/", "http://127．0．0．1/", "http://127｡0｡0｡1/",
    "http://𝟏𝟐𝟕.𝟎.𝟎.𝟏/", "http://¹²⁷.⁰.⁰.¹/", "http://١٢٧.٠.٠.١/", "http://१२७.०.०.१/", "http://ⓛⓞⓒⓐⓛⓗⓞⓢⓣ/",
    "http://ｌｏｃａｌｈｏｓｔ/", "http://loca𝗅host/", "http://ℓocalhost/", "http://localhoſt/", "http://localhost。/",
    "http://a.ｌocalhost/", "http://1️⃣27.0.0.1/", "http://⑩.0.0.1/",
    # numbers that are not four decimal ones
    "http://0/", "http://0x/", "http://00/", "http://1/", "http://127.1./", "http://0x7f.1/", "http://127.0x1/",
    "http://4294967295/", "http://4294967296/", "http://99999999999999999999/", "http://0xffffffff7f000001/",
    "http://127.0.0.1.1/", "http://127.0.0.256/", "http://127..0.1/", "http://.127.0.0.1/", "http://0b1111111.0.0.1/",
    "http://127.0.0.1e0/", "http://1_27.0.0.1/", "http://+127.0.0.1/",
    "http://-127.0.0.1/", "http://127.0.0.-1/", "http://127.0.0.1,example.com/", "http://127.0.0.1;example.com/",
    "http://127.0.0.1&@example.com/", "http://${127.0.0.1}/", "http://<127.0.0.1>/", "http://\"127.0.0.1\"/",
    "http://127.0.0.1%2eexample.com/", "http://%6c%6f%63%61%6c%68%6f%73%74/", "http://127.0.0.1%23.example.com/",
)  # fmt: skip

REFUSED_URLS = (
    # ports
    "http://93.184.216.34:22/", "http://93.184.216.34:6379/", "http://93.184.216.34:8080/", "http://example.com:0/",
    "http://example.com:65536/", "http://example.com:080/", "http://example.com:-1/", "http://example.com:/",
    "http://example.com:８０/", "http://example.com:80:80/", "http://example.com:25/",
    # no web address
    "http://", "http:///", "http://?127.0.0.1", "http://#127.0.0.1", "http://:80/", "", "file:///etc/passwd",
    "data:text/csv,a", "netdoc:///etc/passwd", "unix:///var/run/docker.sock", "javascript:alert(1)",
    # names and numbers that are invalid
    "http://example.com /", "http://㎰.example.com/", "http://1.2.3/", "http://256.256.256.256/", "http://-a.com/",
    "http://a-.com/", "http://a..com/", "http://.com/", "http://" + "a" * 64 + ".com/", "http://" + "a." * 127 + "com/",
    "http://exa mple.com/", "http://example.com" + "/a" * 1000, "http://ex\u00ad\u2060ample.com/",
)  # fmt: skip
"""Addresses that are refused for other reasons than their target."""


def ipv4_spellings(address: str) -> Iterator[str]:
    """Yield the spellings of an IPv4 address that some program reads as this address."""
    a, b, c, d = (int(part) for part in address.split("."))
    number = int(ipaddress.IPv4Address(address))
    hexes = f"{number >> 16:x}:{number & 0xFFFF:x}"
    yield address
    yield f"{address}."
    yield f"{address}:80"
    yield str(number)
    yield f"0{number:o}"
    yield f"0x{number:x}"
    yield f"0X{number:X}"
    yield f"0{a:o}.0{b:o}.0{c:o}.0{d:o}"
    yield f"{a:03d}.{b:03d}.{c:03d}.{d:03d}"
    yield f"0x{a:x}.0x{b:x}.0x{c:x}.0x{d:x}"
    yield f"0x{a:02X}.{b}.0{c:o}.{d}"
    yield f"{a}.{b}.{number & 0xFFFF}"
    yield f"{a}.{number & 0xFFFFFF}"
    yield f"0x{a:x}.{number & 0xFFFFFF}"
    yield f"{a}.0{number & 0xFFFFFF:o}"
    yield "".join(f"%{ord(character):02x}" for character in address)
    yield address.replace(".", "%2e")
    yield address.replace(".", "。")
    yield address.translate({ord("0") + n: 0xFF10 + n for n in range(10)})
    yield f"[::ffff:{address}]"
    yield f"[::ffff:{hexes}]"
    yield f"[::{address}]"
    yield f"[::{hexes}]"
    yield f"[2002:{hexes}::]"
    yield f"[2001:0:{hexes}::1]"
    yield f"[2001::{(number ^ 0xFFFFFFFF) >> 16:x}:{(number ^ 0xFFFFFFFF) & 0xFFFF:x}]"
    yield f"[64:ff9b::{address}]"
    yield f"[64:ff9b:1::{hexes}]"
    yield f"[::ffff:0:{hexes}]"
    yield f"[2606:4700::5efe:{hexes}]"
    yield f"[::ffff:{address}]:443"


def all_spellings() -> list[str]:
    """Return all spellings, each once."""
    addresses = [f"http://{form}/latest/meta-data/" for address in PRIVATE_IPV4 for form in ipv4_spellings(address)]
    addresses += [f"https://{address}/" for address in MORE_PRIVATE_IPV4]
    addresses += [f"https://[{address}]/" for address in PRIVATE_IPV6]
    addresses += [f"http://{name}/" for name in (*LOCAL_NAMES, *PRIVATE_HOST_NAMES)]
    addresses += DISGUISED_URLS
    return list(dict.fromkeys(addresses))
