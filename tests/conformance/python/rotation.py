"""Keys that change while clients and services go on."""

from client import ResourceServer, client_id, eventually, header, key_set, session, token_for


def key_rotation():
    """A service that fetches the keys again for a key that it doesn't know refuses none of the tokens."""
    oauth, order = session("gateway"), ResourceServer(client_id("order"))
    tokens = {}

    def two_more():
        published = [key.kid for key in key_set().keys]
        token = token_for(oauth, client_id("order"))["access_token"]
        kid = header(token)["kid"]
        assert kid in published, "a key is published before its first use"
        order.accept(token)
        if kid not in tokens:
            tokens[kid] = token
            # What a former key signed is good as long as it lives.
            for kept in tokens.values():
                order.accept(kept)
        return len(tokens) == 3

    eventually("two rotations", two_more)
    assert order.fetches <= len(tokens)
