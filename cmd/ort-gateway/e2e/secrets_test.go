package e2e

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// No secret stands in the gateway's output, at its most talkative and where everything goes wrong. The stack's final check
// searches for what was used; this test brings it to every place where a log line could pick it up.
func TestSecretsInNoOutput(t *testing.T) {
	for _, format := range []string{"json", "text"} {
		t.Run(format, func(t *testing.T) {
			st := startStack(t, setup{env: map[string]string{"ORT_LOG_FORMAT": format, "ORT_LOG_LEVEL": "debug", "ORT_SEALING_KEYS": keyA}})
			st.secret(strings.TrimPrefix(keyA, "a:"))
			a, web := st.app("app-one", nil), st.app("web", nil)
			a.viaPAR = true
			a.login(t)
			web.login(t)
			a.works(t)

			mark := func(what string) string {
				m := "marker-" + what + "-" + random(24)
				st.secret(m)
				return m
			}
			// An upstream that repeats what it was sent, in each of its answers.
			for _, f := range []fault{
				{Kind: "error", Status: 400, Body: map[string]string{"error": "invalid_scope", "error_description": mark("description"), "error_uri": "https://x.test/" + mark("uri")}},
				{Kind: "error", Status: 500, Body: map[string]string{"error": mark("error"), "error_description": mark("description")}},
				{Kind: "error", Status: 200, Body: map[string]string{"access_token": mark("access"), "refresh_token": mark("refresh"), "token_type": "Bearer"}},
				{Kind: "error", Status: 200, Type: "text/html", Body: mark("page")},
				{Kind: "error", Status: 200, Body: `{"access_token":"` + mark("cut") + `","refresh_token":"` + mark("cut")},
				{Kind: "error", Status: 400, Body: map[string]string{"error": "invalid_grant", "error_description": mark("description")}},
				{Kind: "lost"},
			} {
				st.provider.fault(t, f)
				if _, err := a.exchange(); err != nil {
					t.Fatal(err)
				}
			}
			// Clients that send secrets to the wrong place.
			bad := *web
			bad.secret = mark("secret")
			if _, err := bad.exchange(); err != nil {
				t.Fatal(err)
			}
			bad.ort = "ORT1." + mark("ort")
			if _, err := bad.exchange(); err != nil {
				t.Fatal(err)
			}
			for _, form := range []url.Values{
				{"grant_type": {mark("grant")}, "password": {mark("password")}, "username": {"alice"}},
				{"grant_type": {"refresh_token"}, "refresh_token": {mark("first"), mark("second")}},
				{"grant_type": {"authorization_code"}, "code": {mark("code")}, "code_verifier": {mark("verifier")}},
				{"grant_type": {"urn:ietf:params:oauth:grant-type:device_code"}, "device_code": {mark("device")}},
			} {
				if _, err := a.post("token", st.metadata.Token, form, mark("proof")); err != nil {
					t.Fatal(err)
				}
			}
			plant(t, st, mark)
		})
	}
}

// plant sends marked requests to the authorization endpoint, the gateway's own and others.
func plant(t *testing.T, st *stack, mark func(string) string) {
	t.Helper()
	for _, target := range []string{
		st.metadata.Authorization + "?client_id=app-one&scope=openid+online_access&request_uri=" + mark("request_uri") + "&state=" + mark("state"),
		st.metadata.Authorization + "?client_id=app-one&scope=openid+online_access&code_challenge=" + mark("challenge") + "&redirect_uri=http://" + mark("host"),
		st.metadata.Authorization + "?%zz=" + mark("escape"),
		st.origin + "/_ort/session?token=" + mark("query"),
		st.origin + "/_ort/nothing?token=" + mark("query"),
		st.metadata.EndSession + "?id_token_hint=" + mark("hint"),
		st.origin + "/somewhere?access_token=" + mark("query"),
	} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, target, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "DPoP "+mark("authorization"))
		req.Header.Set("DPoP", mark("proof"))
		req.Header.Set("Cookie", "ort="+mark("cookie")+"; _session="+mark("cookie"))
		resp, err := (&http.Client{Transport: st.http, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}).Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
	}
}
