package ortengine_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ort-gateway/ort-gateway/ortengine"
	"github.com/ort-gateway/ort-gateway/ortengine/seal"
)

// known says whether a verifier's transaction is there.
func (f *fixture) known(verifier string) bool {
	f.Helper()
	_, known, err := f.TransactionOf(f.Context(), verifier, []string{place})
	if err != nil {
		f.Fatal(err)
	}
	return known
}

// TestTransactionChallenge: RFC 7636 sections 4.2 and 4.3; the upstream never
// sees the client's challenge, so the gateway checks its form.
func TestTransactionChallenge(t *testing.T) {
	verifier := strings.Repeat("v", 43)
	for _, row := range []struct {
		name, method, challenge string
		ok                      bool
	}{
		{"S256", "S256", s256(verifier), true},
		{"plain", "plain", verifier, true},
		{"no method is plain", "", verifier, true},
		{"plain, longest", "plain", strings.Repeat("~", 128), true},
		{"plain, too long", "plain", strings.Repeat("v", 129), false},
		{"plain, too short", "plain", strings.Repeat("v", 42), false},
		{"plain, other characters", "plain", verifier + " ", false},
		{"S256, not a hash", "S256", "YWJj", false},
		{"S256, padded", "S256", s256(verifier) + "=", false},
		{"S256, a line's end", "S256", s256(verifier)[:43] + "\n", false},
		{"S256, spare bits", "S256", strings.Repeat("A", 42) + "B", false},
		{"unknown method", "S512", s256(verifier), false},
		{"method in another case", "s256", s256(verifier), false},
	} {
		t.Run(row.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, f *fixture) {
				begun, err := f.Begin(t.Context(), ortengine.Authorization{
					Place: place, Client: "app-one", Method: row.method, Challenge: row.challenge,
				})
				if !row.ok {
					f.refused(err, 400, "invalid_request", "code_challenge", "refused_transaction")
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				if !begun.Added || begun.Challenge == row.challenge || len(begun.Challenge) != 43 {
					t.Errorf("got %+v", begun)
				}
				if want := row.challenge; row.method != "S256" && !f.known(want) {
					t.Error("a plain verifier does not find its transaction")
				}
				if row.method == "S256" && (!f.known(verifier) || f.known(row.challenge)) {
					t.Error("an S256 transaction is found by its verifier, and by that alone")
				}
			})
		})
	}
}

// TestTransactionFirstStands: a later request with the same challenge changes
// nothing; one of another client or with other values is refused.
func TestTransactionFirstStands(t *testing.T) {
	for name, change := range map[string]func(*ortengine.Authorization){
		"client":    func(a *ortengine.Authorization) { a.Client = "app-two" },
		"scope":     func(a *ortengine.Authorization) { a.Scope = "online_access" },
		"audience":  func(a *ortengine.Authorization) { a.Audiences = []string{"https://api.example"} },
		"dpop_jkt":  func(a *ortengine.Authorization) { a.Thumbprint = "jkt" },
		"place":     func(a *ortengine.Authorization) { a.Place = "https://id.example/other/authorize" },
		"no longer": nil,
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, f *fixture) {
				l := login{}
				l.fill(f)
				first, err := f.Begin(t.Context(), f.authorization(&l))
				if err != nil || !first.Added {
					t.Fatal(first, err)
				}
				time.Sleep(waiting / 2)
				second, err := f.Begin(t.Context(), f.authorization(&l))
				if err != nil || second.Added || second.Challenge != first.Challenge || second.Key != first.Key {
					t.Errorf("the same request again: %+v, %v; want %+v", second, err, first)
				}
				if change != nil {
					a := f.authorization(&l)
					change(&a)
					_, err = f.Begin(t.Context(), a)
					f.refused(err, 400, "invalid_request", "This code_challenge belongs to another authorization request", "refused_transaction")
				}
				time.Sleep(waiting/2 - time.Millisecond)
				if !f.known(l.verifier) {
					t.Error("the first one does not stand any more")
				}
				time.Sleep(time.Millisecond)
				if f.known(l.verifier) {
					t.Error("the second request made the first live longer")
				}
			})
		})
	}
}

