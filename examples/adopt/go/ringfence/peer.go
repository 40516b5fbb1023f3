package ringfence

import (
	"bytes"
	"crypto/x509"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"time"
)

// ID is a SPIFFE ID: spiffe://<trust domain>/ns/<namespace>/sa/<service account>.
type ID string

var idForm = regexp.MustCompile(`^spiffe://([a-z0-9._-]+)/ns/[a-z0-9-]+/sa/[a-z0-9.-]+$`)

// TrustDomain is the trust domain that the ID names, or nothing if it has not the form that Ringfence gives.
func (id ID) TrustDomain() string {
	if parts := idForm.FindStringSubmatch(string(id)); parts != nil {
		return parts[1]
	}
	return ""
}

// peer verifies the certificates that a peer shows: they chain to the bundle of the trust domain that the peer's SPIFFE ID
// names, and none is revoked. A chain to a shared root would not do: every sibling domain has one. Whether that peer may
// call, or is the one that was called, is not decided here.
func (d *Delivered) peer(shown []*x509.Certificate, usage x509.ExtKeyUsage, now time.Time) (ID, error) {
	if len(shown) == 0 {
		return "", errors.New("the peer shows no certificate")
	}
	if len(shown[0].URIs) != 1 {
		return "", errors.New("the peer's certificate has no SPIFFE ID, or more than one")
	}
	id := ID(shown[0].URIs[0].String())
	bundle := d.bundles[id.TrustDomain()]
	if bundle == nil {
		return "", fmt.Errorf("%q is of no trust domain that was delivered", id)
	}
	intermediates := x509.NewCertPool()
	for _, certificate := range shown[1:] {
		intermediates.AddCert(certificate)
	}
	options := x509.VerifyOptions{
		Roots: bundle, Intermediates: intermediates, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{usage},
	}
	chains, err := shown[0].Verify(options)
	if err != nil {
		return "", fmt.Errorf("the certificate of %s: %w", id, err)
	}
	for _, chain := range chains {
		if err = d.notRevoked(chain, now); err == nil {
			return id, nil
		}
	}
	return "", fmt.Errorf("the certificate of %s: %w", id, err)
}

// notRevoked looks for each certificate below the anchor on the lists of the one that issued it. A CA that can't sign lists
// has none; a list that is past its time proves nothing, so that nothing passes by it.
func (d *Delivered) notRevoked(chain []*x509.Certificate, now time.Time) error {
	for i, certificate := range chain[:len(chain)-1] {
		issuer := chain[i+1]
		for _, list := range d.lists {
			if !bytes.Equal(list.RawIssuer, issuer.RawSubject) || list.CheckSignatureFrom(issuer) != nil {
				continue
			}
			if now.After(list.NextUpdate) {
				return fmt.Errorf("the revocation list of %s has been out of date since %s", issuer.Subject, list.NextUpdate)
			}
			revoked := func(entry x509.RevocationListEntry) bool {
				return entry.SerialNumber.Cmp(certificate.SerialNumber) == 0
			}
			if slices.ContainsFunc(list.RevokedCertificateEntries, revoked) {
				return errors.New("it is revoked")
			}
		}
	}
	return nil
}
