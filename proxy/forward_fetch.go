package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
)

// fetched is an answer read to its end.
type fetched struct {
	Status  int
	Header  http.Header // without hop-by-hop fields
	Trailer http.Header
	Body    []byte
}

var errAnswerTooLarge = errors.New("answer of the upstream is too large")

// fetch sends out and reads the whole answer, at most limit bytes of body. ctx ends
// it. Interim answers are dropped.
func (f *forwarder) fetch(ctx context.Context, out *http.Request, limit int64) (*fetched, error) {
	if b, ok := out.Body.(*requestBody); ok {
		defer b.end()
	}
	res, err := f.transport.RoundTrip(out.WithContext(ctx))
	if err != nil {
		return nil, fmt.Errorf("asking the upstream: %w", err)
	}
	defer res.Body.Close()
	if res.StatusCode == http.StatusSwitchingProtocols {
		return nil, errors.New("upstream switched protocols unasked")
	}
	cleanResponse(res)
	body, err := readLimited(res, limit)
	if err != nil {
		return nil, fmt.Errorf("reading the answer of the upstream: %w", err)
	}
	return &fetched{Status: res.StatusCode, Header: res.Header, Trailer: res.Trailer, Body: body}, nil
}

func readLimited(res *http.Response, limit int64) ([]byte, error) {
	if res.Request != nil && res.Request.Method == http.MethodHead {
		return nil, nil
	}
	if res.ContentLength > limit {
		return nil, errAnswerTooLarge
	}
	if res.ContentLength >= 0 {
		body := make([]byte, res.ContentLength)
		_, err := io.ReadFull(res.Body, body)
		return body, err
	}
	body, err := io.ReadAll(io.LimitReader(res.Body, limit+1))
	if err == nil && int64(len(body)) > limit {
		err = errAnswerTooLarge
	}
	return body, err
}

// writeTo answers w with the fetched status and header, and body in place of
// the upstream's, with its length. Fields that w has already stay.
func (a *fetched) writeTo(w http.ResponseWriter, body []byte) {
	h := w.Header()
	addFields(h, a.Header)
	if a.Status == http.StatusNoContent || a.Status == http.StatusNotModified {
		delete(h, "Content-Length")
	} else {
		h["Content-Length"] = []string{strconv.Itoa(len(body))}
	}
	nothingGuessed(h)
	w.WriteHeader(a.Status)
	_, _ = w.Write(body) // an error means that the client has left
}
