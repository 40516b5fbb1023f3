package ringfence

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"net/http"
	"time"
)

// Admitted is the caller of a request that was let in.
type Admitted struct {
	// SPIFFEID is who proved to be that; empty for callers without an identity.
	SPIFFEID ID
	// Claims are those of the caller's token, where one was demanded.
	Claims *Claims
	// Policy is the AccessPolicy that grants it.
	Policy string
}

type admittedKey struct{}

// AdmittedOf is the caller of the request that has this context.
func AdmittedOf(ctx context.Context) *Admitted {
	admitted, _ := ctx.Value(admittedKey{}).(*Admitted)
	return admitted
}

// Server serves a port of the pod as access.json says: TLS with the current certificate, certificates of clients as needed,
// and each request is let in or refused before it reaches the handler. Start it with ServeTLS(listener, "", "").
func (w *Workload) Server(port int, handler http.Handler) *http.Server {
	guarded := func(answer http.ResponseWriter, request *http.Request) {
		admitted, refusal := w.Delivered().Admit(port, request, time.Now())
		if refusal != nil {
			slog.Warn("refused", "port", port, "from", request.RemoteAddr, "path", request.URL.Path, "reason", refusal.Reason)
			if refusal.Status == http.StatusUnauthorized {
				answer.Header().Set("WWW-Authenticate", "Bearer")
			}
			http.Error(answer, http.StatusText(refusal.Status), refusal.Status)
			return
		}
		handler.ServeHTTP(answer, request.WithContext(context.WithValue(request.Context(), admittedKey{}, admitted)))
	}
	return &http.Server{
		Handler:           http.HandlerFunc(guarded),
		ReadHeaderTimeout: 10 * time.Second,
		TLSConfig: &tls.Config{GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			return w.Delivered().serverConfig(port), nil
		}},
	}
}

// serverConfig is made for each connection, so that the next one has what was delivered in between.
func (d *Delivered) serverConfig(port int) *tls.Config {
	config := &tls.Config{
		Certificates: []tls.Certificate{d.certificate},
		NextProtos:   []string{"h2", "http/1.1"},
		// The library verifies against one pool. We verify against the bundle of the domain that the peer names.
		ClientAuth: tls.RequireAnyClientCert,
		VerifyConnection: func(state tls.ConnectionState) error {
			if len(state.PeerCertificates) == 0 {
				return nil // Whether that may be is decided by ClientAuth, and for each request.
			}
			_, err := d.peer(state.PeerCertificates, x509.ExtKeyUsageClientAuth, time.Now())
			return err
		},
	}
	if granted := d.Access.port(port); granted != nil {
		switch granted.ClientCertificates {
		case "Optional":
			config.ClientAuth = tls.RequestClientCert
		case "None":
			config.ClientAuth = tls.NoClientCert
		}
	}
	return config
}
