// Package ringfence is how a service in Go uses what Ringfence delivers to it, with the standard library alone: it follows
// the mounted files, serves and calls with mutual TLS, signs tokens and verifies those of callers, and lets in who is in
// access.json.
package ringfence

import (
	"context"
	"maps"
	"sync/atomic"
	"time"
)

// Workload is this service: what was delivered to it, as it is now.
type Workload struct {
	folder  string
	files   map[string]string
	current atomic.Pointer[Delivered]
}

// Open reads the files below a folder: tls (the Secret <identity>-tls), trust (the ConfigMap <identity>-trust) and, for a
// service that signs tokens, signing-key (the Secret <identity>-signing-key).
func Open(folder string) (*Workload, error) {
	w := &Workload{folder: folder}
	_, err := w.reload()
	return w, err
}

// Delivered is what was last read without fault.
func (w *Workload) Delivered() *Delivered { return w.current.Load() }

// Follow reads the files again and again, until the context ends, and tells of each change that was taken up, or why it
// could not be: then what was read before stays in use.
func (w *Workload) Follow(ctx context.Context, every time.Duration, tell func(error)) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(every):
			if changed, err := w.reload(); changed || err != nil {
				tell(err)
			}
		}
	}
}

func (w *Workload) reload() (changed bool, err error) {
	files, err := readFiles(w.folder)
	if err != nil || maps.Equal(files, w.files) {
		return false, err
	}
	delivered, err := parse(files)
	if err != nil {
		return false, err
	}
	w.files = files
	w.current.Store(delivered)
	return true, nil
}