// TestTransactionNotUsedUp: two tabs of one login URL come back with two codes.
func TestTransactionNotUsedUp(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		l := login{browser: "b", tells: user("u", "s", time.Time{})}
		f.works(f.login(l).Token)
		l.verifier = "same-" + strings.Repeat("v", 43)
		first := f.login(l).Token
		second := f.login(l).Token
		f.works(first)
		f.works(second)
		f.active(1)
	})
}

// TestTransactionExpires: it ends with ORT_LOGIN_TIMEOUT.
func TestTransactionExpires(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		l := login{}
		f.begin(&l)
		time.Sleep(waiting - time.Millisecond)
		if !f.known(l.verifier) {
			t.Error("gone before its time")
		}
		time.Sleep(time.Millisecond)
		if f.known(l.verifier) {
			t.Error("still there after its time")
		}
	})
}

// TestTransactionFailed: it ends when the answer to its request is an error.
func TestTransactionFailed(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		l := login{}
		f.begin(&l)
		begun, err := f.Begin(t.Context(), f.authorization(&l))
		if err != nil {
			t.Fatal(err)
		}
		f.Engine.Failed(t.Context(), begun.Key)
		if f.known(l.verifier) {
			t.Error("still there")
		}
	})
}

// TestTransactionVerifier: the gateway's challenge is of a verifier that nobody
// can derive without the sealing key that the transaction names.
func TestTransactionVerifier(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		l := login{}
		l.fill(f)
		first, err := f.Begin(t.Context(), f.authorization(&l))
		if err != nil {
			t.Fatal(err)
		}
		other := newFixture(t, nil)
		elsewhere, err := other.Begin(t.Context(), other.authorization(&l))
		if err != nil {
			t.Fatal(err)
		}
		if first.Challenge == elsewhere.Challenge {
			t.Error("two keys derive one verifier")
		}

		// Another key seals now: the transaction keeps its own.
		next := seal.NewKey()
		f.seals(next, f.key)
		again, err := f.Begin(t.Context(), f.authorization(&l))
		if err != nil || again.Challenge != first.Challenge {
			t.Errorf("after a change of keys: challenge %s, %v; want %s", again.Challenge, err, first.Challenge)
		}
		fresh := login{}
		waiting := f.begin(&fresh)
		f.seals(next)
		if issued, err := f.redeem(&fresh, waiting); err != nil || issued.Token == "" {
			t.Error("a transaction of the new key:", err)
		}

		// Its key is gone: the code is worth nothing, and is not sent.
		_, err = f.Begin(t.Context(), f.authorization(&l))
		f.refused(err, 400, "invalid_request", "This code_challenge belongs to", "refused_transaction")
		old, known, err := f.TransactionOf(t.Context(), l.verifier, []string{place})
		if !known || err != nil {
			t.Fatal(known, err)
		}
		calls, _, _, _ := f.idp.counts()
		_, err = f.redeem(&l, old)
		f.refused(err, 400, "invalid_grant", "The authorization request is too old", "refused_transaction")
		if now, _, _, _ := f.idp.counts(); now != calls {
			t.Error("the code was sent")
		}
	})
}

// TestTransactionPlace: a transaction of another login place is not found.
func TestTransactionPlace(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		l := login{}
		f.begin(&l)
		for places, want := range map[string]bool{place: true, "https://id.example/other": false, "https://id.example/other " + place: true, "": false} {
			_, known, err := f.TransactionOf(t.Context(), l.verifier, strings.Fields(places))
			if err != nil || known != want {
				t.Errorf("at %q: known %v, %v", places, known, err)
			}
		}
		if f.known("") {
			t.Error("no verifier found a transaction")
		}
	})
}

