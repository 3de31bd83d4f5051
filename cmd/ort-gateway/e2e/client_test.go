package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"testing"
)

// browser is a user agent: its cookies, and no redirects followed by themselves.
type browser struct {
	*http.Client
	forms int // login forms that were filled in
}

func (st *stack) browser() *browser {
	jar, err := cookiejar.New(nil)
	if err != nil {
		panic(err)
	}
	return &browser{Client: &http.Client{
		Transport: st.http, Jar: jar, Timeout: requestTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// app is one client program in one browser.
type app struct {
	st           *stack
	browser      *browser
	id, secret   string
	redirectURI  string
	scope        string
	key          *proofKey // nil: no proofs
	nonce        string
	ort          string
	user         string
	noRetry      bool // use_dpop_nonce is an answer like any other
	mode         string
	viaPAR       bool
	viaPOST      bool
	lastVerifier string
	header       http.Header // of each token, revocation and session request, beside what belongs there
}

// app makes a client program; with a nil browser in a new one.
func (st *stack) app(id string, b *browser) *app {
	if b == nil {
		b = st.browser()
	}
	for _, c := range st.clients {
		if c.ID == id {
			a := &app{st: st, browser: b, id: id, secret: c.Secret, redirectURI: c.RedirectURIs[0], scope: "openid profile online_access", user: "alice"}
			if c.Secret == "" {
				a.key = newProofKey()
			}
			return a
		}
	}
	panic("no client " + id)
}

// answer is an answer of a token, revocation or session endpoint.
type answer struct {
	what         string
	status       int
	header       http.Header
	body         []byte
	members      map[string]json.RawMessage
	offline      bool     // the request asked for no ORT: a refresh token of the upstream is right
	AccessToken  string   `json:"access_token"`
	RefreshToken string   `json:"refresh_token"`
	IDToken      string   `json:"id_token"`
	TokenType    string   `json:"token_type"`
	Scope        string   `json:"scope"`
	Error        string   `json:"error"`
	Description  string   `json:"error_description"`
	Idle         *float64 `json:"session_idle_expires_in"`
	Absolute     *float64 `json:"session_expires_in"`
}

func (a *answer) String() string {
	return fmt.Sprintf("%s: %d %s %s", a.what, a.status, a.Error, a.Description)
}

// authorizationRequest returns the parameters of a new authorization request and remembers its verifier.
func (a *app) authorizationRequest(extra url.Values) url.Values {
	a.lastVerifier = random(32)
	a.st.secret(a.lastVerifier)
	q := url.Values{
		"client_id": {a.id}, "redirect_uri": {a.redirectURI}, "response_type": {"code"}, "scope": {a.scope},
		"state": {random(12)}, "nonce": {random(12)}, "code_challenge": {hash64(a.lastVerifier)}, "code_challenge_method": {"S256"},
	}
	if !strings.Contains(a.scope, "openid") {
		q.Del("nonce")
	}
	if a.mode != "" {
		q.Set("response_mode", a.mode)
	}
	for k, v := range extra {
		q[k] = v
	}
	return q
}

// authorize walks through an authorization request, logging in where a form is shown, and returns what reached the client.
func (a *app) authorize(q url.Values) (url.Values, error) {
	if a.viaPAR {
		pushed, err := a.push(q)
		if err != nil {
			return nil, err
		}
		q = url.Values{"client_id": {a.id}, "request_uri": {pushed}}
	}
	if a.viaPOST {
		req, err := http.NewRequest(http.MethodPost, a.st.metadata.Authorization, strings.NewReader(q.Encode()))
		if err != nil {
			return nil, err
		}
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		return a.walkFrom(req)
	}
	return a.walk(a.st.metadata.Authorization + "?" + q.Encode())
}

func (a *app) walk(next string) (url.Values, error) {
	req, err := http.NewRequest(http.MethodGet, next, nil)
	if err != nil {
		return nil, err
	}
	return a.walkFrom(req)
}

func (a *app) walkFrom(req *http.Request) (url.Values, error) {
	for range 20 {
		resp, err := a.browser.Do(req)
		if err != nil {
			return nil, err
		}
		body := readAll(resp.Body)
		resp.Body.Close()
		for _, c := range resp.Cookies() {
			// oidc-provider's interaction cookies are part of its paths, too.
			if len(c.Value) > 16 && !strings.HasPrefix(c.Name, "_interaction") {
				a.st.secret(c.Value)
			}
		}
		if location := resp.Header.Get("Location"); location != "" {
			to, err := req.URL.Parse(location)
			if err != nil {
				return nil, err
			}
			if strings.HasPrefix(to.String(), a.redirectURI) {
				values := to.Query()
				if fragment, err := url.ParseQuery(to.Fragment); err == nil {
					for k, v := range fragment {
						values[k] = v
					}
				}
				return values, nil
			}
			if req, err = http.NewRequest(http.MethodGet, to.String(), nil); err != nil {
				return nil, err
			}
			continue
		}
		if resp.StatusCode != http.StatusOK {
			return nil, fmt.Errorf("%s %s: %s %.300s", req.Method, req.URL.Path, resp.Status, body)
		}
		form, ok := parseForm(body)
		if !ok {
			return nil, fmt.Errorf("%s %s: a page without a form: %.300s", req.Method, req.URL.Path, body)
		}
		if strings.HasPrefix(form.action, a.redirectURI) { // response_mode=form_post
			return form.values, nil
		}
		a.browser.forms++
		form.fill(a.user, a.user+"-pass")
		to, err := req.URL.Parse(form.action)
		if err != nil {
			return nil, err
		}
		if req, err = http.NewRequest(http.MethodPost, to.String(), strings.NewReader(form.values.Encode())); err != nil {
			return nil, err
		}
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	return nil, fmt.Errorf("still not back at the client after 20 pages, last %s", req.URL.Path)
}

// push sends the request to the PAR endpoint (RFC 9126) and returns its request_uri.
func (a *app) push(q url.Values) (string, error) {
	resp, err := a.post("par", a.st.metadata.PAR, q, "")
	if err != nil {
		return "", err
	}
	var pushed string
	if err := json.Unmarshal(resp.members["request_uri"], &pushed); err != nil || resp.status != http.StatusCreated {
		return "", fmt.Errorf("%v", resp)
	}
	a.st.secret(strings.TrimPrefix(pushed, "urn:ietf:params:oauth:request_uri:"))
	return pushed, nil
}

// post sends a form with the client's authentication, and with a proof where one is given.
func (a *app) post(what, endpoint string, form url.Values, proof string) (*answer, error) {
	return a.postContext(context.Background(), what, endpoint, form, proof)
}

func (a *app) postContext(ctx context.Context, what, endpoint string, form url.Values, proof string) (*answer, error) {
	form.Set("client_id", a.id)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, endpoint, strings.NewReader(form.Encode()))
	if err != nil {
		return nil, err
	}
	maps.Copy(req.Header, a.header)
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if a.secret != "" {
		req.SetBasicAuth(url.QueryEscape(a.id), url.QueryEscape(a.secret))
	}
	if proof != "" {
		req.Header.Set("DPoP", proof)
		a.st.secret(proof)
	}
	// A browser app's token calls carry no cookies.
	c := &http.Client{Transport: a.st.http, Timeout: requestTimeout}
	resp, err := c.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	got := &answer{what: what, offline: !strings.Contains(a.scope, "online_access"), status: resp.StatusCode, header: resp.Header}
	if got.body, err = io.ReadAll(resp.Body); err != nil {
		return nil, err
	}
	_ = json.Unmarshal(got.body, got)
	_ = json.Unmarshal(got.body, &got.members)
	a.st.record(got)
	a.st.secret(got.AccessToken, got.RefreshToken, got.IDToken, resp.Header.Get("DPoP-Nonce"))
	return got, nil
}

// token asks the token endpoint, once more where a DPoP nonce is asked for.
func (a *app) token(form url.Values) (*answer, error) {
	return a.tokenContext(context.Background(), form)
}

func (a *app) tokenContext(ctx context.Context, form url.Values) (*answer, error) {
	for attempt := 0; ; attempt++ {
		proof := ""
		if a.key != nil {
			proof = a.key.proof(http.MethodPost, a.st.metadata.Token, a.nonce, "")
		}
		got, err := a.postContext(ctx, form.Get("grant_type"), a.st.metadata.Token, form, proof)
		if err != nil {
			return nil, err
		}
		if n := got.header.Get("DPoP-Nonce"); n != "" {
			a.nonce = n
		}
		if got.Error != "use_dpop_nonce" || attempt > 0 || a.noRetry {
			return got, nil
		}
	}
}

// redeem is the code exchange.
func (a *app) redeem(code, verifier string) (*answer, error) {
	a.st.secret(code)
	return a.token(a.codeForm(code, verifier))
}

// exchange is an ORT exchange.
func (a *app) exchange() (*answer, error) {
	return a.exchangeWith(nil)
}

func (a *app) exchangeWith(extra url.Values) (*answer, error) {
	return a.token(a.refreshForm(extra))
}

func (a *app) refreshForm(extra url.Values) url.Values {
	form := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {a.ort}}
	for k, v := range extra {
		form[k] = v
	}
	return form
}

func (a *app) revoke() (*answer, error) {
	return a.post("revocation", a.st.metadata.Revocation, url.Values{"token": {a.ort}, "token_type_hint": {"refresh_token"}}, "")
}

// code authorizes and returns the code.
func (a *app) code(t *testing.T, extra url.Values) string {
	t.Helper()
	back, err := a.authorize(a.authorizationRequest(extra))
	if err != nil {
		t.Fatalf("authorizing %s: %v", a.id, err)
	}
	if back.Get("code") == "" {
		t.Fatalf("authorizing %s: %v", a.id, back)
	}
	return back.Get("code")
}

// login gets an ORT, and fails the test where it does not.
func (a *app) login(t *testing.T) *answer {
	t.Helper()
	return a.loginWith(t, nil)
}

func (a *app) loginWith(t *testing.T, extra url.Values) *answer {
	t.Helper()
	code := a.code(t, extra)
	got, err := a.redeem(code, a.lastVerifier)
	if err != nil {
		t.Fatalf("code exchange of %s: %v", a.id, err)
	}
	if got.status != http.StatusOK || !strings.HasPrefix(got.RefreshToken, "ORT1.") || got.AccessToken == "" {
		t.Fatalf("code exchange of %s: no ORT: %v %s", a.id, got, got.body)
	}
	a.ort = got.RefreshToken
	return got
}

// works fails the test where an ORT exchange does not give an access token.
func (a *app) works(t *testing.T) *answer {
	t.Helper()
	got, err := a.exchange()
	if err != nil {
		t.Fatalf("exchange of %s: %v", a.id, err)
	}
	if got.status != http.StatusOK || got.AccessToken == "" {
		t.Fatalf("exchange of %s: %v", a.id, got)
	}
	if _, ok := got.members["refresh_token"]; ok {
		t.Errorf("exchange of %s: the answer has a refresh_token", a.id)
	}
	return got
}

// dead fails the test where the ORT is not refused as contract clients expect it.
func (a *app) dead(t *testing.T) *answer {
	t.Helper()
	got, err := a.exchange()
	if err != nil {
		t.Fatalf("exchange of %s: %v", a.id, err)
	}
	if got.status != http.StatusBadRequest || got.Error != "invalid_grant" {
		t.Fatalf("exchange of %s with a dead ORT: %v", a.id, got)
	}
	if !strings.HasPrefix(got.Description, "Unknown or invalid refresh token") {
		t.Errorf("exchange of %s with a dead ORT: description %q", a.id, got.Description)
	}
	return got
}

func readAll(r io.Reader) string {
	b, err := io.ReadAll(r)
	if err != nil {
		return err.Error()
	}
	return string(b)
}
