"""A very small text-to-image model, trained from scratch on images that examples/render makes.

`python -m examples.model train` trains it again, `evaluate` measures it; weights/README.md is its model card.
"""