// TestTransactionNone: a client or an audience that is not allowed is recorded as
// none; its answer passes, and nothing of it names a browser.
func TestTransactionNone(t *testing.T) {
	for name, asked := range map[string]func(*ortengine.Authorization){
		"client": func(a *ortengine.Authorization) { a.Client = "app-three" },
		"audience": func(a *ortengine.Authorization) {
			a.Audiences = []string{"https://api.example", "https://other.example"}
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFixture(t, func(c *ortengine.Config) {
					c.Policy.Clients, c.Policy.Audiences = []string{"app-one"}, []string{"https://api.example"}
				})
				client := ""
				if name == "client" {
					client = "app-three"
				}
				l := login{client: client, browser: "b", asked: asked}
				transaction := f.begin(&l)
				if !transaction.None || transaction.Browser != "" {
					t.Errorf("got %+v", transaction)
				}
				issued, err := f.redeem(&l, transaction)
				if err != nil || issued.Token != "" || issued.Answer.Status != 200 {
					t.Errorf("got %+v, %v; want the upstream's answer without an ORT", issued, err)
				}
				f.active(0)
				if f.counted("issued_total", "none_not_allowed") != 1 {
					t.Error("not counted")
				}
				if !strings.Contains(f.log.String(), "online_access dropped") {
					t.Error("no warning")
				}
			})
		})
	}
}

// TestTransactionBound: the oldest of the address that holds most is pushed out;
// an IPv6 host counts by its /64.
func TestTransactionBound(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		for addr, want := range map[string]string{
			"192.0.2.7": "192.0.2.7/32", "::ffff:192.0.2.7": "192.0.2.7/32",
			"2001:db8::1": "2001:db8::/64", "2001:db8:0:0:ffff::1": "2001:db8::/64", "fe80::1%eth0": "fe80::/64",
		} {
			l := login{asked: func(a *ortengine.Authorization) { a.Address = netip.MustParseAddr(addr) }}
			if got := f.begin(&l).Address.String(); got != want {
				t.Errorf("%s counts as %s, want %s", addr, got, want)
			}
		}
	})
}

// TestTransactionPushed: a pushed request is found by its request_uri, and takes
// its browser from the request that uses it (RFC 9126 section 4).
func TestTransactionPushed(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		l := login{unseen: true}
		l.fill(f)
		begun, err := f.Begin(t.Context(), f.authorization(&l))
		if err != nil {
			t.Fatal(err)
		}
		if _, known, err := f.UsePushed(t.Context(), "urn:r:1", "b"); known || err != nil {
			t.Errorf("an unknown request_uri: known %v, %v", known, err)
		}
		if err := f.Pushed(t.Context(), "urn:r:1", begun.Key); err != nil {
			t.Fatal(err)
		}
		used, known, err := f.UsePushed(t.Context(), "urn:r:1", "b")
		if !known || err != nil || used.Browser != "b" {
			t.Errorf("got browser %q, known %v, %v", used.Browser, known, err)
		}
		used, _, err = f.UsePushed(t.Context(), "urn:r:1", "c")
		if err != nil || used.Browser != "" || !used.Browsers {
			t.Errorf("a second browser: got %q, several %v, %v; want none", used.Browser, used.Browsers, err)
		}
		time.Sleep(waiting)
		if _, known, err := f.UsePushed(t.Context(), "urn:r:1", "b"); known || err != nil {
			t.Errorf("after its time: known %v, %v", known, err)
		}
	})
}

// TestDevice: a device code that was asked with online_access is remembered as
// long as a transaction.
func TestDevice(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		asked := func(code string) bool {
			t.Helper()
			is, err := f.DeviceAsked(t.Context(), code)
			if err != nil {
				t.Fatal(err)
			}
			return is
		}
		for range 2 {
			if err := f.NoteDevice(t.Context(), place, "tv", "device-1", netip.MustParseAddr("192.0.2.1")); err != nil {
				t.Fatal(err)
			}
		}
		if !asked("device-1") || asked("device-2") {
			t.Error("the device code that was noted, and that alone")
		}
		if f.known("device-1") {
			t.Error("a device code is a verifier")
		}
		time.Sleep(waiting)
		if asked("device-1") {
			t.Error("remembered for too long")
		}
	})
}

