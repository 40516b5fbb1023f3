package ringfence

import (
	"bytes"
	"encoding/json"
	"net/netip"
	"slices"
	"strings"
)

const accessVersion = 2

// Access is access.json, as far as this program uses it.
type Access struct {
	Version  int               `json:"version"`
	SPIFFEID ID                `json:"spiffeID"`
	Bundles  map[string]string `json:"bundles"`
	KeySets  map[ID]string     `json:"keySets"`
	Ports    []Port            `json:"ports"`
	Callees  entries[Callee]   `json:"callees"`
}

// entries are read one by one, and strictly: one with something in it that this program doesn't know is left out, so that
// what is not understood is not allowed.
type entries[E any] []E

// UnmarshalJSON leaves out what it does not understand.
func (all *entries[E]) UnmarshalJSON(text []byte) error {
	var each []json.RawMessage
	if err := json.Unmarshal(text, &each); err != nil {
		return err
	}
	for _, one := range each {
		var entry E
		decoder := json.NewDecoder(bytes.NewReader(one))
		decoder.DisallowUnknownFields()
		if decoder.Decode(&entry) == nil {
			*all = append(*all, entry)
		}
	}
	return nil
}

// Port is a port of the pod, or a range of them, with who may call there.
type Port struct {
	Range
	ClientCertificates string          `json:"clientCertificates"`
	Callers            entries[Caller] `json:"callers"`
}

// Range is a port, or a range of ports.
type Range struct {
	Port     int    `json:"port"`
	EndPort  int    `json:"endPort"`
	Protocol string `json:"protocol"`
}

func (r Range) covers(port int) bool {
	return r.Protocol == "TCP" && r.Port <= port && port <= max(r.Port, r.EndPort)
}

// Caller may call: who, with what proof, and what.
type Caller struct {
	Caller struct {
		Kind        string   `json:"kind"`
		SPIFFEID    ID       `json:"spiffeID"`
		TrustDomain string   `json:"trustDomain"`
		Namespaces  []string `json:"namespaces"`
		Selector    string   `json:"selector"`
		CIDR        string   `json:"cidr"`
		Blocks      []Block  `json:"blocks"`
	} `json:"caller"`
	Proof  Proof  `json:"proof"`
	Rules  []Rule `json:"rules"`
	Policy string `json:"policy"`
}

// Callee may be called: who, and with what proof.
type Callee struct {
	Callee struct {
		Kind        string   `json:"kind"`
		SPIFFEID    ID       `json:"spiffeID"`
		TrustDomain string   `json:"trustDomain"`
		DNSNames    []string `json:"dnsNames"`
		Namespaces  []string `json:"namespaces"`
		Selector    string   `json:"selector"`
		Blocks      []Block  `json:"blocks"`
	} `json:"callee"`
	Ports  []Range `json:"ports"`
	Proof  Proof   `json:"proof"`
	Rules  []Rule  `json:"rules"`
	Policy string  `json:"policy"`
}

// Proof is how a caller proves itself: by all that is set.
type Proof struct {
	MTLS  bool   `json:"mtls"`
	Token *Token `json:"token"`
}

// Token is what is demanded of a token.
type Token struct {
	Signer             string   `json:"signer"`
	Issuer             string   `json:"issuer"`
	KeySet             string   `json:"keySet"`
	Validation         string   `json:"validation"`
	Scopes             []string `json:"scopes"`
	OneTime            bool     `json:"oneTime"`
	Audiences          []string `json:"audiences"`
	MaxLifetimeSeconds int64    `json:"maxLifetimeSeconds"`
}

// Block is a range of addresses.
type Block struct {
	CIDR   netip.Prefix   `json:"cidr"`
	Except []netip.Prefix `json:"except"`
}

func (b Block) contains(address netip.Addr) bool {
	out := func(except netip.Prefix) bool { return except.Contains(address) }
	return b.CIDR.Contains(address) && !slices.ContainsFunc(b.Except, out)
}

func (a *Access) port(port int) *Port {
	for i := range a.Ports {
		if a.Ports[i].covers(port) {
			return &a.Ports[i]
		}
	}
	return nil
}

// callee finds who is called by a name: of several grants the one for this port, else (a Service may translate ports) the
// first.
func (a *Access) callee(name string, port int) *Callee {
	var found *Callee
	for i := range a.Callees {
		callee := &a.Callees[i]
		called := func(pattern string) bool { return standsFor(pattern, strings.ToLower(name)) }
		if callee.Callee.Kind != "Identity" || !slices.ContainsFunc(callee.Callee.DNSNames, called) {
			continue
		}
		if slices.ContainsFunc(callee.Ports, func(r Range) bool { return r.covers(port) }) {
			return callee
		}
		if found == nil {
			found = callee
		}
	}
	return found
}

// standsFor compares a name with an exact one, or with one whose first label is *, as headless Services have it.
func standsFor(pattern, name string) bool {
	if parent, found := strings.CutPrefix(pattern, "*."); found {
		label, rest, _ := strings.Cut(name, ".")
		return label != "" && rest == parent
	}
	return name == pattern
}
