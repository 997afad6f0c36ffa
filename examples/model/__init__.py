"""A very small text-to-image model, trained from nothing on pictures that examples/render makes.

`python -m examples.model train` makes it again, `evaluate` says how good it is; weights/README.md is its model card.
"""
