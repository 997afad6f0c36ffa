"""Photos of strangers made safe, and the product alone cut out of them. Pure: bytes and pixels, no database."""
