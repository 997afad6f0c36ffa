"""Makes untrusted photos safe, and cuts out their product. Pure functions of bytes and pixels, without database."""
