"""A Shopify shop on real sockets: its Admin API with tokens, costs and throttling, and a second address for files.

The shop itself is in shopify_shop.py and shopify_changes.py. The faults of remote_server.py count by route: the name of
an operation ("CreateFile"), "token", "upload" or "file".
"""

from __future__ import annotations

import base64
import contextlib
import json
import time
import uuid
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs

from graphql import build_schema, graphql_sync, parse
from graphql.language import FieldNode, OperationDefinitionNode

from tests.support.remote_server import Remote, Request, Response, plain, serving
from tests.support.shopify_changes import Changes
from tests.support.shopify_shop import Shop

CLIENT_ID = "8fd3a1"
CLIENT_SECRET = "app secret of the tests"
OLD_TOKEN = "shpat_of_the_tests"
FILES = "/s/files/1/0928/9125/0994/files/"
MAX_UPLOAD_BYTES = 20_971_520

SCHEMA = build_schema("""
schema { query: QueryRoot mutation: Mutation }
scalar UnsignedInt64
enum FileStatus { UPLOADED PROCESSING READY FAILED }
interface Node { id: ID! }
interface Media { id: ID! alt: String }
interface File { id: ID! alt: String fileStatus: FileStatus! fileErrors: [FileError!]! }
type FileError { code: String! message: String! }
type Image { url: String! }
type MediaImage implements Node & Media & File {
  id: ID! alt: String fileStatus: FileStatus! fileErrors: [FileError!]! image: Image
}
type FileConnection { nodes: [File!]! }
type MediaConnection { nodes: [Media!]! }
type VariantConnection { nodes: [ProductVariant!]! }
type PreviewImage { url(transform: ImageTransformInput): String! }
input ImageTransformInput { maxWidth: Int maxHeight: Int }
type MediaPreview { image: PreviewImage }
type FeaturedMedia { preview: MediaPreview }
enum ProductSortKeys { RELEVANCE TITLE }
type ProductConnection { nodes: [Product!]! }
type Product implements Node {
  id: ID! title: String! handle: String! media(first: Int!): MediaConnection! featuredMedia: FeaturedMedia
  variants(first: Int!): VariantConnection!
}
type ProductVariant implements Node {
  id: ID! sku: String barcode: String product: Product! media(first: Int!): MediaConnection!
}
type Job { id: ID! done: Boolean! }
type Shop { name: String! }
type AccessScope { handle: String! }
type AppInstallation { accessScopes: [AccessScope!]! }
input CustomId { namespace: String key: String! value: String! }
input ProductIdentifierInput { id: ID customId: CustomId handle: String }
type QueryRoot {
  shop: Shop! currentAppInstallation: AppInstallation! node(id: ID!): Node job(id: ID!): Job
  product(id: ID!): Product productVariant(id: ID!): ProductVariant
  productByIdentifier(identifier: ProductIdentifierInput!): Product
  products(first: Int!, query: String!, sortKey: ProductSortKeys): ProductConnection!
  productVariants(first: Int!, query: String!): VariantConnection!
  files(first: Int!, query: String!): FileConnection!
}
type UserError { field: [String!] message: String! }
type CodedError { field: [String!] message: String! code: String }
enum Resource { IMAGE FILE }
enum HttpMethod { POST PUT }
enum ContentType { IMAGE FILE }
enum DuplicateResolutionMode { APPEND_UUID RAISE_ERROR REPLACE }
input StagedUploadInput {
  resource: Resource! filename: String! mimeType: String! httpMethod: HttpMethod = PUT fileSize: UnsignedInt64
}
input FileCreateInput {
  filename: String! contentType: ContentType alt: String originalSource: String!
  duplicateResolutionMode: DuplicateResolutionMode = APPEND_UUID
}
input FileUpdateInput { id: ID! alt: String referencesToAdd: [ID!] referencesToRemove: [ID!] }
input ProductVariantAppendMediaInput { variantId: ID! mediaIds: [ID!]! }
input ProductVariantDetachMediaInput { variantId: ID! mediaIds: [ID!]! }
input MoveInput { id: ID! newPosition: UnsignedInt64! }
type Parameter { name: String! value: String! }
type StagedTarget { url: String resourceUrl: String parameters: [Parameter!]! }
type StagedPayload { stagedTargets: [StagedTarget!] userErrors: [UserError!]! }
type FilesPayload { files: [File!] userErrors: [CodedError!]! }
type DeletePayload { deletedFileIds: [ID!] userErrors: [CodedError!]! }
type VariantPayload { userErrors: [CodedError!]! }
type ReorderPayload { job: Job mediaUserErrors: [CodedError!]! }
type Mutation {
  stagedUploadsCreate(input: [StagedUploadInput!]!): StagedPayload
  fileCreate(files: [FileCreateInput!]!): FilesPayload
  fileUpdate(files: [FileUpdateInput!]!): FilesPayload
  fileDelete(fileIds: [ID!]!): DeletePayload
  productVariantAppendMedia(productId: ID!, variantMedia: [ProductVariantAppendMediaInput!]!): VariantPayload
  productVariantDetachMedia(productId: ID!, variantMedia: [ProductVariantDetachMediaInput!]!): VariantPayload
  productReorderMedia(id: ID!, moves: [MoveInput!]!): ReorderPayload
}
""")

