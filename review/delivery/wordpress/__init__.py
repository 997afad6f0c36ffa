"""Deliver images to WordPress sites and WooCommerce shops, through the REST API of WordPress."""
