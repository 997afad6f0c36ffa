"""A small Wagtail 8 site: the magazine of the example brand. The demo and the tests deliver images to it.

`python -m examples.wagtail_site --folder var/wagtail` makes it in a folder and serves it. It is a project of its own
with its own settings, and needs the package wagtail, which Proofline itself never imports.
"""
