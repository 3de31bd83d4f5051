package upstream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"
)

// statusError is the status of a document that is not there.
type statusError int

func (e statusError) Error() string { return fmt.Sprintf("status %d", int(e)) }

// isGone says whether a document is taken back, and not out of reach.
func isGone(err error) bool {
	var status statusError
	return errors.As(err, &status) && (status == http.StatusNotFound || status == http.StatusGone)
}

// maxDocument bounds a discovery document, in bytes.
const maxDocument = 1 << 20

// fetchTimeout bounds the fetch of one document.
const fetchTimeout = 10 * time.Second

// get fetches a JSON document of the upstream, under its public name.
func get(ctx context.Context, client http.RoundTripper, at, public *url.URL, path string) (Document, error) {
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, at.Scheme+"://"+at.Host+path, nil)
	if err != nil {
		return Document{}, err
	}
	PublicName(r, public)
	r.Header.Set("Accept", "application/json")
	r.Header.Set("Accept-Encoding", "identity")
	resp, err := client.RoundTrip(r)
	if err != nil {
		return Document{}, fmt.Errorf("%s: %w", path, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxDocument+1))
	switch {
	case err != nil:
		return Document{}, fmt.Errorf("%s: %w", path, err)
	case resp.StatusCode != http.StatusOK:
		return Document{}, fmt.Errorf("%s: %w", path, statusError(resp.StatusCode))
	case len(body) > maxDocument:
		return Document{}, fmt.Errorf("%s: longer than %d bytes", path, maxDocument)
	}
	return Document{Body: body, Header: resp.Header}, nil
}

// PublicName makes a request of the gateway's own one that was made to the
// public origin: upstreams build their links from these headers.
func PublicName(r *http.Request, public *url.URL) {
	r.Host = public.Host
	port := public.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[public.Scheme]
	}
	r.Header.Set("X-Forwarded-Proto", public.Scheme)
	r.Header.Set("X-Forwarded-Host", public.Host)
	r.Header.Set("X-Forwarded-Port", port)
	r.Header.Set("User-Agent", "ort-gateway")
}
