package ringfence

import (
	"context"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"
)

const paymentCallee = `{"callee": {"kind": "Identity", "spiffeID": "spiffe://settlement/ns/settlement/sa/payment",
	"trustDomain": "settlement", "dnsNames": ["payment.settlement.svc"]}, "ports": [{"port": 8443, "protocol": "TCP"}],
	"proof": {"mtls": true}, "rules": []}`

// start serves until the test ends; what comes back calls it.
func start(t *testing.T, server, client *Workload) func() (int, error) {
	listener := must(net.Listen("tcp", "127.0.0.1:0"))
	serving := server.Server(8443, http.HandlerFunc(func(answer http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(answer, string(AdmittedOf(r.Context()).SPIFFEID))
	}))
	serving.ErrorLog = log.New(io.Discard, "", 0)
	go func() { _ = serving.ServeTLS(listener, "", "") }()
	t.Cleanup(func() { _ = serving.Close() })
	caller := client.Client(func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, listener.Addr().String())
	})
	return func() (int, error) {
		response, err := caller.Get("https://payment.settlement.svc/")
		if err != nil {
			return 0, err
		}
		defer response.Body.Close()
		_, err = io.Copy(io.Discard, response.Body)
		return response.StatusCode, err
	}
}

func TestPeersAreVerifiedByTheDomainThatTheyName(t *testing.T) {
	root := newAuthority("root", nil)
	storefront, settlement := newAuthority("storefront", root), newAuthority("settlement", root)
	leaf, goodClient := storefront.leaf(order, time.Hour)
	_, goodServer := settlement.leaf(payment, time.Hour)
	files := func(issuer *authority, id ID, life time.Duration) map[string]string {
		_, files := issuer.leaf(id, life)
		return files
	}
	noList, refused := map[string]string{}, 0
	for name, one := range map[string]struct {
		client, server, more map[string]string
		status               int
	}{
		"members":                                {goodClient, goodServer, noList, 200},
		"a client that is not in access.json":    {files(storefront, cart, time.Hour), goodServer, noList, 403},
		"a client of a sibling domain":           {files(settlement, order, time.Hour), goodServer, noList, refused},
		"a client of the root itself":            {files(root, order, time.Hour), goodServer, noList, refused},
		"a client that has expired":              {files(storefront, order, -time.Second), goodServer, noList, refused},
		"a client of a domain that is not known": {files(storefront, "spiffe://moon/ns/a/sa/b", time.Hour), goodServer, noList, refused},
		"a client without a SPIFFE ID":           {files(storefront, "https://order", time.Hour), goodServer, noList, refused},
		"a server of a sibling domain":           {goodClient, files(storefront, payment, time.Hour), noList, refused},
		"a server that is another":               {goodClient, files(settlement, "spiffe://settlement/ns/settlement/sa/delivery", time.Hour), noList, refused},
		"a list without the client":              {goodClient, goodServer, map[string]string{"trust/crl.pem": storefront.list(time.Hour)}, 200},
		"a client that is revoked":               {goodClient, goodServer, map[string]string{"trust/crl.pem": storefront.list(time.Hour, leaf)}, refused},
		"a list that is out of date":             {goodClient, goodServer, map[string]string{"trust/crl.pem": storefront.list(-time.Second)}, refused},
		"a list of another domain says nothing":  {goodClient, goodServer, map[string]string{"trust/crl.pem": newAuthority("storefront", nil).list(time.Hour, leaf)}, 200},
	} {
		t.Run(name, func(t *testing.T) {
			trust := map[string]string{
				"trust/bundle.storefront.pem": storefront.pem(), "trust/bundle.settlement.pem": settlement.pem(),
				"trust/jwks.storefront.order.json": `{"keys": []}`,
			}
			callers := []string{identity(order, `{"mtls": true}`, "")}
			server := must(Open(write(t, t.TempDir(), trust, one.server, one.more,
				map[string]string{"trust/access.json": access(payment, "Required", callers, "")})))
			client := must(Open(write(t, t.TempDir(), trust, one.client,
				map[string]string{"trust/access.json": access(order, "Required", nil, paymentCallee)})))
			status, err := start(t, server, client)()
			if status != one.status || (err == nil) != (one.status != refused) {
				t.Errorf("%d, %v", status, err)
			}
		})
	}
}

// A kubelet writes a new folder and lets ..data point there.
func TestWhatTheKubeletSwapsIsTakenUp(t *testing.T) {
	issuer, folder := newAuthority("storefront", nil), t.TempDir()
	deliver := func(generation string, files map[string]string) {
		write(t, filepath.Join(folder, "tls", generation), map[string]string{"tls.crt": files["tls/tls.crt"], "tls.key": files["tls/tls.key"]})
		link := filepath.Join(folder, "tls", "..data")
		if err := os.Symlink(generation, link+"_tmp"); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(link+"_tmp", link); err != nil {
			t.Fatal(err)
		}
	}
	write(t, folder, map[string]string{
		"trust/access.json": access(order, "Required", nil, ""), "trust/jwks.storefront.order.json": `{"keys": []}`,
		"trust/bundle.storefront.pem": issuer.pem(), "trust/bundle.settlement.pem": issuer.pem(),
	})
	_, first := issuer.leaf(order, time.Hour)
	deliver("..1", first)
	workload := must(Open(folder))
	told := make(chan error)
	go workload.Follow(t.Context(), time.Millisecond, func(err error) {
		select {
		case told <- err:
		case <-t.Context().Done():
		}
	})

	before := workload.Delivered()
	deliver("..2", map[string]string{"tls/tls.crt": "half", "tls/tls.key": first["tls/tls.key"]})
	if err := <-told; err == nil || workload.Delivered() != before {
		t.Fatalf("a file that can't be used was used: %v", err)
	}
	second, files := issuer.leaf(order, time.Hour)
	deliver("..3", files)
	for err := range told {
		if err == nil {
			break
		}
	}
	if string(workload.Delivered().certificate.Certificate[0]) != string(second.Raw) {
		t.Error("the renewed certificate is not in use")
	}
}
