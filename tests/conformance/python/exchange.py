"""Tokens that go from hop to hop."""

from joserfc import jwt

from client import (
    ACCESS_TOKEN,
    JWT,
    TRANSACTION_TOKEN,
    IntrospectingServer,
    ResourceServer,
    client_id,
    exchanged,
    header,
    key_set,
    not_accepted,
    refused,
    session,
    token_for,
)


def two_hops():
    first = token_for(session("web"), client_id("gateway"), scope="shop.read shop.pay")["access_token"]
    second = exchanged(session("gateway"), first, client_id("order"))
    assert second["issued_token_type"] == ACCESS_TOKEN and second["token_type"] == "Bearer"
    claims = ResourceServer(client_id("order")).accept(second["access_token"], ["shop.read"])
    assert (claims["sub"], claims["client_id"]) == (client_id("web"), client_id("gateway"))
    assert claims["act"]["sub"] == client_id("gateway")

    order = session("order", "private_key_jwt")
    third = exchanged(
        order, second["access_token"], client_id("delivery"), subject_token_type=JWT, requested_token_type=ACCESS_TOKEN
    )
    answer = IntrospectingServer("delivery").accept(third["access_token"])
    assert answer["sub"] == client_id("web")
    assert answer["act"] == {"sub": client_id("order"), "act": claims["act"]}
    assert answer["exp"] <= claims["exp"]
    assert set(answer["scope"].split()) <= set(claims["scope"].split())

    # The token for one hop is not good for another, and exchanging it widens nothing.
    not_accepted(ResourceServer(client_id("payment")), second["access_token"])
    refused("invalid_grant", lambda: exchanged(order, first, client_id("delivery")))
    refused("invalid_scope", lambda: exchanged(order, second["access_token"], client_id("delivery"), scope="shop.admin"))
    refused("invalid_target", lambda: exchanged(order, second["access_token"], client_id("stranger")))


def transaction_tokens():
    subject = token_for(session("gateway"), client_id("order"), scope="shop.read shop.pay")["access_token"]
    answer = exchanged(
        session("order"),
        subject,
        client_id("ledger"),
        requested_token_type=TRANSACTION_TOKEN,
        scope="shop.pay",
        purpose="transfer",
        request_details='{"amount":"12.00","to":"7"}',
        request_context='{"req_ip":"203.0.113.7"}',
    )
    assert answer["issued_token_type"] == TRANSACTION_TOKEN and answer["token_type"] == "N_A"
    token = answer["access_token"]
    assert header(token)["typ"] == "txntoken+jwt"
    claims = jwt.decode(token, key_set(), algorithms=["ES256"]).claims
    assert claims["aud"] == client_id("ledger") and claims["sub"] == client_id("gateway")
    assert claims["purp"] == "transfer" and claims["txn"]
    assert claims["tctx"] == {"amount": "12.00", "to": "7"} and claims["rctx"]["req_ip"] == "203.0.113.7"
    ledger = IntrospectingServer("ledger")
    assert ledger.accept(token)["tctx"] == claims["tctx"]
    not_accepted(ledger, token)
