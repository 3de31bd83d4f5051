package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
)

// recorder stands between the gateway and Keycloak. It changes nothing, notes what passes and can lose answers.
type recorder struct {
	*httptest.Server
	st *stack

	mu             sync.Mutex
	authorizations []url.Values // parameters of authorization and pushed requests
	calls          []tokenCall
	leaks          []string
	lose           int   // so many answers of the token endpoint do not reach the gateway
	held           *held // holds the next of them
}

// tokenCall is a request at a realm's token endpoint.
type tokenCall struct {
	form         url.Values
	proofs       []string
	status       int
	accessToken  string
	refreshToken string
}

func startRecorder(t *testing.T, upstream string, st *stack) *recorder {
	t.Helper()
	target, err := url.Parse(upstream)
	if err != nil {
		t.Fatal(err)
	}
	rec := &recorder{st: st}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.DisableCompression, transport.MaxIdleConnsPerHost = true, 100
	proxy := &httputil.ReverseProxy{
		Transport: transport,
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL.Scheme, r.Out.URL.Host, r.Out.URL.RawQuery = target.Scheme, target.Host, r.In.URL.RawQuery
			r.Out.Host = r.In.Host
			for name, values := range r.In.Header {
				if strings.HasPrefix(name, "X-Forwarded-") {
					r.Out.Header[name] = values
				}
			}
		},
		ModifyResponse: rec.answer,
		ErrorHandler:   func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
	}
	rec.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		form := rec.request(r, string(body))
		proxy.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), formKey{}, form)))
	}))
	t.Cleanup(func() {
		rec.Close()
		transport.CloseIdleConnections()
		for _, leak := range rec.leaks {
			t.Errorf("the upstream saw what is the gateway's own: %s", leak)
		}
	})
	return rec
}

// request notes a request and returns its body as a form.
func (rec *recorder) request(r *http.Request, body string) url.Values {
	rec.mu.Lock()
	defer rec.mu.Unlock()
	for _, c := range r.Cookies() {
		if c.Name == "ort" || c.Name == "__Host-ort" {
			rec.leaks = append(rec.leaks, r.URL.Path+": the browser cookie")
		}
	}
	sent := r.URL.RawQuery + " " + body + " " + r.Header.Get("Authorization")
	for _, own := range []string{"ORT1.", "online_access"} {
		if strings.Contains(sent, own) {
			rec.leaks = append(rec.leaks, r.URL.Path+": "+own)
		}
	}
	form, _ := url.ParseQuery(body)
	switch {
	case strings.HasSuffix(r.URL.Path, "/protocol/openid-connect/auth") && r.Method == http.MethodGet:
		rec.authorizations = append(rec.authorizations, r.URL.Query())
	case strings.HasSuffix(r.URL.Path, "/protocol/openid-connect/auth"), strings.HasSuffix(r.URL.Path, "/ext/par/request"):
		rec.authorizations = append(rec.authorizations, form)
	}
	return form
}

// formKey is the context key of a request's form.
type formKey struct{}

// answer notes an answer; an error in its place makes the gateway see a broken connection.
func (rec *recorder) answer(resp *http.Response) error {
	if !strings.HasSuffix(strings.TrimSuffix(resp.Request.URL.Path, "/"), "/protocol/openid-connect/token") || resp.Request.Method != http.MethodPost {
		return nil
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	resp.Body = io.NopCloser(bytes.NewReader(body))
	call := tokenCall{proofs: resp.Request.Header.Values("DPoP"), status: resp.StatusCode}
	var got struct {
		AccessToken  string `json:"access_token"`
		RefreshToken string `json:"refresh_token"`
	}
	_ = json.Unmarshal(body, &got)
	call.accessToken, call.refreshToken = got.AccessToken, got.RefreshToken
	rec.st.secret(got.AccessToken, got.RefreshToken)
	rec.mu.Lock()
	defer rec.mu.Unlock()
	if form, ok := resp.Request.Context().Value(formKey{}).(url.Values); ok {
		call.form = form
	}
	rec.calls = append(rec.calls, call)
	if h := rec.held; h != nil {
		rec.held = nil
		rec.mu.Unlock()
		close(h.seen)
		<-h.release
		rec.mu.Lock()
	}
	if rec.lose > 0 {
		rec.lose--
		return errors.New("lost")
	}
	return nil
}

// loseAnswers makes the next answers of the token endpoint break off.
func (rec *recorder) loseAnswers(n int) {
	rec.mu.Lock()
	defer rec.mu.Unlock()
	rec.lose = n
}

// held is an answer that Keycloak has given and the gateway has not got yet.
type held struct{ seen, release chan struct{} }

// holdAnswer holds the next answer of the token endpoint until it is released.
func (rec *recorder) holdAnswer() *held {
	h := &held{seen: make(chan struct{}), release: make(chan struct{})}
	rec.mu.Lock()
	defer rec.mu.Unlock()
	rec.held = h
	return h
}

// issued lists every refresh token that Keycloak has issued.
func (rec *recorder) issued() []string {
	rec.mu.Lock()
	defer rec.mu.Unlock()
	var tokens []string
	for _, c := range rec.calls {
		if c.refreshToken != "" {
			tokens = append(tokens, c.refreshToken)
		}
	}
	return tokens
}

// tokenCalls returns the requests at the token endpoint so far.
func (rec *recorder) tokenCalls() []tokenCall {
	rec.mu.Lock()
	defer rec.mu.Unlock()
	return slices.Clone(rec.calls)
}

// lastAuthorization returns the parameters of the newest authorization or pushed request.
func (rec *recorder) lastAuthorization(t *testing.T) url.Values {
	t.Helper()
	rec.mu.Lock()
	defer rec.mu.Unlock()
	if len(rec.authorizations) == 0 {
		t.Fatal("no authorization request reached Keycloak")
	}
	return rec.authorizations[len(rec.authorizations)-1]
}
