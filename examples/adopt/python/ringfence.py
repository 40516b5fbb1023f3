"""How a service in Python uses what Ringfence delivers to it, with the standard library alone."""

import json
import os
import re
import ssl

ID = re.compile(r"spiffe://([a-z0-9._-]+)/ns/[a-z0-9-]+/sa/[a-z0-9.-]+")


class Delivered:
    """What is mounted below a folder, as it is now. Make a new one for each connection: then renewed files are in use."""

    def __init__(self, folder):
        self.tls, self.trust = data(f"{folder}/tls"), data(f"{folder}/trust")
        with open(f"{self.trust}/access.json") as file:
            self.access = json.load(file)
        if self.access["version"] != 2:
            raise ValueError(f"access.json has version {self.access['version']}; this program knows 2")

    def context(self, purpose, trust_domain):
        """TLS with the own certificate, for peers of one trust domain."""
        context = ssl.SSLContext(purpose)
        context.check_hostname = False  # The SPIFFE ID is what counts.
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_cert_chain(f"{self.tls}/tls.crt", f"{self.tls}/tls.key")
        # The issuing CAs of the domain are the anchors, and not a root above them, which other domains may share.
        context.load_verify_locations(f"{self.trust}/{self.access['bundles'][trust_domain]}")
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        context.load_verify_locations(f"{self.trust}/crl.pem")
        context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF
        return context

    def callers(self, port):
        """Who may call a port with a certificate and nothing else, and anything there. What else access.json grants, this
        program does not understand, and takes for not allowed."""
        entries = next(granted["callers"] for granted in self.access["ports"] if granted["port"] == port)
        plain = {"caller", "proof", "rules", "policy"}
        return [
            entry["caller"] for entry in entries
            if entry.keys() <= plain and entry["caller"]["kind"] == "Identity" and entry["proof"] == {"mtls": True} and not entry["rules"]
        ]

    def callee(self, name):
        """Who is called by a DNS name."""
        return next(entry for entry in self.access["callees"] if name in entry["callee"].get("dnsNames", ()))


def data(mount):
    """The kubelet lets the link ..data point to all files of one moment."""
    link = f"{mount}/..data"
    return os.path.realpath(link) if os.path.exists(link) else mount


def peer(connection, trust_domain):
    """The SPIFFE ID of a verified peer, which must be of the domain whose CAs verified it."""
    names = [name for kind, name in connection.getpeercert().get("subjectAltName", ()) if kind == "URI"]
    found = ID.fullmatch(names[0]) if len(names) == 1 else None
    if not found or found[1] != trust_domain:
        raise ssl.SSLError(f"the peer is {names}, and was verified as one of {trust_domain}")
    return names[0]
