"""The GraphQL operations that we send, and the version of the API that they are written for.

The tests validate each of them against the schema of that version, where it is at hand, and refuse deprecated fields.
"""

API_VERSION = "2026-07"

SHOP = """
query Shop {
  shop { name }
  currentAppInstallation { accessScopes { handle } }
}"""

PRODUCT_OF_VARIANT = """
query ProductOfVariant($search: String!) {
  productVariants(first: 25, query: $search) { nodes { id sku barcode product { id } } }
}"""

PRODUCT = """
query Product($identifier: ProductIdentifierInput!) {
  productByIdentifier(identifier: $identifier) { id }
}"""

PRODUCTS = """
query Products($search: String!) {
  products(first: 12, query: $search, sortKey: RELEVANCE) {
    nodes {
      id
      title
      featuredMedia { preview { image { url(transform: { maxWidth: 128, maxHeight: 128 }) } } }
      variants(first: 1) { nodes { sku } }
    }
  }
}"""

PRODUCT_IMAGES = """
query ProductImages($product: ID!) {
  product(id: $product) {
    id
    title
    media(first: 250) { nodes { id alt } }
  }
}"""

VARIANT_IMAGE = """
query VariantImage($variant: ID!) {
  productVariant(id: $variant) { id media(first: 1) { nodes { id } } }
}"""

FILES_BY_NAME = """
query FilesByName($search: String!) {
  files(first: 25, query: $search) { nodes { id fileStatus ... on MediaImage { image { url } } } }
}"""

FILE = """
query File($id: ID!) {
  node(id: $id) {
    ... on MediaImage { id alt fileStatus image { url } fileErrors { code message } }
  }
}"""

STAGE = """
mutation Stage($input: [StagedUploadInput!]!) {
  stagedUploadsCreate(input: $input) {
    stagedTargets { url resourceUrl parameters { name value } }
    userErrors { field message }
  }
}"""

CREATE_FILE = """
mutation CreateFile($files: [FileCreateInput!]!) {
  fileCreate(files: $files) { files { id fileStatus } userErrors { field message code } }
}"""

UPDATE_FILE = """
mutation UpdateFile($files: [FileUpdateInput!]!) {
  fileUpdate(files: $files) { files { id } userErrors { field message code } }
}"""

DELETE_FILES = """
mutation DeleteFiles($ids: [ID!]!) {
  fileDelete(fileIds: $ids) { deletedFileIds userErrors { field message code } }
}"""

SET_VARIANT_IMAGE = """
mutation SetVariantImage($product: ID!, $media: [ProductVariantAppendMediaInput!]!) {
  productVariantAppendMedia(productId: $product, variantMedia: $media) { userErrors { field message code } }
}"""

CLEAR_VARIANT_IMAGE = """
mutation ClearVariantImage($product: ID!, $media: [ProductVariantDetachMediaInput!]!) {
  productVariantDetachMedia(productId: $product, variantMedia: $media) { userErrors { field message code } }
}"""

REORDER = """
mutation Reorder($product: ID!, $moves: [MoveInput!]!) {
  productReorderMedia(id: $product, moves: $moves) { job { id done } mediaUserErrors { field message code } }
}"""

JOB = """
query Job($id: ID!) {
  job(id: $id) { id done }
}"""

COSTS = {
    SHOP: 3, PRODUCT_OF_VARIANT: 15, PRODUCT: 3, PRODUCTS: 15, PRODUCT_IMAGES: 25, VARIANT_IMAGE: 4, FILES_BY_NAME: 15,
    FILE: 2,
    STAGE: 11, CREATE_FILE: 24, UPDATE_FILE: 13, DELETE_FILES: 12, SET_VARIANT_IMAGE: 16, CLEAR_VARIANT_IMAGE: 16,
    REORDER: 12, JOB: 1,
}  # fmt: skip
"""The points that a shop must have for an operation. Its first answer says how many these really are."""
