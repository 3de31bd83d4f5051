package upstream

import (
	"encoding/base64"
	"errors"
	"strings"
	"testing"
	"time"
)

func jws(header, payload string) string {
	e := base64.RawURLEncoding.EncodeToString
	return e([]byte(header)) + "." + e([]byte(payload)) + ".c2ln"
}

func TestReadIDToken(t *testing.T) {
	const who = `"iss":"` + issuer + `","aud":"spa"`
	for _, row := range []struct {
		name, header, payload string
		want                  IDToken
		err                   error // nil: none; errAny: any
	}{
		{"all that is read", `{"alg":"RS256"}`, `{` + who + `,"sub":"a","sid":"s","auth_time":1000}`, IDToken{issuer, "a", "s", time.Unix(1000, 0).UTC()}, nil},
		{"several audiences", `{"alg":"RS256"}`, `{"iss":"` + issuer + `","aud":["x","spa"],"sub":"a"}`, IDToken{issuer, "a", "", time.Time{}}, nil},
		{"an algorithm that is unknown here", `{"alg":"ES256K"}`, `{` + who + `,"sub":"a"}`, IDToken{issuer, "a", "", time.Time{}}, nil},
		{"auth_time 0 is none", `{"alg":"RS256"}`, `{` + who + `,"sub":"a","auth_time":0}`, IDToken{issuer, "a", "", time.Time{}}, nil},
		{"auth_time with a fraction", `{"alg":"RS256"}`, `{` + who + `,"sub":"a","auth_time":1000.9}`, IDToken{issuer, "a", "", time.Unix(1000, 0).UTC()}, nil},
		{"auth_time out of this world", `{"alg":"RS256"}`, `{` + who + `,"sub":"a","auth_time":1e300}`, IDToken{issuer, "a", "", time.Time{}}, nil},
		{"members by their exact names", `{"alg":"RS256"}`, `{` + who + `,"sub":"a","sid":"s","SUB":"b","Sid":"t"}`, IDToken{issuer, "a", "s", time.Time{}}, nil},
		{"another issuer", `{"alg":"RS256"}`, `{"iss":"https://x","aud":"spa","sub":"a"}`, IDToken{}, ErrIssuer},
		{"another client", `{"alg":"RS256"}`, `{"iss":"` + issuer + `","aud":"x","sub":"a"}`, IDToken{}, ErrAudience},
		{"no subject", `{"alg":"RS256"}`, `{` + who + `}`, IDToken{}, ErrSubject},
		{"a sid that is no text", `{"alg":"RS256"}`, `{` + who + `,"sub":"a","sid":1}`, IDToken{}, errAny},
		{"no JSON", `{"alg":"RS256"}`, `x`, IDToken{}, errAny},
	} {
		t.Run(row.name, func(t *testing.T) {
			got, err := ReadIDToken(jws(row.header, row.payload), issuer, "spa")
			if got != row.want || (err != nil) != (row.err != nil) || row.err != errAny && !errors.Is(err, row.err) {
				t.Errorf("got %+v, %v; want %+v, %v", got, err, row.want, row.err)
			}
			if err != nil && (Why(err) == "" || strings.Contains(Why(err), "spa")) {
				t.Errorf("said %q", Why(err))
			}
		})
	}
	if _, err := ReadIDToken("a.b.c.d.e", issuer, "spa"); err == nil {
		t.Error("an encrypted token was read")
	}
}

var errAny = errors.New("any")

func TestClientOfAssertion(t *testing.T) {
	for assertion, want := range map[string]string{
		"": "", "x": "", jws(`{"alg":"Ed25519"}`, `{"iss":"web","sub":"web"}`): "web",
		jws(`{"alg":"RS256"}`, `{"sub":"web"}`): "web", jws(`{"alg":"RS256"}`, `{"iss":"web"}`): "", jws(`{"alg":"RS256"}`, `{"Sub":"web"}`): "",
	} {
		if got, ok := ClientOfAssertion(assertion); got != want || ok != (want != "") {
			t.Errorf("%s: %q %v, want %q", assertion, got, ok, want)
		}
	}
}

func FuzzReadIDToken(f *testing.F) {
	f.Add(jws(`{"alg":"RS256"}`, `{"iss":"`+issuer+`","aud":"spa","sub":"a","auth_time":1e9}`))
	f.Add(jws(`{"alg":"none"}`, `{"iss":"`+issuer+`","aud":["spa"],"sub":""}`))
	f.Fuzz(func(t *testing.T, token string) {
		got, err := ReadIDToken(token, issuer, "spa")
		if err != nil {
			if got != (IDToken{}) || strings.Contains(Why(err), token) && token != "" && len(token) > 8 {
				t.Errorf("beside an error: %+v, %q", got, Why(err))
			}
			return
		}
		if got.Issuer != issuer || got.Subject == "" || got.AuthTime.Unix() > latest {
			t.Errorf("read %+v", got)
		}
	})
}
