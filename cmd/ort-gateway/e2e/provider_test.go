package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/ort-gateway/ort-gateway/cmd/proctest"
)

// clientMetadata registers a client at the provider (RFC 7591 names).
type clientMetadata struct {
	ID           string   `json:"client_id"`
	Secret       string   `json:"client_secret,omitempty"`
	AuthMethod   string   `json:"token_endpoint_auth_method"`
	RedirectURIs []string `json:"redirect_uris"`
	GrantTypes   []string `json:"grant_types"`
	Origins      []string `json:"origins,omitempty"`
	PostLogout   []string `json:"post_logout_redirect_uris,omitempty"`
	BackChannel  string   `json:"backchannel_logout_uri,omitempty"`
	SessionID    bool     `json:"backchannel_logout_session_required,omitempty"` // the ID token carries sid
}

// add registers one more origin of an app.
func (c *clientMetadata) add(origin string) {
	c.RedirectURIs = append(c.RedirectURIs, origin+"/callback", origin+"/silent")
	c.Origins, c.PostLogout = append(c.Origins, origin), append(c.PostLogout, origin+"/bye")
}

// providerConfig is node/provider.mjs's configuration; its comments explain the fields.
type providerConfig struct {
	Issuer     string           `json:"issuer"`
	Clients    []clientMetadata `json:"clients"`
	Routes     string           `json:"routes,omitempty"`
	Post       bool             `json:"post"`
	Pairwise   bool             `json:"pairwise"`
	DPoP       bool             `json:"dpop"`
	DPoPNonces bool             `json:"dpopNonces"`
	Refresh    string           `json:"refresh,omitempty"`
	Reuse      string           `json:"reuse,omitempty"`
	Scope      string           `json:"resourceScope,omitempty"` // of the resources' access tokens
}

// provider is a running oidc-provider.
type provider struct {
	*process
	url, hooks string
}

// exchange is one successful answer of the provider's token endpoint.
type exchange struct {
	GrantType    string `json:"grantType"`
	ClientID     string `json:"clientID"`
	Presented    string `json:"presented"`
	RefreshToken string `json:"refreshToken"`
	AccessToken  string `json:"accessToken"`
	Scope        string `json:"scope"`
	DPoP         bool   `json:"dpop"`
	TokenType    string `json:"tokenType"`
}

// seen is what the provider has seen and issued.
type seen struct {
	TokenCalls    int        `json:"tokenCalls"`
	Exchanges     []exchange `json:"exchanges"`
	Refused       []string   `json:"refused"`
	RefreshTokens []string   `json:"refreshTokens"`
	AccessTokens  []string   `json:"accessTokens"`
	Codes         []string   `json:"codes"`
	LoginForms    int        `json:"loginForms"`
	RevokedGrants int        `json:"revokedGrants"`
	Revocations   int        `json:"revocations"`
	Leaks         []string   `json:"leaks"`
}

// fault makes one of the next answers err.
type fault struct {
	Kind     string `json:"kind"`               // error, late, slow, lost: see withFault in provider.mjs
	Endpoint string `json:"endpoint,omitempty"` // token (if empty), revocation, or a path
	Status   int    `json:"status,omitempty"`
	Body     any    `json:"body,omitempty"`
	Type     string `json:"type,omitempty"`
	Millis   int    `json:"ms,omitempty"`
	Count    int    `json:"count,omitempty"`
}

// startProvider starts the provider on free ports.
func startProvider(t *testing.T, c providerConfig) *provider {
	t.Helper()
	node := nodeProgram(t)
	config, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(node, "provider.mjs", string(config))
	cmd.Dir = "node"
	cmd.Env = append(os.Environ(), "NODE_NO_WARNINGS=1")
	out := &proctest.Output{}
	t.Cleanup(func() { keepLog(t, "provider", out) })
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout = w
	p := start(t, "provider", out, cmd)
	w.Close()
	t.Cleanup(func() { r.Close() })
	line, err := firstLine(r, out)
	if err != nil {
		<-p.done
		t.Fatalf("the provider did not start: %v\n%s", err, out)
	}
	var ports struct{ Port, Hooks int }
	if err := json.Unmarshal([]byte(line), &ports); err != nil {
		t.Fatalf("the provider's first line %q: %v", line, err)
	}
	return &provider{
		process: p,
		url:     fmt.Sprintf("http://127.0.0.1:%d", ports.Port),
		hooks:   fmt.Sprintf("http://127.0.0.1:%d", ports.Hooks),
	}
}

func (p *provider) seen(t *testing.T) seen {
	t.Helper()
	var s seen
	p.call(t, http.MethodGet, "/seen", nil, &s)
	return s
}

func (p *provider) fault(t *testing.T, faults ...fault) {
	t.Helper()
	p.call(t, http.MethodPost, "/faults", faults, nil)
}

// awaitTokenCall waits until the token endpoint has had more requests than that.
func (p *provider) awaitTokenCall(t *testing.T, calls int) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); p.seen(t).TokenCalls <= calls; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the token request never reached the upstream")
		}
	}
}

// endSessions ends the provider's own logins, as its administrator would.
func (p *provider) endSessions(t *testing.T, sub string) {
	t.Helper()
	p.call(t, http.MethodPost, "/end-sessions", map[string]string{"sub": sub}, nil)
}

// logOut ends the provider's logins of a user, or the one that a client knows by its sid, and calls every client's back
// channel: by sid, or by sub alone where no sid is given.
func (p *provider) logOut(t *testing.T, sub, sid string) {
	t.Helper()
	var called struct{ Calls int }
	p.call(t, http.MethodPost, "/log-out", map[string]string{"sub": sub, "sid": sid}, &called)
	if called.Calls == 0 {
		t.Fatal("the provider called no client's back channel")
	}
}

func (p *provider) call(t *testing.T, method, path string, in, out any) {
	t.Helper()
	body, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(context.Background(), method, p.hooks+path, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatalf("asking the provider's hooks: %v", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("provider hook %s: %s", path, resp.Status)
	}
	if out == nil {
		return
	}
	if err := json.NewDecoder(resp.Body).Decode(out); err != nil {
		t.Fatal(err)
	}
}
