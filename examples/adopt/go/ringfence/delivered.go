package ringfence

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
)

// Delivered is what Ringfence delivered at one time. It never changes; Workload has the one that is current.
type Delivered struct {
	Access      Access
	certificate tls.Certificate
	bundles     map[string]*x509.CertPool // by trust domain
	lists       []*x509.RevocationList
	keySets     map[string]keySet // by name of the file
	signer      *signer           // nil for a service that signs no tokens
}

func parse(files map[string]string) (*Delivered, error) {
	d := &Delivered{bundles: map[string]*x509.CertPool{}, keySets: map[string]keySet{}}
	if err := json.Unmarshal([]byte(files["trust/access.json"]), &d.Access); err != nil {
		return nil, fmt.Errorf("access.json: %w", err)
	}
	if d.Access.Version != accessVersion {
		return nil, fmt.Errorf("access.json has version %d; this program knows %d", d.Access.Version, accessVersion)
	}
	var err error
	d.certificate, err = tls.X509KeyPair([]byte(files["tls/tls.crt"]), []byte(files["tls/tls.key"]))
	if err != nil {
		return nil, fmt.Errorf("tls.crt and tls.key: %w", err)
	}
	for trustDomain, file := range d.Access.Bundles {
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM([]byte(files["trust/"+file])) {
			return nil, fmt.Errorf("%s holds no certificate", file)
		}
		d.bundles[trustDomain] = pool
	}
	if d.lists, err = parseLists(files["trust/crl.pem"]); err != nil {
		return nil, fmt.Errorf("crl.pem: %w", err)
	}
	for _, file := range d.Access.KeySets {
		if d.keySets[file], err = parseKeySet(files["trust/"+file]); err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
	}
	if private, found := files["signing-key/private.pem"]; found {
		if d.signer, err = parseSigner(private, files["signing-key/kid"]); err != nil {
			return nil, fmt.Errorf("private.pem: %w", err)
		}
	}
	return d, nil
}

func parseLists(text string) (lists []*x509.RevocationList, err error) {
	for block, rest := pem.Decode([]byte(text)); block != nil; block, rest = pem.Decode(rest) {
		list, err := x509.ParseRevocationList(block.Bytes)
		if err != nil {
			return nil, err
		}
		lists = append(lists, list)
	}
	return lists, nil
}
