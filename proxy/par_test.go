package proxy

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/ort-gateway/ort-gateway/dpop/dpoptest"
	"github.com/ort-gateway/ort-gateway/ortengine"
)

func (a *app) push(header []string, change ...string) *http.Response {
	a.t.Helper()
	return a.do(http.MethodPost, "/par", a.authorize(change...).Encode(), header...)
}

// The rows of the table of authorization requests, at PAR.
func TestPushedRequestsByRow(t *testing.T) {
	notAllowed := policy(ortengine.Policy{Clients: []string{"other"}})
	for _, row := range []struct {
		name      string
		change    []string
		configure []rigOption
		status    int
		same      bool     // the body reaches the upstream byte for byte
		has, not  []string // of the body there
	}{
		{"no online_access: byte for byte", []string{"scope", "openid offline_access"}, nil, 201, true, nil, nil},
		{"a request object: byte for byte", []string{"request", "eyJ"}, nil, 201, true, nil, nil},
		{"both scopes", []string{"scope", "online_access offline_access"}, nil, 400, false, nil, nil},
		{"implicit: dropped silently", []string{"response_type", "token"}, nil, 201, false, []string{"scope=openid&"}, []string{"online_access"}},
		{"no code_challenge", []string{"code_challenge", ""}, nil, 400, false, nil, nil},
		{"a client that is not allowed", []string{"dpop_jkt", strings.Repeat("A", 43)}, []rigOption{notAllowed}, 201, false, []string{"scope=openid&", "dpop_jkt=AAA"}, []string{"online_access", "offline_access"}},
		{"otherwise", []string{"dpop_jkt", strings.Repeat("A", 43)}, nil, 201, false, []string{"scope=openid+offline_access", "max_age=28800"}, []string{"online_access", "dpop_jkt"}},
		{"dpop_jkt where the upstream is the authority", []string{"dpop_jkt", strings.Repeat("A", 43)}, []rigOption{dpopUpstream}, 201, false, []string{"dpop_jkt=AAA"}, []string{"online_access"}},
		{"an online-only client", []string{"scope", "openid offline_access"}, []rigOption{policy(ortengine.Policy{OnlineOnly: []string{"spa"}})}, 201, false, []string{"scope=openid&"}, []string{"offline_access"}},
		{"a name that a lenient upstream reads as ours", []string{"code.challenge", "x"}, nil, 400, false, nil, nil},
		{"no client", []string{"client_id", ""}, nil, 400, false, nil, nil},
	} {
		t.Run(row.name, func(t *testing.T) {
			r := newRig(t, row.configure...)
			a := r.app()
			resp := a.push(nil, row.change...)
			if row.status == 400 {
				r.refused(resp, 0, 400, "invalid_request")
				return
			}
			got := r.last().body
			if resp.StatusCode != row.status || resp.Header.Get("Set-Cookie") != "" || row.same && got != a.authorize(row.change...).Encode() {
				t.Errorf("%d, cookie %q, the upstream got %s", resp.StatusCode, resp.Header.Get("Set-Cookie"), got)
			}
			for _, part := range row.has {
				if !strings.Contains(got, part) {
					t.Errorf("%s misses %s", got, part)
				}
			}
			for _, part := range row.not {
				if strings.Contains(got, part) {
					t.Errorf("%s has %s", got, part)
				}
			}
			if !row.same && row.name != "implicit: dropped silently" && strings.Contains(got, challengeOf(a.verifier)) != (row.name == "an online-only client") {
				t.Errorf("the challenge: %s", got)
			}
		})
	}
}

// An upstream that merges query and body would take another challenge than the
// gateway's, and give its own refresh token for it.
func TestPushedRequestsSplitBetweenQueryAndBody(t *testing.T) {
	r := newRig(t)
	for _, query := range []string{
		"code_challenge=" + challengeOf("mine"), "Code.Challenge=x", "a=b;code_challenge=x", "code_challenge_method=plain", "response_type=token", "request=eyJ", "request_uri=urn:x",
		"dpop_jkt=" + strings.Repeat("A", 43), "client_id=other", "scope=openid", "resource=urn:x",
	} {
		r.refused(r.do(http.MethodPost, "/par?"+query, r.app().authorize().Encode()), 0, 400, "invalid_request")
	}
	if n := r.store.Stats().Transactions; n != 0 {
		t.Errorf("%d transactions stand", n)
	}
	resp := r.do(http.MethodPost, "/par?tenant=x", r.app().authorize().Encode())
	if got := r.last(); resp.StatusCode != 201 || got.query != "tenant=x" {
		t.Errorf("%d, the query was %q", resp.StatusCode, got.query)
	}
}

// Nor does one that prefers what stands beside the request_uri.
func TestPushedRequestsWithAnotherChallengeBeside(t *testing.T) {
	r := newRig(t)
	a := r.app()
	a.push(nil)
	ours, _ := url.ParseQuery(r.last().body)
	for query, good := range map[string]bool{
		"code_challenge=" + challengeOf("mine"): false, "Code.Challenge=x": false, "a=b;code_challenge=x": false,
		"code_challenge=" + challengeOf(a.verifier): true, "code_challenge=" + ours.Get("code_challenge"): true, "response_type=code&scope=openid": true,
	} {
		before := r.count()
		resp := r.do(http.MethodGet, "/authorize?client_id=spa&request_uri=urn%3apar:1&"+query, "")
		if up := r.count() - before; (up == 1) != good || !good && resp.StatusCode != 400 {
			t.Errorf("%s: %d, %d went up", query, resp.StatusCode, up)
		}
	}
}

