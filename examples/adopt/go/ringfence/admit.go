package ringfence

import (
	"crypto/x509"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// Refusal is why a request is not let in.
type Refusal struct {
	// Status is what the caller is told: 401 where a token is missing or not good, 403 for everything else.
	Status int
	// Reason is for the log alone.
	Reason string
}

// Admit decides on one request, by what was delivered: so one on a connection that has been open for long is refused too,
// when its caller is no longer granted or its certificate is revoked.
func (d *Delivered) Admit(port int, r *http.Request, now time.Time) (*Admitted, *Refusal) {
	granted := d.Access.port(port)
	if granted == nil {
		return nil, &Refusal{http.StatusForbidden, "nobody may call this port"}
	}
	var peer ID
	if r.TLS != nil && len(r.TLS.PeerCertificates) > 0 {
		var err error
		if peer, err = d.peer(r.TLS.PeerCertificates, x509.ExtKeyUsageClientAuth, now); err != nil {
			return nil, &Refusal{http.StatusForbidden, err.Error()}
		}
	}
	token := bearer(r)
	signer := claimedIssuer(token)
	refusal := &Refusal{http.StatusForbidden, fmt.Sprintf("access.json is not about the certificate of %q", peer)}
	for _, entry := range granted.Callers {
		if !entry.concerns(peer, r.RemoteAddr) {
			continue
		}
		admitted := &Admitted{SPIFFEID: entry.Caller.SPIFFEID, Policy: entry.Policy}
		if entry.Caller.Kind == "TrustDomain" {
			admitted.SPIFFEID = peer
		}
		if demanded := entry.Proof.Token; demanded != nil {
			if signer != entry.Caller.SPIFFEID {
				if refusal.Status == http.StatusForbidden {
					refusal = &Refusal{http.StatusUnauthorized, fmt.Sprintf("access.json is not about a token of %q", signer)}
				}
				continue
			}
			var err error
			if admitted.Claims, err = d.verify(token, entry.Caller.SPIFFEID, demanded, now); err != nil {
				refusal = &Refusal{http.StatusUnauthorized, err.Error()}
				continue
			}
		}
		if !allowed(entry.Rules, r) {
			refusal = &Refusal{http.StatusForbidden, fmt.Sprintf("%s has no rule for it", entry.Policy)}
			continue
		}
		return admitted, nil
	}
	return nil, refusal
}

// concerns says whether an entry is about who calls. Who proves itself by a token shows it there.
func (c *Caller) concerns(peer ID, address string) bool {
	if c.Proof.Token != nil && c.Proof.Token.Signer != "Caller" {
		return false // Tokens of issuers are not verified here: nobody is let in by one.
	}
	switch c.Caller.Kind {
	case "Identity":
		return !c.bare() && (!c.Proof.MTLS || peer == c.Caller.SPIFFEID)
	case "TrustDomain":
		return c.Proof.MTLS && c.Proof.Token == nil && peer != "" && peer.TrustDomain() == c.Caller.TrustDomain
	case "Cidr":
		from, err := netip.ParseAddrPort(address)
		inside := func(block Block) bool { return block.contains(from.Addr().Unmap()) }
		return err == nil && c.bare() && slices.ContainsFunc(c.Caller.Blocks, inside)
	case "Anywhere", "Pods", "KubernetesAPI":
		// Pods and the API server are told from others by the NetworkPolicy alone, which let them through to here.
		return c.bare()
	}
	return false
}

// bare says that nothing is to be proved.
func (c *Caller) bare() bool { return !c.Proof.MTLS && c.Proof.Token == nil }

// bearer is the token that a request brings: one, or none.
func bearer(r *http.Request) string {
	values := r.Header.Values("Authorization")
	if len(values) != 1 {
		return ""
	}
	scheme, token, _ := strings.Cut(values[0], " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return token
}
