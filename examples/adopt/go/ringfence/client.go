package ringfence

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// Dial opens a connection to an address, as net.Dialer.DialContext does.
type Dial func(ctx context.Context, network, address string) (net.Conn, error)

// Client calls those whom access.json names, by their DNS names: it verifies that the server is that service, shows the
// own certificate, and adds the token that is demanded. It calls nobody else.
func (w *Workload) Client(dial Dial) *http.Client {
	return &http.Client{Transport: &transport{workload: w, dial: dial}, Timeout: 30 * time.Second}
}

type onBehalfOfKey struct{}

// OnBehalfOf says for which user requests with this context are, as JSON: it becomes the claim "obo" of the token.
func OnBehalfOf(ctx context.Context, user json.RawMessage) context.Context {
	return context.WithValue(ctx, onBehalfOfKey{}, user)
}

// transport has one inner transport for what was delivered at one time: when something else is, new connections are
// opened, with the new certificate.
type transport struct {
	workload *Workload
	dial     Dial
	mutex    sync.Mutex
	of       *Delivered
	inner    *http.Transport
}

func (t *transport) current() (*Delivered, *http.Transport) {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	if delivered := t.workload.Delivered(); t.of != delivered {
		if t.inner != nil {
			t.inner.CloseIdleConnections()
		}
		t.of = delivered
		t.inner = &http.Transport{
			DialContext: t.dial, TLSClientConfig: delivered.clientConfig(), ForceAttemptHTTP2: true, IdleConnTimeout: time.Minute,
		}
	}
	return t.of, t.inner
}

// RoundTrip calls a callee.
func (t *transport) RoundTrip(request *http.Request) (*http.Response, error) {
	delivered, inner := t.current()
	if request.URL.Scheme != "https" {
		return nil, fmt.Errorf("%s: services are called by https", request.URL)
	}
	port, _ := strconv.Atoi(request.URL.Port())
	name := request.URL.Hostname()
	callee := delivered.Access.callee(name, port)
	if callee == nil {
		return nil, fmt.Errorf("%s is no callee in access.json: an AccessPolicy of the callee must grant it", name)
	}
	if demanded := callee.Proof.Token; demanded != nil {
		user, _ := request.Context().Value(onBehalfOfKey{}).(json.RawMessage)
		token, err := delivered.token(demanded, name, user, time.Now())
		if err != nil {
			return nil, fmt.Errorf("call %s: %w", callee.Callee.SPIFFEID, err)
		}
		request = request.Clone(request.Context())
		request.Header.Set("Authorization", "Bearer "+token)
	}
	return inner.RoundTrip(request)
}

func (d *Delivered) clientConfig() *tls.Config {
	return &tls.Config{
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &d.certificate, nil },
		// The library would verify a name against one pool. We verify the SPIFFE ID, against the bundle of its domain.
		InsecureSkipVerify: true,
		VerifyConnection: func(state tls.ConnectionState) error {
			id, err := d.peer(state.PeerCertificates, x509.ExtKeyUsageServerAuth, time.Now())
			if err != nil {
				return err
			}
			if callee := d.Access.callee(state.ServerName, 0); callee == nil || callee.Callee.SPIFFEID != id {
				return fmt.Errorf("%s answers in place of %s", id, state.ServerName)
			}
			return nil
		},
	}
}
