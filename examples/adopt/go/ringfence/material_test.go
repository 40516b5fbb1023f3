package ringfence

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"maps"
	"math/big"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"
)

const (
	order   ID = "spiffe://storefront/ns/storefront/sa/order"
	cart    ID = "spiffe://storefront/ns/storefront/sa/cart"
	payment ID = "spiffe://settlement/ns/settlement/sa/payment"
)

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

func base64url(octets []byte) string { return base64.RawURLEncoding.EncodeToString(octets) }

func pemOf(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

// authority is a CA.
type authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

func newAuthority(name string, parent *authority) *authority {
	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	template := &x509.Certificate{
		SerialNumber: must(rand.Int(rand.Reader, big.NewInt(1<<62))), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(240 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	above, signer := template, key
	if parent != nil {
		above, signer = parent.certificate, parent.key
	}
	der := must(x509.CreateCertificate(rand.Reader, template, above, key.Public(), signer))
	return &authority{must(x509.ParseCertificate(der)), key}
}

func (a *authority) pem() string { return pemOf("CERTIFICATE", a.certificate.Raw) }

// leaf makes a certificate, with its key, that ends so long from now.
func (a *authority) leaf(id ID, life time.Duration) (certificate *x509.Certificate, files map[string]string) {
	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	template := &x509.Certificate{
		SerialNumber: must(rand.Int(rand.Reader, big.NewInt(1<<62))),
		NotBefore:    time.Now().Add(-time.Hour), NotAfter: time.Now().Add(life),
		URIs: []*url.URL{must(url.Parse(string(id)))}, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}
	der := must(x509.CreateCertificate(rand.Reader, template, a.certificate, key.Public(), a.key))
	return must(x509.ParseCertificate(der)), map[string]string{
		"tls/tls.crt": pemOf("CERTIFICATE", der) + a.pem(),
		"tls/tls.key": pemOf("PRIVATE KEY", must(x509.MarshalPKCS8PrivateKey(key))),
	}
}

// list makes a revocation list that ends so long from now.
func (a *authority) list(life time.Duration, revoked ...*x509.Certificate) string {
	template := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: time.Now().Add(-time.Hour), NextUpdate: time.Now().Add(life)}
	for _, certificate := range revoked {
		entry := x509.RevocationListEntry{SerialNumber: certificate.SerialNumber, RevocationTime: time.Now()}
		template.RevokedCertificateEntries = append(template.RevokedCertificateEntries, entry)
	}
	return pemOf("X509 CRL", must(x509.CreateRevocationList(rand.Reader, template, a.certificate, a.key)))
}

func newKey(alg string) crypto.Signer {
	switch alg {
	case "ES256", "ES384":
		return must(ecdsa.GenerateKey(algorithms[alg].curve, rand.Reader))
	case "EdDSA":
		_, key, err := ed25519.GenerateKey(rand.Reader)
		return must(key, err)
	default:
		return must(rsa.GenerateKey(rand.Reader, 2048))
	}
}

// keySetOf is the key set of one signer with one key, whose kid is the name of its algorithm.
func keySetOf(id ID, alg string, key crypto.PublicKey) string {
	jwk := map[string]string{"kid": alg, "alg": alg, "use": "sig", "spiffe_id": string(id)}
	switch key := key.(type) {
	case *ecdsa.PublicKey:
		point := must(key.Bytes())[1:]
		jwk["kty"], jwk["crv"] = "EC", key.Curve.Params().Name
		jwk["x"], jwk["y"] = base64url(point[:len(point)/2]), base64url(point[len(point)/2:])
	case ed25519.PublicKey:
		jwk["kty"], jwk["crv"], jwk["x"] = "OKP", "Ed25519", base64url(key)
	case *rsa.PublicKey:
		jwk["kty"], jwk["n"], jwk["e"] = "RSA", base64url(key.N.Bytes()), base64url(big.NewInt(int64(key.E)).Bytes())
	}
	return string(must(json.Marshal(map[string]any{"keys": []any{jwk}})))
}

// access is an access.json in which some may call port 8443, and one may be called.
func access(id ID, clientCertificates string, callers []string, callee string) string {
	return fmt.Sprintf(`{"version": 2, "spiffeID": %q, "audiences": [%q], "issuers": {}, "contentHash": "x",
		"bundles": {"storefront": "bundle.storefront.pem", "settlement": "bundle.settlement.pem"},
		"keySets": {%q: "jwks.storefront.order.json"},
		"ports": [{"port": 8443, "protocol": "TCP", "clientCertificates": %q, "callers": %s}], "callees": [%s]}`,
		id, id, order, clientCertificates, jsonList(callers), callee)
}

func jsonList(items []string) string {
	raw := []json.RawMessage{}
	for _, item := range items {
		raw = append(raw, json.RawMessage(item))
	}
	return string(must(json.Marshal(raw)))
}

func identity(id ID, proof string, rules string) string {
	return fmt.Sprintf(`{"caller": {"kind": "Identity", "spiffeID": %q, "trustDomain": %q}, "proof": %s, "rules": [%s], "policy": "a/b"}`,
		id, id.TrustDomain(), proof, rules)
}

func write(t *testing.T, folder string, files ...map[string]string) string {
	t.Helper()
	all := map[string]string{}
	for _, some := range files {
		maps.Copy(all, some)
	}
	for name, content := range all {
		path := filepath.Join(folder, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return folder
}
