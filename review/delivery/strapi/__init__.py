"""Deliver images to Strapi 5: to its media library, and into the entries of articles."""
