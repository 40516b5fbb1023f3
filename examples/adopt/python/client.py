"""Calls, and prints status and body: client.py FOLDER HOST PORT."""

import http.client
import ssl
import sys

import ringfence

folder, host, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
delivered = ringfence.Delivered(folder)
entry = delivered.callee(host)
callee, demanded, headers = entry["callee"], entry["proof"].get("token"), {}
connection = http.client.HTTPSConnection(
    host, port, context=delivered.context(ssl.PROTOCOL_TLS_CLIENT, callee["trustDomain"]), timeout=10
)
connection.connect()
if ringfence.peer(connection.sock, callee["trustDomain"]) != callee["spiffeID"]:
    raise ssl.SSLError(f"someone answers in place of {callee['spiffeID']}")
if demanded:
    import tokens  # Needs PyJWT.

    headers["Authorization"] = "Bearer " + tokens.sign(folder, delivered.access["spiffeID"], demanded)
connection.request("GET", "/", headers=headers)
answer = connection.getresponse()
print(answer.status, answer.read().decode().strip())
