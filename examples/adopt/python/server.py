"""Answers with who called: server.py FOLDER PORT LISTEN, where PORT is that of access.json."""

import http.server
import json
import ssl
import sys

import ringfence

folder, port, listen = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])


class Handler(http.server.BaseHTTPRequestHandler):
    def setup(self):  # Runs in the connection's own thread.
        delivered = ringfence.Delivered(folder)
        self.callers = delivered.callers(port)
        # All callers of this port are of one trust domain.
        [trust_domain] = {caller["trustDomain"] for caller in self.callers}
        self.request.settimeout(10)
        context = delivered.context(ssl.PROTOCOL_TLS_SERVER, trust_domain)
        self.request = context.wrap_socket(self.request, server_side=True)
        self.caller = ringfence.peer(self.request, trust_domain)
        super().setup()

    def do_GET(self):
        if all(self.caller != caller["spiffeID"] for caller in self.callers):
            self.send_error(403)
            return
        body = json.dumps({"caller": self.caller}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


server = http.server.ThreadingHTTPServer(("127.0.0.1", listen), Handler)
print("serves", server.server_address[1], flush=True)
server.serve_forever()
