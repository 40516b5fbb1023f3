"""Envoy's jwt_authn in front of the services `order` and `kiosk`, with the keys fetched from the token service."""

import time

import requests
from joserfc import jwt
from joserfc.jwk import import_key

from client import client_id, eventually, header, session, settings, token_for


def bearer(token):
    return requests.get(settings["envoy"], headers={"authorization": f"Bearer {token}"}, timeout=10)


def accepts(token):
    answer = bearer(token)
    assert answer.status_code == 200, (answer.status_code, answer.text)
    return answer


def refuses(token, status, why):
    answer = bearer(token)
    assert (answer.status_code, answer.text) == (status, why)


def signed_by(key, kid, **more):
    """A token such as the token service makes, by a key of one's own."""
    now = int(time.time())
    claims = {"iss": settings["issuer"], "sub": client_id("gateway"), "client_id": client_id("gateway")}
    claims |= {"aud": client_id("order"), "iat": now, "exp": now + 60, "jti": "1"} | more
    return jwt.encode({"alg": "ES256", "kid": kid, "typ": "at+jwt"}, claims, import_key(key))


def jwt_authn():
    token = token_for(session("gateway"), client_id("order"), scope="shop.read")["access_token"]
    answer = accepts(token)
    # It hands on the token and the claims that it was told to.
    assert answer.headers["x-seen-authorization"] == f"Bearer {token}"
    assert answer.headers["x-seen-sub"] == client_id("gateway")
    assert answer.headers["x-seen-scope"] == "shop.read"

    assert requests.get(settings["envoy"], timeout=10).status_code == 401
    another = token_for(session("order"), client_id("payment"))["access_token"]
    refuses(another, 403, "Audiences in Jwt are not allowed")
    kid, foreign = header(token)["kid"], settings["foreignKey"]
    refuses(signed_by(foreign, kid), 401, "Jwt verification fails")
    refuses(signed_by(foreign, "nobodys"), 401, "Jwks doesn't have key to match kid or alg from Jwt")
    refuses(signed_by(foreign, kid, iss="https://elsewhere.example"), 401, "Jwt issuer is not configured")
    # The claims of one token with the signature of another.
    head, _, signature = token.split(".")
    next_one = token_for(session("gateway"), client_id("order"))["access_token"]
    refuses(f"{head}.{next_one.split('.')[1]}.{signature}", 401, "Jwt verification fails")


def expiry():
    token = token_for(session("gateway"), client_id("kiosk"))["access_token"]
    accepts(token)
    eventually("the token expires", lambda: bearer(token).status_code != 200)
    refuses(token, 401, "Jwt is expired")


def rotations():
    """Since a key is published before its first use, and stays, none of the tokens is refused."""
    oauth, tokens = session("gateway"), {}

    def rotated():
        token = token_for(oauth, client_id("order"))["access_token"]
        if tokens.setdefault(header(token)["kid"], token) == token:
            for kept in tokens.values():
                accepts(kept)
        else:
            accepts(token)
        return len(tokens) == 3

    eventually("two rotations", rotated)
