package proxy

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/ort-gateway/ort-gateway/ortengine"
	"github.com/ort-gateway/ort-gateway/proxy/proxytest"
)

// webApp is a confidential client with an ORT that is bound to no key.
func webApp(r *rig) *app {
	a := r.app()
	a.client = "web"
	form := a.codeForm(a.code())
	form.Set("client_secret", "s+cret &%")
	body := r.is("code exchange", r.do(http.MethodPost, "/token", form.Encode()), 200, `"refresh_token":"ORT1.`)
	_, rest, _ := strings.Cut(body, `"refresh_token":"`)
	a.ort, _, _ = strings.Cut(rest, `"`)
	return a
}

func (a *app) alive() bool {
	form := a.refreshForm()
	form.Set("client_secret", "s+cret &%")
	return a.do(http.MethodPost, "/token", form.Encode(), "DPoP", a.proof("/token")).StatusCode == http.StatusOK
}

// Revocation of a public client's ORT needs no proof and no upstream.
func TestPublicClientsRevokeWithoutTheUpstream(t *testing.T) {
	for path, field := range map[string]string{"/revoke": "token", ownRevocation: "token", "/logout": "refresh_token"} {
		t.Run(path, func(t *testing.T) {
			r, idp := idpRig(t, nil)
			a := r.app().login()
			idp.Always("/revoke", proxytest.Down)
			before := r.count()
			form := url.Values{field: {a.ort}, "client_id": {"spa"}, "token_type_hint": {"access_token"}}
			want := map[bool]int{true: 204, false: 200}[path == "/logout"]
			if resp := r.do(http.MethodPost, path, form.Encode()); resp.StatusCode != want || text(resp) != "" || r.count() != before {
				t.Errorf("got %d, want %d", resp.StatusCode, want)
			}
			if a.alive() {
				t.Error("the ORT lives")
			}
		})
	}
}

// A confidential client is authenticated by the upstream's revocation endpoint,
// wherever it revokes.
func TestConfidentialClientsAreAuthenticatedWhereverTheyRevoke(t *testing.T) {
	for path, field := range map[string]string{"/revoke": "token", ownRevocation: "token", "/logout": "refresh_token"} {
		t.Run(path, func(t *testing.T) {
			r, idp := idpRig(t, nil, confidential("web"))
			a := webApp(r)
			form := url.Values{field: {a.ort}, "client_id": {"web"}, "client_secret": {"wrong"}}
			resp := r.do(http.MethodPost, path, form.Encode(), "DPoP", "any proof")
			r.is("a wrong secret", resp, 401, "invalid_client")
			asked := idp.At("/revoke")
			if len(asked) != 1 || strings.Contains(asked[0].Body, "ORT1.") || asked[0].Form().Get("refresh_token") != "" || asked[0].Form().Get("token") == "" || asked[0].Header.Get("DPoP") != "" {
				t.Errorf("the upstream was asked with %+v", asked)
			}
			idp.Next("/revoke", proxytest.Down)
			r.unavailable("no answer", r.do(http.MethodPost, path, form.Encode()))
			idp.Next("/revoke", proxytest.Answer(500, ""))
			r.unavailable("a fault", r.do(http.MethodPost, path, form.Encode()))
			idp.Next("/revoke", proxytest.Error(400, "unauthorized_client"))
			r.is("not allowed to revoke", r.do(http.MethodPost, path, form.Encode()), 400, "unauthorized_client")
			if !a.alive() {
				t.Fatal("it ended")
			}
			form.Set("client_secret", "s+cret &%")
			if resp := r.do(http.MethodPost, path, form.Encode()); resp.StatusCode/100 != 2 {
				t.Errorf("with its secret: %d %s", resp.StatusCode, text(resp))
			}
			if a.alive() {
				t.Error("the ORT lives")
			}
			if len(idp.At("/logout")) != 0 {
				t.Error("the logout went up")
			}
		})
	}
}