// RFC 9449 section 10.1: a proof at PAR binds the code.
func TestProofAtPARBindsTheCode(t *testing.T) {
	r := newRig(t)
	a := r.app()
	r.refused(a.push([]string{"DPoP", a.key.Proof(http.MethodPost, public+"/par")}), 0, 400, "use_dpop_nonce")
	r.refused(a.push([]string{"DPoP", a.proof("/par"), "DPoP", a.proof("/par")}), 0, 400, "invalid_dpop_proof")
	resp := a.push([]string{"DPoP", a.proof("/par")})
	if resp.StatusCode != 201 || r.last().header.Get("DPoP") != "" || len(resp.Header.Values("DPoP-Nonce")) != 1 {
		t.Fatalf("%d, up went the proof %q", resp.StatusCode, r.last().header.Get("DPoP"))
	}
	thief := *a
	thief.key = dpoptest.NewKey("ES256")
	r.refused(thief.redeem("c"), r.count(), 400, "invalid_dpop_proof")
	if resp := a.redeem("c"); resp.StatusCode != 200 {
		t.Errorf("by the right key: %d", resp.StatusCode)
	}
}

// DPoP in a request that no ORT comes of is between client and upstream.
func TestDPoPAtPARPassesWhereNoORTComesOfIt(t *testing.T) {
	for name, change := range map[string][]string{"not asked for": {"scope", "openid"}, "a client that is not allowed": nil, "implicit": {"response_type", "token"}} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, policy(ortengine.Policy{Clients: []string{"other"}}))
			r.says(400, `{"error":"use_dpop_nonce"}`, "DPoP-Nonce", "of-the-upstream")
			resp := r.app().push([]string{"DPoP", "any proof"}, change...)
			if r.last().header.Get("DPoP") != "any proof" || resp.Header.Get("DPoP-Nonce") != "of-the-upstream" || resp.StatusCode != 400 {
				t.Errorf("%d %v, the upstream got %q", resp.StatusCode, resp.Header, r.last().header.Get("DPoP"))
			}
		})
	}
}

// A pushed request that the upstream refuses leaves nothing behind.
func TestRefusedPushIsForgotten(t *testing.T) {
	r := newRig(t)
	a := r.app()
	r.says(400, `{"error":"invalid_request"}`)
	if resp := a.push(nil); resp.StatusCode != 400 || !strings.Contains(text(resp), "invalid_request") {
		t.Fatal(resp.StatusCode)
	}
	r.does(nil)
	r.do(http.MethodPost, "/token", a.codeForm("x").Encode())
	if !strings.Contains(r.last().body, a.verifier) {
		t.Error("its transaction stands")
	}
}

func TestPushWithAnotherRequestsChallenge(t *testing.T) {
	r := newRig(t)
	a := r.app()
	a.push(nil)
	r.refused(a.push(nil, "client_id", "other"), 1, 400, "invalid_request")
	r.refused(a.push(nil, "resource", "urn:x"), 1, 400, "invalid_request")
	if resp := a.push(nil, "state", "another"); resp.StatusCode != 201 {
		t.Errorf("the same again: %d", resp.StatusCode)
	}
}

func TestPushWhileTheUpstreamIsDown(t *testing.T) {
	r := newRig(t)
	r.does(func(http.ResponseWriter, *http.Request, string) { panic(http.ErrAbortHandler) })
	r.unavailable("recorded", r.app().push(nil))
	r.unavailable("any", r.app().push(nil, "scope", "openid"))
}

// A browser that must show its password is told so by way of the client, for a
// pushed request too, where the redirect_uri is known of the push alone.
func TestPushedRequestsOfBrowsersThatMustLogIn(t *testing.T) {
	r, b := forced(t)
	answer := r.answer
	pushes := 0
	r.does(func(w http.ResponseWriter, q *http.Request, body string) {
		if q.URL.Path == "/par" {
			pushes++
			w.WriteHeader(http.StatusCreated)
			fmt.Fprintf(w, `{"request_uri":"urn:par:%d","expires_in":60}`, pushes)
			return
		}
		answer(w, q, body)
	})
	for name, row := range map[string]struct {
		change []string
		client string
		want   string // "": a page
	}{
		"with online_access":     {[]string{"state", "a b"}, "spa", redirect + "?error=login_required&"},
		"without":                {[]string{"state", "a b", "scope", "openid", "prompt", "none"}, "spa", redirect + "?error=login_required&"},
		"in the fragment":        {[]string{"state", "a b", "response_mode", "fragment"}, "spa", redirect + "#error=login_required&"},
		"form_post":              {[]string{"response_mode", "form_post"}, "spa", ""},
		"another's redirect":     {[]string{"redirect_uri", "https://evil.example/"}, "spa", ""},
		"used by another client": {nil, "spa2", ""},
	} {
		a := r.app()
		if resp := a.push(nil, row.change...); resp.StatusCode != 201 {
			t.Fatalf("%s: %d %s", name, resp.StatusCode, text(resp))
		}
		resp := b.visit("GET", fmt.Sprintf("/authorize?client_id=%s&request_uri=urn:par:%d", row.client, pushes), "")
		to := resp.Header.Get("Location")
		if row.want == "" {
			if resp.StatusCode != 400 || to != "" {
				t.Errorf("%s: %d %s", name, resp.StatusCode, to)
			}
		} else if resp.StatusCode != 302 || !strings.HasPrefix(to, row.want) || !strings.Contains(to, "state=a+b") || !strings.Contains(to, "iss=") {
			t.Errorf("%s: %d %s", name, resp.StatusCode, to)
		}
	}
	if resp := b.visit("GET", "/authorize?client_id=spa&request_uri=urn:par:unknown", ""); resp.StatusCode != 400 {
		t.Errorf("a push that nobody saw: %d", resp.StatusCode)
	}
}