#: What an operation is estimated to cost, and what it then costs, by its first field; mostly as recorded.
COSTS = {
    "stagedUploadsCreate": (11, 11), "fileCreate": (20, 20), "fileUpdate": (13, 13), "fileDelete": (10, 10),
    "productVariantAppendMedia": (16, 13), "productVariantDetachMedia": (16, 16), "productReorderMedia": (11, 11),
    "node": (1, 1), "job": (1, 1), "shop": (3, 3), "productByIdentifier": (1, 1), "product": (19, 7),
    "productVariant": (7, 4), "productVariants": (14, 5), "files": (14, 4), "products": (14, 5),
}  # fmt: skip
REFUSED_COST = 10


class Bucket:
    """The points of the shop's rate limit: `maximum` at most, filled with `rate` points per second."""

    def __init__(self, maximum: float = 2000.0, rate: float = 100.0) -> None:
        self.maximum, self.rate, self.available = maximum, rate, maximum
        self.used = 0.0
        self._at = time.monotonic()

    def take(self, points: float) -> bool:
        """Take the points if they are there; negative ones are given back."""
        now = time.monotonic()
        self.available = min(self.maximum, self.available + (now - self._at) * self.rate)
        self._at = now
        if points > self.available:
            return False
        self.available = min(self.maximum, self.available - points)
        self.used += points
        return True

    def drain(self, *, rate: float) -> None:
        """Empty the bucket, as other programs may; it fills with `rate` points per second from now."""
        self.available, self.rate, self._at = 0.0, rate, time.monotonic()

    def status(self) -> dict[str, Any]:
        self.take(0)
        return {
            "maximumAvailable": self.maximum, "currentlyAvailable": int(self.available), "restoreRate": self.rate
        }  # fmt: skip


class ShopifyServer(Remote):
    """The Admin API. token_seconds: the life of new tokens; `tokens`: those that count, with the end of their time."""

    def __init__(self) -> None:
        super().__init__()
        self.shop = Shop()
        self.bucket = Bucket()
        self.token_seconds = 86_399.0
        self.tokens: dict[str, float] = {OLD_TOKEN: float("inf")}
        self.throttled = 0
        self.storage = Storage(self.shop)
        self.changes = Changes(self.shop)

    def route(self, request: Request) -> str:
        if request.path == "/admin/oauth/access_token":
            return "token"
        operation = _operation(request)
        return operation.name.value if operation and operation.name else f"{request.method} {request.path}"

    def respond(self, request: Request) -> Response:
        if request.path == "/admin/oauth/access_token":
            return self._give_token(request)
        if request.path != "/admin/api/2026-07/graphql.json":
            return plain({"errors": "Not Found"}, 404)
        if self.tokens.get(request.headers.get("x-shopify-access-token", ""), 0.0) < time.monotonic():
            message = "[API] Invalid API key or access token (unrecognized login or wrong password)"
            return plain({"errors": message}, 401)
        return self._execute(request)

    def _give_token(self, request: Request) -> Response:
        form = {name: values[0] for name, values in parse_qs(request.body.decode()).items()}
        wanted = {"grant_type": "client_credentials", "client_id": CLIENT_ID, "client_secret": CLIENT_SECRET}
        if form != wanted:
            words = "The client secret is wrong, or the app is not installed."
            return plain({"error": "invalid_client", "error_description": words}, 401)
        token = f"shpca_{uuid.uuid4().hex}"
        with self.guard:
            self.tokens[token] = time.monotonic() + self.token_seconds
        scopes = ",".join(sorted(self.shop.scopes))
        return plain({"access_token": token, "scope": scopes, "expires_in": int(self.token_seconds)})

    def _execute(self, request: Request) -> Response:
        operation = _operation(request)
        assert operation is not None
        first = operation.selection_set.selections[0]
        assert isinstance(first, FieldNode)
        requested, actual = COSTS[first.name.value]
        with self.shop.guard:
            if not self.bucket.take(requested):
                self.throttled += 1
                documentation = "https://shopify.dev/api/usage/rate-limits"
                error = {"message": "Throttled", "extensions": {"code": "THROTTLED", "documentation": documentation}}
                return plain({"errors": [error], "extensions": {"cost": self._cost(requested, None)}})
            content = request.json
            resolvers = {**self.shop.queries(), **self.changes.resolvers()}
            variables = content.get("variables") or {}
            done = graphql_sync(SCHEMA, content["query"], resolvers, variable_values=variables).formatted
            part = (done.get("data") or {}).get(first.name.value) or {}
            if operation.operation.value == "mutation" and (
                done.get("errors") or part.get("userErrors") or part.get("mediaUserErrors")
            ):
                actual = REFUSED_COST
            self.bucket.take(actual - requested)
            return plain({**done, "extensions": {"cost": self._cost(requested, actual)}})

    def _cost(self, requested: int, actual: int | None) -> dict[str, Any]:
        status = self.bucket.status()
        return {"requestedQueryCost": requested, "actualQueryCost": actual, "throttleStatus": status}


