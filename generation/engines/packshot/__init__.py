"""Product photos on lit backdrops, without a model."""
