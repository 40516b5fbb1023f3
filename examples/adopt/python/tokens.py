"""Tokens that services sign themselves. Python's standard library has no signatures: this needs PyJWT[crypto]."""

import json
import time
import uuid

import jwt

import ringfence


def sign(folder, own_id, demanded):
    """A token as a callee of access.json demands it."""
    mount = ringfence.data(f"{folder}/signing-key")
    with open(f"{mount}/private.pem") as key, open(f"{mount}/kid") as kid:
        now = int(time.time())
        claims = {
            "iss": own_id, "sub": own_id, "aud": demanded["audiences"], "jti": str(uuid.uuid4()),
            "iat": now, "nbf": now, "exp": now + min(60, demanded["maxLifetimeSeconds"]),
        }
        # ES256, or what the TrustDomain says in signingKeys.
        return jwt.encode(claims, key.read(), "ES256", {"typ": "service+jwt", "kid": kid.read()})


def verify(delivered, token, caller, demanded):
    """The claims of a caller's token, by the keys of that caller and of nobody else."""
    header = jwt.get_unverified_header(token)
    with open(f"{delivered.trust}/{demanded['keySet']}") as file:
        keys = {key["kid"]: key for key in json.load(file)["keys"] if key["spiffe_id"] == caller}
    key = jwt.PyJWK(keys[header["kid"]])  # Its algorithm is that of the key, never that of the token.
    claims = jwt.decode(
        token, key, algorithms=[key.algorithm_name], audience=demanded["audiences"], issuer=caller, leeway=30,
        options={"require": ["iss", "sub", "aud", "iat", "nbf", "exp", "jti"]},
    )
    if header["typ"] != "service+jwt" or claims["sub"] != caller:
        raise jwt.InvalidTokenError("not a token that a service signs for itself")
    if claims["exp"] - claims["iat"] > demanded["maxLifetimeSeconds"]:
        raise jwt.InvalidTokenError("the token is good for too long")
    return claims
