"""Deliver images to the products of a Shopify shop, through its Admin GraphQL API."""

from review.delivery.shopify.destination import Shopify

__all__ = ["Shopify"]