func TestConfidentialClientsCannotRevokeWhereNothingAuthenticatesThem(t *testing.T) {
	r, _ := idpRig(t, nil, confidential("web"), func(r *rig, _ *Config, _ *ortengine.Config) { delete(r.meta, "revocation_endpoint") })
	a := webApp(r)
	form := url.Values{"token": {a.ort}, "client_id": {"web"}, "client_secret": {"s+cret &%"}}
	r.refused(r.do(http.MethodPost, ownRevocation, form.Encode()), r.count(), 400, "unsupported_token_type")
	if !a.alive() {
		t.Error("it ended")
	}
	public := r.app().login()
	if resp := r.do(http.MethodPost, ownRevocation, url.Values{"token": {public.ort}, "client_id": {"spa"}}.Encode()); resp.StatusCode != 200 || public.alive() {
		t.Errorf("a public client: %d", resp.StatusCode)
	}
}

func TestWhatTheOwnRevocationEndpointRefuses(t *testing.T) {
	r, _ := idpRig(t, nil)
	a := r.app().login()
	before := r.count()
	r.refused(r.do(http.MethodPost, ownRevocation, "client_id=spa&token=another"), before, 400, "unsupported_token_type")
	r.refused(r.do(http.MethodPost, ownRevocation, "client_id=other&token="+a.ort), before, 400, "invalid_grant")
	r.refused(r.do(http.MethodPost, ownRevocation, "token="+a.ort), before, 400, "invalid_grant")
	for _, method := range []string{"GET", "PUT", "DELETE"} {
		if resp := r.do(method, ownRevocation, ""); resp.StatusCode != 405 || r.count() != before {
			t.Errorf("%s: %d", method, resp.StatusCode)
		}
	}
	if !a.alive() {
		t.Error("it ended")
	}
}

// The answers to an ORT at the end-session endpoint are JSON, to logouts pages.
func TestORTsAtTheEndSessionEndpoint(t *testing.T) {
	r, idp := idpRig(t, nil)
	a := r.app().login()
	before := r.count()
	r.refused(r.do(http.MethodPost, "/logout", "client_id=other&refresh_token="+a.ort), before, 400, "invalid_grant")
	r.refused(r.do(http.MethodPost, "/logout", "client_id=spa&id_token_hint="+a.ort), before, 400, "invalid_request")
	r.refused(r.do(http.MethodPost, "/logout", "client_id=spa&refresh_token=R&refresh_token="+a.ort), before, 400, "invalid_request")
	if resp := r.do(http.MethodPost, "/logout", "client_id=spa&refresh_token=ORT1.unknown"); resp.StatusCode != 204 || r.count() != before {
		t.Errorf("an unknown one: %d", resp.StatusCode)
	}
	r.do(http.MethodPost, "/logout", "client_id=spa&refresh_token=another")
	if got := idp.At("/logout"); len(got) != 1 || got[0].Body != "client_id=spa&refresh_token=another" {
		t.Errorf("another token: %+v", got)
	}
	r.do(http.MethodPost, "/logout", `{"a":"b"}`, "Content-Type", "", "Content-Type", "application/json")
	if got := idp.At("/logout"); len(got) != 2 || got[1].Body != `{"a":"b"}` {
		t.Errorf("another body: %+v", got)
	}
	if !a.alive() {
		t.Error("it ended")
	}
}

// Ends are durable before the answer: every ORT of the session is dead at once.
func TestRevocationEndsEveryAppOfTheSession(t *testing.T) {
	r, _ := idpRig(t, nil)
	a := r.app().login()
	b := r.app()
	b.client, b.cookie = "spa2", a.cookie
	b.login()
	again := r.app()
	again.cookie = a.cookie
	again.login()
	if !a.ends(b) || again.alive() {
		t.Error("an ORT of the session lives")
	}
	before := r.count()
	r.is("the reason", b.exchange(), 400, `"error":"invalid_grant"`, "Unknown or invalid refresh token: ")
	if r.count() != before {
		t.Error("it reached the upstream")
	}
}

func TestAnotherIssuersORT(t *testing.T) {
	var c clock
	r, _ := idpRig(t, nil, by(&c))
	a := r.app().login()
	at := &location{kind: endpointRevocation, path: "/revoke"} // of no issuer of this ORT
	f := &formRequest{at: at, client: "spa"}
	if passed, err := r.revokeORT(t.Context(), f, a.ort); passed != nil || err != nil || !a.alive() {
		t.Errorf("%v %v", passed, err)
	}
	c.pass(time.Minute)
}