// TestPolicy: the lists of section 9.
func TestPolicy(t *testing.T) {
	list := func(s string) []string { return strings.Fields(s) }
	for _, row := range []struct {
		name string
		got  bool
		want bool
	}{
		{"any client", (&ortengine.Policy{}).AllowsClient("a"), true},
		{"no client", (&ortengine.Policy{}).AllowsClient(""), false},
		{"a listed client", (&ortengine.Policy{Clients: list("a b")}).AllowsClient("b"), true},
		{"an unlisted client", (&ortengine.Policy{Clients: list("a b")}).AllowsClient("c"), false},
		{"any audience", (&ortengine.Policy{}).AllowsAudiences(list("x")), true},
		{"no audience", (&ortengine.Policy{Audiences: list("x")}).AllowsAudiences(nil), true},
		{"listed audiences", (&ortengine.Policy{Audiences: list("x y")}).AllowsAudiences(list("y x")), true},
		{"one unlisted audience", (&ortengine.Policy{Audiences: list("x")}).AllowsAudiences(list("x y")), false},
		{"public by default", (&ortengine.Policy{}).IsConfidential("a", true), false},
		{"confidential", (&ortengine.Policy{Confidential: list("a")}).IsConfidential("a", false), true},
		{"another is public", (&ortengine.Policy{Confidential: list("a")}).IsConfidential("b", true), false},
		{"*, authenticates", (&ortengine.Policy{Confidential: list("*")}).IsConfidential("b", true), true},
		{"*, does not", (&ortengine.Policy{Confidential: list("*")}).IsConfidential("b", false), false},
		{"a client called *", (&ortengine.Policy{Confidential: list("*")}).IsConfidential("*", false), false},
		{"online only by default", (&ortengine.Policy{}).IsOnlineOnly("a"), false},
		{"online only", (&ortengine.Policy{OnlineOnly: list("a")}).IsOnlineOnly("a"), true},
		{"online only, all", (&ortengine.Policy{OnlineOnly: list("*")}).IsOnlineOnly("a"), true},
		{"online only, all of the clients", (&ortengine.Policy{OnlineOnly: list("*"), Clients: list("a")}).IsOnlineOnly("b"), false},
		{"online only, in another case", (&ortengine.Policy{OnlineOnly: list("spa")}).IsOnlineOnly("SPA"), true},
		{"online only, with white space", (&ortengine.Policy{OnlineOnly: list("spa")}).IsOnlineOnly(" spa\t"), true},
		{"online only, with a NUL", (&ortengine.Policy{OnlineOnly: list("spa")}).IsOnlineOnly("spa\x00x"), true},
		{"online only, all of the clients, in another case", (&ortengine.Policy{OnlineOnly: list("*"), Clients: list("a")}).IsOnlineOnly("A "), true},
		{"online only, no client", (&ortengine.Policy{OnlineOnly: list("*")}).IsOnlineOnly("\x00"), false},
	} {
		if row.got != row.want {
			t.Errorf("%s: got %v", row.name, row.got)
		}
	}
}

// TestConfig: New names what is wrong.
func TestConfig(t *testing.T) {
	keys, _ := seal.ParseKeys(seal.NewKey())
	good := ortengine.Config{Store: &faultyStore{}, Keys: keys, Idle: 1, Absolute: 2, Login: 1, Upstream: 1}
	if _, err := ortengine.New(good); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(*ortengine.Config){
		"Store":    func(c *ortengine.Config) { c.Store = nil },
		"Keys":     func(c *ortengine.Config) { c.Keys = nil },
		"Idle":     func(c *ortengine.Config) { c.Idle = 3 },
		"Absolute": func(c *ortengine.Config) { c.Absolute = 0 },
		"Login":    func(c *ortengine.Config) { c.Login = -1 },
		"Upstream": func(c *ortengine.Config) { c.Upstream = 0 },
	} {
		c := good
		spoil(&c)
		if _, err := ortengine.New(c); err == nil || !strings.Contains(fmt.Sprint(err), name) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}
