package ortengine_test

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ort-gateway/ort-gateway/cmd/proctest"
	"github.com/ort-gateway/ort-gateway/metrics"
	"github.com/ort-gateway/ort-gateway/ortengine"
	"github.com/ort-gateway/ort-gateway/ortengine/seal"
	"github.com/ort-gateway/ort-gateway/sessions"
	"github.com/ort-gateway/ort-gateway/sessions/boltstore"
)

const (
	place    = "https://id.example/authorize"
	issuer   = "https://id.example"
	idle     = time.Hour
	absolute = 8 * time.Hour
	waiting  = 10 * time.Minute // ORT_LOGIN_TIMEOUT
	patience = 30 * time.Second // ORT_UPSTREAM_TIMEOUT
)

// fixture is an engine over a real store, beside an upstream that plays its part.
type fixture struct {
	*ortengine.Engine
	testing.TB
	store    *faultyStore
	idp      *idp
	keys     *seal.Keyring
	key      string // the one in it at first
	log      *logged
	registry *prometheus.Registry
	codes    atomic.Int64
}

// inBubble runs a test in which time passes by itself, and no goroutine may be
// left at the end.
func inBubble(t *testing.T, test func(t *testing.T, f *fixture)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { test(t, newFixture(t, nil)) })
}

func newFixture(t testing.TB, change func(*ortengine.Config)) *fixture {
	t.Helper()
	key := seal.NewKey()
	keys, err := seal.ParseKeys(key)
	if err != nil {
		t.Fatal(err)
	}
	bolt, err := boltstore.Open(boltstore.Config{Path: filepath.Join(t.TempDir(), "sessions.db")})
	if err != nil {
		t.Fatal(err)
	}
	f := &fixture{TB: t, store: &faultyStore{Store: bolt}, idp: newIDP(), keys: keys, key: key, log: &logged{}, registry: prometheus.NewRegistry()}
	c := ortengine.Config{
		Store: f.store, Keys: keys, Idle: idle, Absolute: absolute, Login: waiting, Upstream: patience,
		Logger:  slog.New(slog.NewJSONHandler(f.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Metrics: metrics.New(f.registry, metrics.Config{}),
	}
	if change != nil {
		change(&c)
	}
	if f.Engine, err = ortengine.New(c); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
		defer cancel()
		if err := f.Close(ctx); err != nil && !errors.Is(err, context.DeadlineExceeded) {
			t.Error("closing the engine:", err)
		}
		if err := bolt.Close(); err != nil {
			t.Error("closing the store:", err)
		}
	})
	return f
}

// logged is what was logged.
type logged struct{ proctest.Output }

// events are the lines with a message, with one attribute of each.
func (l *logged) events(t testing.TB, message, attribute string) (out []string) {
	t.Helper()
	for line := range strings.Lines(l.String()) {
		var record map[string]any
		if err := json.Unmarshal([]byte(line), &record); err != nil {
			t.Fatalf("a log line that is no JSON: %v: %s", err, line)
		}
		if record["msg"] == message {
			out = append(out, fmt.Sprint(record[attribute]))
		}
	}
	return out
}

// counted is the value of a counter with one label.
func (f *fixture) counted(name, label string) float64 {
	f.Helper()
	families, err := f.registry.Gather()
	if err != nil {
		f.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() != "ort_gateway_"+name {
			continue
		}
		for _, m := range family.GetMetric() {
			if m.GetLabel()[0].GetValue() == label {
				return m.GetCounter().GetValue()
			}
		}
	}
	f.Fatalf("no metric %s{%s}", name, label)
	return 0
}

// login is how a client logs in; its zero value is an app in a browser of its
// own, at an upstream that tells nothing of the user.
type login struct {
	client   string // "": app-one
	verifier string // "": one of its own
	browser  sessions.BrowserID
	unseen   bool // the redirect with the code was not seen
	cookies  []sessions.CookieHash
	tells    *ortengine.Login
	key      string // thumbprint of the client's proof
	asked    func(*ortengine.Authorization)
	code     string // "": one of its own
	none     bool   // the upstream gives no refresh token
}

// user is an ID token's word at an upstream with public subjects.
func user(sub, sid string, at time.Time) *ortengine.Login {
	return &ortengine.Login{Issuer: issuer, Subject: sub, SID: sid, AuthTime: at, PublicSubjects: true}
}

// pairwise is the same where each client knows the user by another subject.
func pairwise(sub, sid string, at time.Time) *ortengine.Login {
	l := user(sub, sid, at)
	l.PublicSubjects = false
	return l
}

