package e2e

import (
	"encoding/base64"
	"encoding/json"
	"net/url"
	"strings"
	"testing"
)

// subject is the sub of an ID token.
func subject(t *testing.T, idToken string) string {
	t.Helper()
	parts := strings.Split(idToken, ".")
	if len(parts) != 3 {
		t.Fatal("no ID token")
	}
	text, err := base64.RawURLEncoding.DecodeString(parts[1])
	var claims struct{ Sub string }
	if err == nil {
		err = json.Unmarshal(text, &claims)
	}
	if err != nil {
		t.Fatal(err)
	}
	return claims.Sub
}

// Each client knows the user by another sub: no app takes the other's for another user, and one end is the end of both.
func TestPairwiseSubjects(t *testing.T) {
	st := startStack(t, setup{provider: providerConfig{Pairwise: true}})
	a := st.app("app-one", nil)
	one := subject(t, a.login(t).IDToken)
	b := st.app("app-two", a.browser)
	if two := subject(t, b.login(t).IDToken); one == two || two == "" {
		t.Fatalf("the subjects are %q and %q", one, two)
	}
	for range 2 {
		a.works(t)
		b.works(t)
		a.loginWith(t, url.Values{"prompt": {"none"}})
		b.loginWith(t, url.Values{"prompt": {"none"}})
	}
	if a.browser.forms != 1 {
		t.Errorf("%d login forms, want 1", a.browser.forms)
	}
	mustRevoke(t, b)
	loggedOut(t, a, b)

	// Another user in this browser ends the former one's, in both apps.
	bob := st.app("app-one", a.browser)
	bob.user = "bob"
	bob.loginWith(t, url.Values{"prompt": {"login"}})
	a.dead(t)
	b.dead(t)
	bob.works(t)
}
