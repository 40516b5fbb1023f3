package ringfence

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

func TestWhatIsNotUnderstoodIsNotAllowed(t *testing.T) {
	good := identity(order, `{"mtls": true}`, "")
	for entry, kept := range map[string]int{
		good: 1,
		identity(order, `{"mtls": true, "fingerprint": "x"}`, ""):                        0,
		identity(order, `{"mtls": true, "token": {"signer": "Caller", "bound": 1}}`, ""): 0,
		identity(order, `{"mtls": true}`, `{"hosts": ["a"]}`):                            0,
		`{"caller": {"kind": "Moon", "phase": "new"}, "proof": {"mtls": false}}`:         0,
	} {
		var read Access
		if err := json.Unmarshal([]byte(access(payment, "Required", []string{entry}, "")), &read); err != nil {
			t.Fatal(err)
		}
		if got := len(read.Ports[0].Callers); got != kept {
			t.Errorf("%s: %d entries", entry, got)
		}
	}
	files := map[string]string{"trust/access.json": `{"version": 3}`}
	if _, err := parse(files); err == nil {
		t.Error("a version that is not known was read")
	}
}

func TestCallersWithoutIdentity(t *testing.T) {
	cidr := `{"kind": "Cidr", "cidr": "192.0.2.0/24", "blocks": [{"cidr": "192.0.2.0/24", "except": ["192.0.2.128/25"]}]}`
	bare := `{"mtls": false}`
	for _, one := range []struct {
		caller, proof, from string
		admitted            bool
	}{
		{cidr, bare, "192.0.2.7:1000", true},
		{cidr, bare, "[::ffff:192.0.2.7]:1000", true},
		{cidr, bare, "192.0.2.200:1000", false},
		{cidr, bare, "198.51.100.1:1000", false},
		{`{"kind": "Anywhere"}`, bare, "198.51.100.1:1000", true},
		{`{"kind": "Pods", "namespaces": ["monitoring"], "selector": ""}`, bare, "198.51.100.1:1000", true},
		{`{"kind": "Moon"}`, bare, "198.51.100.1:1000", false},
		{`{"kind": "Identity", "spiffeID": "spiffe://a/ns/b/sa/c", "trustDomain": "a"}`, bare, "198.51.100.1:1000", false},
		{`{"kind": "TrustDomain", "trustDomain": ""}`, `{"mtls": true}`, "198.51.100.1:1000", false},
		{`{"kind": "Anywhere"}`, `{"mtls": false, "token": {"signer": "Issuer", "issuer": "https://a", "audiences": []}}`, "198.51.100.1:1000", false},
	} {
		entry := fmt.Sprintf(`{"caller": %s, "proof": %s, "rules": []}`, one.caller, one.proof)
		delivered := new(Delivered)
		if err := json.Unmarshal([]byte(access(payment, "None", []string{entry}, "")), &delivered.Access); err != nil {
			t.Fatal(err)
		}
		request := httptest.NewRequest("GET", "/", nil)
		request.RemoteAddr = one.from
		if _, refusal := delivered.Admit(8443, request, time.Now()); (refusal == nil) != one.admitted {
			t.Errorf("%s from %s: %+v", one.caller, one.from, refusal)
		}
		if _, refusal := delivered.Admit(9090, request, time.Now()); refusal == nil {
			t.Errorf("%s: a port that is not listed", one.caller)
		}
	}
}

func TestRules(t *testing.T) {
	http1 := Rule{Methods: []string{"GET"}, Paths: []string{"/orders", "/orders/*"}}
	grpc := Rule{GRPCService: "shop.Payment", GRPCMethods: []string{"Charge"}}
	for _, one := range []struct {
		rules        []Rule
		method, path string
		allowed      bool
	}{
		{nil, "DELETE", "/a//../b", true},
		{[]Rule{http1}, "GET", "/orders", true},
		{[]Rule{http1}, "GET", "/orders/7", true},
		{[]Rule{http1}, "GET", "/orders/", true},
		{[]Rule{http1}, "POST", "/orders/7", false},
		{[]Rule{http1}, "GET", "/ordersX", false},
		{[]Rule{http1}, "GET", "/orders/../admin", false},
		{[]Rule{http1}, "GET", "/orders/%2e%2e/admin", false},
		{[]Rule{http1}, "GET", "/orders/a%2Fb", false},
		{[]Rule{http1}, "GET", "/orders/%5c..%5cadmin", false},
		{[]Rule{http1}, "GET", `/orders/\..\admin`, false},
		{[]Rule{http1}, "GET", "/orders//b", false},
		{[]Rule{http1, grpc}, "POST", "/shop.Payment/Charge", true},
		{[]Rule{grpc}, "POST", "/shop.Payment/Refund", false},
		{[]Rule{grpc}, "GET", "/shop.Payment/Charge", false},
		{[]Rule{{GRPCService: "shop.Payment"}}, "POST", "/shop.Payment/Refund", true},
	} {
		request := must(http.NewRequest(one.method, "https://a"+one.path, nil))
		if allowed(one.rules, request) != one.allowed {
			t.Errorf("%s %s", one.method, one.path)
		}
	}
}

func TestNames(t *testing.T) {
	for _, one := range []struct {
		pattern, name string
		stands        bool
	}{
		{"order.storefront.svc", "order.storefront.svc", true},
		{"order.storefront.svc", "evil.order.storefront.svc", false},
		{"*.order.storefront.svc", "order-0.order.storefront.svc", true},
		{"*.order.storefront.svc", "a.b.order.storefront.svc", false},
		{"*.order.storefront.svc", ".order.storefront.svc", false},
		{"*.order.storefront.svc", "order.storefront.svc", false},
	} {
		if standsFor(one.pattern, one.name) != one.stands {
			t.Errorf("%s and %s", one.pattern, one.name)
		}
	}
}
