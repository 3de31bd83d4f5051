package e2e

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// loginCookie is the value of the cookie that alone carries a login at Keycloak.
func (kc *keycloak) loginCookie(t *testing.T, b *browser) string {
	t.Helper()
	for _, c := range b.Jar.Cookies(&url.URL{Scheme: "https", Host: kc.public, Path: "/realms/ort/"}) { // it is Secure
		if c.Name == "KEYCLOAK_IDENTITY" {
			return c.Value
		}
	}
	t.Fatal("the browser has no login cookie")
	return ""
}

// Nothing but the withheld cookie ends single sign-on here: no credential is given back.
func keycloakLoginCookies(t *testing.T, kc *keycloak) {
	st := kc.stack(t, map[string]string{"ORT_UPSTREAM_END": "none"})
	t.Run("a dead one in every spelling that Keycloak reads", func(t *testing.T) {
		a := st.app("spa", nil)
		a.login(t)
		value := kc.loginCookie(t, a.browser)
		plain := st.app("spa", nil)
		plain.scope = "openid"
		// ask is what an authorization request without a page brings, with that Cookie field.
		ask := func(cookie string) string {
			req, err := http.NewRequest(http.MethodGet, st.metadata.Authorization+"?"+plain.authorizationRequest(url.Values{"prompt": {"none"}}).Encode(), nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Cookie", cookie)
			resp, err := st.http.RoundTrip(req)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			to, err := resp.Location()
			if err != nil {
				t.Fatalf("%s: %v", resp.Status, err)
			}
			if to.Query().Has("code") {
				return "code"
			}
			return to.Query().Get("error")
		}
		spellings := []string{"%s=%s", `%s="%s"`, "%s =%s", "%s= %s", "x=1, %s=%s", "x=1,%s=%s", "$Version=1; %s=%s; $Path=/", "%s=%s, x=1"}
		read := 0
		for _, s := range spellings {
			if ask(fmt.Sprintf(s, "KEYCLOAK_IDENTITY", value)) == "code" {
				read++
			}
		}
		if read < 5 {
			t.Errorf("Keycloak reads %d of the spellings", read)
		}
		mustRevoke(t, a)
		for _, s := range spellings {
			if got := ask(fmt.Sprintf(s, "KEYCLOAK_IDENTITY", value)); got != "login_required" {
				t.Errorf("%s: %s", strings.ReplaceAll(s, "%s", "…"), got)
			}
		}
	})
	t.Run("one that was renewed while the code was on its way", func(t *testing.T) {
		a := st.app("spa", nil)
		code := a.code(t, nil)
		verifier := a.lastVerifier
		beside := st.app("spa2", a.browser) // an app without an ORT
		beside.scope = "openid"
		beside.code(t, nil)
		got, err := a.redeem(code, verifier)
		if err != nil || got.status != http.StatusOK {
			t.Fatalf("code exchange: %v %v", got, err)
		}
		a.ort = got.RefreshToken
		mustRevoke(t, a)
		silent(t, a, "login_required")
	})
}

// Keycloak with pairwise subjects: two apps share the session, and a logout token, which names the user as each client
// knows him, ends it.
func keycloakPairwise(t *testing.T, kc *keycloak) {
	for _, client := range []string{"spa", "spa2"} {
		kc.change(t, client, func(c map[string]any) {
			at := "ort/clients/" + c["id"].(string) + "/protocol-mappers/models"
			kc.admin(t, http.MethodPost, at, map[string]any{
				"name": "pairwise", "protocol": "openid-connect", "protocolMapper": "oidc-sha256-pairwise-sub-mapper",
				"config": map[string]string{"pairwiseSubAlgorithmSalt": "salt of " + client},
			}, nil)
			var mappers []struct{ ID, Name string }
			kc.admin(t, http.MethodGet, at, nil, &mappers)
			for _, m := range mappers {
				if m.Name == "pairwise" {
					t.Cleanup(func() { kc.admin(t, http.MethodDelete, at+"/"+m.ID, nil, nil) })
				}
			}
			delete(c, "protocolMappers")
		})
	}
	st := kc.stack(t, nil)
	a := st.app("spa", nil)
	one := subject(t, a.login(t).IDToken)
	b := st.app("spa2", a.browser)
	if two := subject(t, b.login(t).IDToken); one == two {
		t.Fatalf("the subjects are %q and %q", one, two)
	}
	if a.browser.forms != 1 {
		t.Errorf("%d login forms, want 1", a.browser.forms)
	}
	for range 2 {
		a.works(t)
		b.works(t)
		a.loginWith(t, url.Values{"prompt": {"none"}})
	}
	kc.admin(t, http.MethodPost, "ort/users/"+kc.user(t, "ort", "alice")+"/logout", nil, nil)
	loggedOut(t, a, b)
	mustRevoke(t, b)
	loggedOut(t, a, b)
}
