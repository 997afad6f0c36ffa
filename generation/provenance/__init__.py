"""Marks of origin in delivered files: an sRGB profile, IPTC fields as XMP, and last Content Credentials (C2PA).

Plain data: nothing here knows models. The pixels stay as they are, because the marks are inserted beside them.
"""
