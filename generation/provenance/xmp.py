"""IPTC Photo Metadata 2025.1 as an XMP packet: what kind of image this is, which AI system made it, and from what.

https://iptc.org/std/photometadata/specification/IPTC-PhotoMetadata-2025.1.html
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from defusedxml import ElementTree
from defusedxml.common import DefusedXmlException

from core.xml_text import escape_text, plain_text

SOURCE_TYPES: Final = "http://cv.iptc.org/newscodes/digitalsourcetype/"
MAX_TEXT: Final = 10_000
"""Characters of a text in the packet, which must fit into one segment of a JPEG (64 kB)."""

_RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_NAMESPACES: Final = {
    "Iptc4xmpExt": "http://iptc.org/std/Iptc4xmpExt/2008-02-29/",
    "photoshop": "http://ns.adobe.com/photoshop/1.0/",
    "xmp": "http://ns.adobe.com/xap/1.0/",
    "xmpMM": "http://ns.adobe.com/xap/1.0/mm/",
}
_FIELDS: Final = {
    "document_id": "xmpMM:DocumentID",
    "source_type": "Iptc4xmpExt:DigitalSourceType",
    "ai_system": "Iptc4xmpExt:AISystemUsed",
    "ai_version": "Iptc4xmpExt:AISystemVersionUsed",
    "prompt": "Iptc4xmpExt:AIPromptInformation",
    "prompt_writer": "Iptc4xmpExt:AIPromptWriterName",
    "caution": "photoshop:Instructions",
    "made_at": "xmp:CreateDate",
    "tool": "xmp:CreatorTool",
}


@dataclass(frozen=True)
class Fields:
    """The fields of a packet, in the order in which they are written; empty ones are left out.

    document_id: "xmp.did:" and a UUID, by which the installation that made the file finds its lineage. source_type: a
    term of IPTC's digital source types, such as "trainedAlgorithmicMedia". caution: IPTC's instructions, such as "demo
    model". made_at: ISO 8601.
    """

    document_id: str = ""
    source_type: str = ""
    ai_system: str = ""
    ai_version: str = ""
    prompt: str = ""
    prompt_writer: str = ""
    caution: str = ""
    made_at: str = ""
    tool: str = ""


def write(fields: Fields) -> bytes:
    """Return the packet. The same fields give the same bytes."""
    values = {tag: _shorten(getattr(fields, name)) for name, tag in _FIELDS.items() if getattr(fields, name)}
    if fields.source_type:
        values[_FIELDS["source_type"]] = SOURCE_TYPES + fields.source_type
    spaces = "".join(f' xmlns:{prefix}="{uri}"' for prefix, uri in _NAMESPACES.items())
    elements = "".join(f"<{tag}>{escape_text(value)}</{tag}>" for tag, value in values.items())
    packet = (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
        f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="{_RDF}">'
        f'<rdf:Description rdf:about=""{spaces}>{elements}</rdf:Description>'
        '</rdf:RDF></x:xmpmeta><?xpacket end="r"?>'
    )
    return packet.encode()


def read(packet: bytes) -> Fields:
    """Return the fields that a packet has as elements or attributes of its descriptions. Raises ValueError."""
    try:
        tree = ElementTree.fromstring(packet.strip(b"\0 \t\r\n"))
    except (ElementTree.ParseError, DefusedXmlException, ValueError, LookupError) as error:
        raise ValueError(f"The XMP packet is damaged: {error}") from None
    fields = {}
    for description in tree.iter(f"{{{_RDF}}}Description"):
        elements = {child.tag: child.text or "" for child in description}
        values = {**elements, **description.attrib}
        fields.update({name: values[key] for name, tag in _FIELDS.items() if (key := _expand(tag)) in values})
    fields["source_type"] = fields.get("source_type", "").removeprefix(SOURCE_TYPES)
    return Fields(**fields)


def _expand(tag: str) -> str:
    prefix, name = tag.split(":")
    return f"{{{_NAMESPACES[prefix]}}}{name}"


def _shorten(text: str) -> str:
    """Return the text without characters that XML cannot contain, and shortened to MAX_TEXT."""
    clean = plain_text(text)
    return clean if len(clean) <= MAX_TEXT else clean[: MAX_TEXT - 1] + "…"
