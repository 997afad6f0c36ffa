"""Test the operations of the Shopify destination against the schema of the API's version, where it is at hand."""

from __future__ import annotations

from pathlib import Path

import pytest
from graphql import GraphQLSchema, NoDeprecatedCustomRule, build_schema, parse, specified_rules, validate

from review.delivery.shopify import operations

SCHEMA = Path(__file__).resolve().parents[3] / f"shared/data/shopify/admin-{operations.API_VERSION}.graphql"
OPERATIONS = {
    name: text
    for name, text in vars(operations).items()
    if isinstance(text, str) and text.lstrip().startswith(("query ", "mutation "))
}


@pytest.fixture(scope="module")
def schema() -> GraphQLSchema:
    if not SCHEMA.exists():
        pytest.skip(f"{SCHEMA.name} is not there")
    return build_schema(SCHEMA.read_text(), assume_valid=True)


def test_every_operation_is_valid_and_uses_nothing_deprecated(schema: GraphQLSchema) -> None:
    rules = (*specified_rules, NoDeprecatedCustomRule)
    problems = {
        name: [error.message for error in errors]
        for name, text in OPERATIONS.items()
        if (errors := validate(schema, parse(text), rules))
    }
    assert problems == {}


def test_a_deprecated_mutation_would_be_refused(schema: GraphQLSchema) -> None:
    text = 'mutation { productDeleteMedia(productId: "1", mediaIds: []) { deletedMediaIds } }'
    [error] = validate(schema, parse(text), (*specified_rules, NoDeprecatedCustomRule))
    assert "deprecated" in error.message


def test_every_operation_has_a_cost() -> None:
    assert set(operations.COSTS) == set(OPERATIONS.values())
