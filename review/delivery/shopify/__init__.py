"""Deliver images to the products of a Shopify shop, through its Admin GraphQL API."""