func s256(verifier string) string {
	sum := sha256.Sum256([]byte(verifier))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

func (l *login) fill(f *fixture) {
	n := f.codes.Add(1)
	if l.client == "" {
		l.client = "app-one"
	}
	if l.verifier == "" {
		l.verifier = fmt.Sprintf("verifier-%d-%s", n, strings.Repeat("v", 40))
	}
	if l.code == "" {
		l.code = fmt.Sprintf("code-%d", n)
	}
}

// authorization is the request that a login begins with.
func (f *fixture) authorization(l *login) ortengine.Authorization {
	a := ortengine.Authorization{
		Place: place, Client: l.client, Scope: "openid online_access", Challenge: s256(l.verifier), Method: "S256",
		Browser: l.browser, Address: netip.MustParseAddr("192.0.2.1"),
	}
	if l.asked != nil {
		l.asked(&a)
	}
	return a
}

// begin makes the authorization request and the upstream's redirect.
func (f *fixture) begin(l *login) sessions.Transaction {
	f.Helper()
	l.fill(f)
	begun, err := f.Begin(f.Context(), f.authorization(l))
	if err != nil {
		f.Fatal("authorization request:", err)
	}
	f.idp.grants(l.code, begun.Challenge, l.tells, !l.none)
	if !l.unseen {
		if err := f.SawCode(f.Context(), l.code, l.browser, l.cookies); err != nil {
			f.Fatal(err)
		}
	}
	t, known, err := f.TransactionOf(f.Context(), l.verifier, []string{place})
	if err != nil || !known {
		f.Fatalf("transaction of the verifier: known %v, %v", known, err)
	}
	return t
}

// redeem exchanges the code of a login that has begun.
func (f *fixture) redeem(l *login, t sessions.Transaction) (ortengine.Issued, error) {
	return f.ExchangeCode(f.Context(), ortengine.CodeExchange{
		Transaction: t, Issuer: issuer, Client: l.client, Code: l.code, Thumbprint: l.key, Send: f.idp.redeem(l.code),
	})
}

// login goes all the way.
func (f *fixture) login(l login) ortengine.Issued {
	f.Helper()
	issued, err := f.redeem(&l, f.begin(&l))
	if err != nil {
		f.Fatal("code exchange:", err)
	}
	if issued.Token == "" && !l.none {
		f.Fatal("no ORT was issued")
	}
	return issued
}

func (f *fixture) open(token string) ortengine.ORT {
	f.Helper()
	o, err := f.Open(token)
	if err != nil {
		f.Fatal("opening an ORT:", err)
	}
	return o
}

// use exchanges an ORT.
func (f *fixture) use(token string) (ortengine.Exchanged, error) {
	return f.useIn(f.Context(), token)
}

func (f *fixture) useIn(ctx context.Context, token string) (ortengine.Exchanged, error) {
	o, err := f.Open(token)
	if err != nil {
		return ortengine.Exchanged{}, ortengine.InvalidToken()
	}
	return f.Exchange(ctx, ortengine.Exchange{ORT: o, Send: f.idp.refresh})
}

// works fails the test where an ORT is not good.
func (f *fixture) works(token string) ortengine.Exchanged {
	f.Helper()
	done, err := f.use(token)
	if err != nil {
		f.Fatal("ORT exchange:", err)
	}
	if done.Answer.Status != 200 {
		f.Fatalf("ORT exchange: status %d", done.Answer.Status)
	}
	return done
}

// refused checks an error, the beginning of its description and its metric's
// label.
func (f *fixture) refused(err error, status int, code, description, result string) {
	f.Helper()
	var e *ortengine.Error
	if !errors.As(err, &e) {
		f.Fatalf("got %v, want a refusal", err)
	}
	if e.Status != status || e.Code != code || !strings.HasPrefix(e.Description, description) || e.Result != result {
		f.Errorf("got %d %s %q (%s), want %d %s %q… (%s)", e.Status, e.Code, e.Description, e.Result, status, code, description, result)
	}
	if (e.RetryAfter > 0) != (status == 503) {
		f.Errorf("%d %s: Retry-After %v", e.Status, e.Code, e.RetryAfter)
	}
}

// dead checks that an ORT is refused for good, and for which reason.
func (f *fixture) dead(token, why, result string) {
	f.Helper()
	_, err := f.use(token)
	f.refused(err, 400, "invalid_grant", "Unknown or invalid refresh token: "+why, result)
}

// seals changes the sealing keys.
func (f *fixture) seals(keys ...string) {
	f.Helper()
	ring, err := seal.ParseKeys(strings.Join(keys, ","))
	if err != nil {
		f.Fatal(err)
	}
	f.keys.Replace(ring)
}

// active is how many sessions live.
func (f *fixture) active(want int) {
	f.Helper()
	if got := f.store.Stats().Active; got != want {
		f.Errorf("%d sessions live, want %d", got, want)
	}
}
