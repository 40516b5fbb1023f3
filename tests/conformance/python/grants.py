"""How a client is told of the token service, authenticates itself and gets tokens."""

import time

from authlib.oauth2.rfc8414 import AuthorizationServerMetadata
from joserfc import jwt

from client import (
    EXCHANGE,
    IntrospectingServer,
    ResourceServer,
    client_id,
    get,
    header,
    introspected,
    key_set,
    metadata,
    not_accepted,
    refused,
    revoked,
    session,
    settings,
    token_for,
)


def discovery():
    issuer = settings["issuer"]
    assert metadata["issuer"] == issuer
    assert metadata == get(issuer + "/.well-known/openid-configuration")
    described = AuthorizationServerMetadata(metadata)
    for key in AuthorizationServerMetadata.REGISTRY_KEYS:
        getattr(described, f"validate_{key}")()
    # There is no authorization endpoint; yet the member has to be there, and an empty list must not (RFC 8414, sections 2
    # and 3.2).
    assert metadata["response_types_supported"] == ["none"]
    assert "authorization_endpoint" not in metadata
    assert {"client_credentials", EXCHANGE} <= set(metadata["grant_types_supported"])
    methods = {"tls_client_auth", "private_key_jwt", "client_secret_basic", "client_secret_post"}
    for endpoint in ["token", "introspection", "revocation"]:
        assert methods <= set(metadata[f"{endpoint}_endpoint_auth_methods_supported"]), endpoint
    assert metadata["tls_client_certificate_bound_access_tokens"] is True
    for key in key_set().keys:
        published = key.as_dict()
        assert (published["kty"], published["crv"], published["alg"], published["use"]) == ("EC", "P-256", "ES256", "sig")
        assert published["kid"] and "d" not in published


def client_credentials(name, method):
    oauth = session(name, method)
    callee = "gateway" if name == "web" else "order"
    answer = token_for(oauth, client_id(callee), scope="shop.read")
    assert answer["token_type"] == "Bearer" and answer["scope"] == "shop.read", answer
    claims = ResourceServer(client_id(callee)).accept(answer["access_token"], ["shop.read"])
    assert (claims["sub"], claims["client_id"]) == (client_id(name), client_id(name))
    assert 0 < claims["exp"] - claims["iat"] <= answer["expires_in"] <= 300
    assert abs(time.time() - claims["iat"]) < 60
    assert "act" not in claims
    # By another name of the callee, as RFC 8707 has it, and more than once with the same client.
    again = oauth.fetch_token(grant_type="client_credentials", resource=settings["resources"][callee])
    assert again["access_token"] != answer["access_token"]
    ResourceServer(settings["resources"][callee]).accept(again["access_token"])
    not_accepted(ResourceServer(client_id("stranger")), again["access_token"])
    refused("invalid_target", lambda: token_for(oauth, client_id("stranger")))
    refused("invalid_scope", lambda: token_for(oauth, client_id(callee), scope="shop.read admin"))


def client_credentials_by_certificate():
    client_credentials("gateway", "tls_client_auth")


def client_credentials_by_private_key_jwt():
    client_credentials("gateway", "private_key_jwt")


def client_credentials_by_secret_in_the_header():
    client_credentials("web", "client_secret_basic")


def client_credentials_by_secret_in_the_body():
    client_credentials("web", "client_secret_post")


def introspection_and_revocation():
    token = token_for(session("gateway"), client_id("order"), scope="shop.read")["access_token"]
    for method in ["tls_client_auth", "private_key_jwt"]:
        order = IntrospectingServer("order", method)
        answer = order.accept(token, ["shop.read"])
        claims = jwt.decode(token, key_set(), algorithms=["ES256"]).claims
        for claim in ["iss", "sub", "aud", "client_id", "exp", "iat", "jti", "scope"]:
            assert answer[claim] == claims[claim], claim
        assert answer["token_type"] == "Bearer"
    # Who asks about what isn't for it learns nothing.
    assert introspected(session("stranger"), token) == {"active": False}
    # Nobody but the client that it was issued to can revoke it; and the answer is the same.
    revoked(session("stranger"), token)
    order.accept(token)
    revoked(session("gateway", "private_key_jwt"), token)
    not_accepted(order, token)
    not_accepted(order, "not-a-token")


def opaque_tokens():
    token = token_for(session("order"), client_id("delivery"), scope="shop.read")["access_token"]
    assert "." not in token
    delivery = IntrospectingServer("delivery")
    answer = delivery.accept(token, ["shop.read"])
    assert (answer["sub"], answer["client_id"], answer["aud"]) == (client_id("order"),) * 2 + (client_id("delivery"),)
    assert introspected(session("stranger"), token) == {"active": False}
    revoked(session("order"), token)
    not_accepted(delivery, token)


def tokens_bound_to_a_certificate():
    answer = token_for(session("order"), client_id("payment"))
    claims = ResourceServer(client_id("payment")).accept(answer["access_token"])
    assert claims["cnf"]["x5t#S256"] == settings["clients"]["order"]["thumbprint"]
    told = IntrospectingServer("payment").accept(answer["access_token"])
    assert told["cnf"] == claims["cnf"]
    assert header(answer["access_token"])["typ"] == "at+jwt"
