"""Pages of the generation app, one module per noun."""
