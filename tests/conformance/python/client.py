"""What every story does with Authlib, which is used as it is."""

import itertools
import json
import socket
import sys
import time

from authlib.integrations.base_client import OAuthError
from authlib.integrations.requests_client import OAuth2Session
from authlib.oauth2.rfc6750 import InvalidTokenError
from authlib.oauth2.rfc7523 import PrivateKeyJWT
from authlib.oauth2.rfc7662 import IntrospectTokenValidator
from authlib.oauth2.rfc8414 import get_well_known_url
from authlib.oauth2.rfc9068 import JWTBearerTokenValidator
from joserfc import jws
from joserfc.jwk import KeySet, import_key

EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"
JWT = "urn:ietf:params:oauth:token-type:jwt"
TRANSACTION_TOKEN = "urn:ietf:params:oauth:token-type:txn_token"

with open(sys.argv[1], encoding="utf-8") as file:
    settings = json.load(file)

replicas = itertools.cycle(settings["replicas"])
resolve = socket.getaddrinfo


def service(host, port, *arguments, **named):
    """The name of the token service leads to each replica in turn, as a Service of Kubernetes does."""
    if host == settings["host"]:
        host, port = next(replicas)
    return resolve(host, port, *arguments, **named)


socket.getaddrinfo = service


def get(url):
    session = OAuth2Session()
    session.verify = settings["roots"]
    answer = session.request("GET", url, withhold_token=True)
    session.close()
    answer.raise_for_status()
    return answer.json()


metadata = get(get_well_known_url(settings["issuer"], external=True))


def key_set():
    return KeySet.import_key_set(get(metadata["jwks_uri"]))


def session(name, method=None):
    """A client of the settings, that authenticates in one of its ways: by default by certificate."""
    client = settings["clients"][name]
    secret = client.get("secret")
    method = method or ("client_secret_basic" if secret else "tls_client_auth")
    # For Authlib a certificate is the transport's, and the request carries just the client's id, as RFC 8705 has it.
    named = "none" if method == "tls_client_auth" else method
    if method == "private_key_jwt":
        secret = import_key(client["key"])
    oauth = OAuth2Session(
        client["id"],
        secret,
        token_endpoint=metadata["token_endpoint"],
        token_endpoint_auth_method=named,
        revocation_endpoint_auth_method=named,
    )
    oauth.verify = settings["roots"]
    if method == "tls_client_auth":
        oauth.cert = (client["certificate"], client["certificate_key"])
    if method == "private_key_jwt":
        oauth.register_client_auth_method((method, signing_with(client["key"])))
    return oauth


def signing_with(key):
    """Authlib's way to sign an assertion. By default one lives for an hour, which is longer than the token service takes;
    and Authlib takes the `jti` that it draws for the next one too where it was given claims, so that each has its own."""

    def sign(auth, method, uri, headers, body):
        claims = {"exp": int(time.time()) + 60}
        way = PrivateKeyJWT(metadata["token_endpoint"], claims, {"kid": key["kid"]}, key["alg"])
        return way(auth, method, uri, headers, body)

    return sign


def client_id(name):
    return settings["clients"][name]["id"]


def token_for(oauth, audience, **more):
    return oauth.fetch_token(grant_type="client_credentials", audience=audience, **more)


def exchanged(oauth, subject_token, audience, **more):
    more.setdefault("subject_token_type", ACCESS_TOKEN)
    return oauth.fetch_token(grant_type=EXCHANGE, subject_token=subject_token, audience=audience, **more)


def introspected(oauth, token):
    answer = oauth.introspect_token(metadata["introspection_endpoint"], token=token)
    assert answer.status_code == 200, (answer.status_code, answer.text)
    return answer.json()


def revoked(oauth, token):
    answer = oauth.revoke_token(metadata["revocation_endpoint"], token=token)
    assert answer.status_code == 200, (answer.status_code, answer.text)


class ResourceServer(JWTBearerTokenValidator):
    """Validates access tokens as RFC 9068 says, with the keys that the token service publishes."""

    def __init__(self, audience):
        super().__init__(settings["issuer"], audience)
        self.fetches = 0
        self.keys = None

    def get_jwks(self):
        if self.keys is None:
            self.keys = key_set()
            self.fetches += 1
        return self.keys

    def accept(self, token, scopes=None):
        """The claims of a token. For a key that it does not know, it fetches the keys once more."""
        kid = header(token)["kid"]
        if kid not in [key.kid for key in self.get_jwks().keys]:
            self.keys = None
        claims = self.authenticate_token(token)
        self.validate_token(claims, scopes, None)
        return claims


class IntrospectingServer(IntrospectTokenValidator):
    """Has each token introspected."""

    def __init__(self, name, method=None):
        super().__init__()
        self.oauth = session(name, method)

    def introspect_token(self, token):
        return introspected(self.oauth, token)

    def accept(self, token, scopes=None):
        answer = self.authenticate_token(token)
        self.validate_token(answer, scopes, None)
        return answer


def header(token):
    return jws.extract_compact(token.encode()).headers()


def refused(error, do):
    """Asserts that the service answers with an error of RFC 6749."""
    try:
        answer = do()
    except OAuthError as said:
        assert said.error == error, (said.error, said.description)
        return
    raise AssertionError(f"not refused: {sorted(answer)}")


def not_accepted(server, token, scopes=None):
    try:
        server.accept(token, scopes)
    except InvalidTokenError:
        return
    raise AssertionError("accepted")


def eventually(what, check, seconds=60):
    """Asks again until it is so; the token service answers each question anew, so there is nothing to watch."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = check()
        if found:
            return found
        time.sleep(0.1)
    raise AssertionError(f"never: {what}")
