"""Read forms with files (multipart/form-data), for servers of tests."""

from __future__ import annotations

import email.parser
import email.policy


def read_form(content_type: str, body: bytes) -> dict[str, tuple[str, bytes]]:
    """Return (file name, bytes) by the name of the field; the file name is empty if the field is no file."""
    head = f"Content-Type: {content_type}\r\n\r\n".encode()
    message = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(head + body)
    fields = {}
    for part in message.iter_parts():  # type: ignore[attr-defined]
        name = part.get_param("name", header="content-disposition")
        fields[str(name)] = (part.get_filename() or "", part.get_payload(decode=True) or b"")
    return fields