class Storage(Remote):
    """The second address: it takes staged uploads by POST policies, and serves the shop's files to everybody.

    max_bytes: of an upload. `seen_tokens`: the shop's tokens that were sent here by mistake.
    """

    def __init__(self, shop: Shop) -> None:
        super().__init__()
        self.shop = shop
        self.max_bytes = MAX_UPLOAD_BYTES
        self.policies: dict[str, str] = {}
        self.seen_tokens: list[str] = []
        shop.stage = self.stage

    def route(self, request: Request) -> str:
        return "upload" if request.method == "POST" else "file"

    def stage(self, wish: Mapping[str, Any]) -> dict[str, Any]:
        """Return a target for one upload by POST."""
        assert wish["httpMethod"] == "POST", "only POST targets are played here"
        key = f"tmp/92891250994/files/{uuid.uuid4()}/{wish['filename']}"
        now = datetime.now(UTC)
        fields = {
            "Content-Type": wish["mimeType"], "success_action_status": "201", "acl": "private", "key": key,
            "x-goog-date": f"{now:%Y%m%dT%H%M%SZ}", "x-goog-algorithm": "GOOG4-RSA-SHA256",
            "x-goog-credential": "merchant-assets@example.com/auto/storage/goog4_request",
            "x-goog-signature": uuid.uuid4().hex,
        }  # fmt: skip
        conditions = [{name: value} for name, value in fields.items()]
        policy = {
            "conditions": [*conditions, ["content-length-range", 1, self.max_bytes]],
            "expiration": (now + timedelta(days=1)).isoformat(),
        }
        fields["policy"] = base64.b64encode(json.dumps(policy).encode()).decode()
        self.policies[key] = fields["policy"]
        parameters = [{"name": name, "value": value} for name, value in fields.items()]
        return {"url": f"{self.url}/", "resourceUrl": f"{self.url}/{key}", "parameters": parameters}

    def respond(self, request: Request) -> Response:
        if token := request.headers.get("x-shopify-access-token"):
            self.seen_tokens.append(token)
        if request.method == "POST":
            return self._take(request)
        with self.shop.guard:
            name = request.path.removeprefix(FILES)
            for file in self.shop.files.values():
                if file.name == name and self.shop.status(file) == "READY":
                    return Response(200, file.content, {"Content-Type": "image/jpeg"})
        return Response(404, b"", {"Content-Type": "text/plain"})

    def _take(self, request: Request) -> Response:
        fields = _read_form(request)
        key = fields.get("key", b"").decode()
        if list(fields)[-1] != "file" or self.policies.get(key) != fields.get("policy", b"").decode():
            return _storage_error(403, "AccessDenied", "The policy does not belong to this upload.")
        policy = json.loads(base64.b64decode(self.policies[key]))
        for condition in policy["conditions"]:
            if isinstance(condition, dict):
                [(name, value)] = condition.items()
                if fields.get(name, b"").decode() != value:
                    return _storage_error(403, "AccessDenied", f"The policy wants another {name}.")
            elif not condition[1] <= len(fields["file"]) <= condition[2]:
                return _storage_error(400, "EntityTooLarge", "Your proposed upload exceeds the maximum allowed size.")
        with self.shop.guard:
            self.shop.staged[f"{self.url}/{key}"] = fields["file"]
        return Response(201, b"<PostResponse/>", {"Content-Type": "application/xml"})


def _read_form(request: Request) -> dict[str, bytes]:
    """Return the fields of a multipart form, in their order."""
    boundary = b"--" + request.headers["content-type"].partition("boundary=")[2].encode()
    fields = {}
    for part in request.body.split(boundary)[1:-1]:
        head, _empty, content = part.partition(b"\r\n\r\n")
        name = head.partition(b' name="')[2].partition(b'"')[0].decode()
        fields[name] = content.removesuffix(b"\r\n")
    return fields


def _storage_error(status: int, code: str, message: str) -> Response:
    body = f"<Error><Code>{code}</Code><Message>{message}</Message></Error>"
    return Response(status, body.encode(), {"Content-Type": "application/xml"})


def _operation(request: Request) -> OperationDefinitionNode | None:
    try:
        [definition] = parse(request.json["query"]).definitions
    except (ValueError, KeyError):
        return None
    return definition if isinstance(definition, OperationDefinitionNode) else None


@contextlib.contextmanager
def serving_shop() -> Iterator[ShopifyServer]:
    """Serve a shop at two addresses until the block ends."""
    server = ShopifyServer()
    with serving(server), serving(server.storage):
        server.shop.files_url = server.storage.url + FILES
        yield server
