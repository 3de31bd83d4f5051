package upstream

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// documents are discovery documents by path; a status in place of one is answered.
type documents struct {
	mu   sync.Mutex
	at   map[string]any // map[string]any, string or int
	asks []string
	hang bool
}

func (d *documents) RoundTrip(r *http.Request) (*http.Response, error) {
	d.mu.Lock()
	d.asks = append(d.asks, r.Host+" "+r.URL.Path+" "+r.Header.Get("X-Forwarded-Proto"))
	v, hang := d.at[r.URL.Path], d.hang
	d.mu.Unlock()
	if hang {
		<-r.Context().Done()
		return nil, r.Context().Err()
	}
	w := httptest.NewRecorder()
	switch v := v.(type) {
	case nil:
		w.WriteHeader(http.StatusNotFound)
	case int:
		if v == 0 {
			return nil, errors.New("down")
		}
		w.WriteHeader(v)
	case string:
		w.WriteString(v)
	default:
		json.NewEncoder(w).Encode(v)
	}
	return w.Result(), nil
}

func (d *documents) asked() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.asks)
}

func (d *documents) set(path string, v any) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.at[path] = v
}

const (
	issuer  = "https://id.example/realms/r"
	oidc    = "/realms/r/.well-known/openid-configuration"
	oauth   = "/.well-known/oauth-authorization-server/realms/r"
	without = "-"
)

// document is a discovery document with changes: name, value.
func document(change ...string) map[string]any {
	m := map[string]any{"issuer": issuer, "authorization_endpoint": issuer + "/auth", "token_endpoint": issuer + "/token"}
	for i := 0; i+1 < len(change); i += 2 {
		if m[change[i]] = change[i+1]; change[i+1] == without {
			delete(m, change[i])
		}
	}
	return m
}

func fetcher(t *testing.T, d *documents, issuers ...string) (*Metadata, *[]*State) {
	t.Helper()
	if len(issuers) == 0 {
		issuers = []string{issuer}
	}
	at, _ := url.Parse("http://127.0.0.1:8081")
	var changes []*State
	m, err := NewMetadata(MetadataConfig{Issuers: issuers, Upstream: at, Client: d, Changed: func(s *State) { changes = append(changes, s) }})
	if err != nil {
		t.Fatal(err)
	}
	return m, &changes
}

func TestMetadataPutsBothDocumentsTogether(t *testing.T) {
	d := &documents{at: map[string]any{
		oidc:  document("end_session_endpoint", issuer+"/logout", "revocation_endpoint", without),
		oauth: document("revocation_endpoint", issuer+"/revoke", "token_endpoint", "https://id.example/another"),
	}}
	m, _ := fetcher(t, d)
	m.Fetch(context.Background())
	p := m.State().Providers[0]
	if p.EndSession != issuer+"/logout" || p.Revocation != issuer+"/revoke" || p.Token != issuer+"/token" {
		t.Errorf("got %+v", p)
	}
	if want := "id.example " + oidc + " https"; !slices.Contains(d.asks, want) {
		t.Errorf("asked %q, want %q: under the public name", d.asks, want)
	}
	if len(p.Documents) != 2 {
		t.Errorf("%d documents are kept", len(p.Documents))
	}
}

func TestMetadataThatAreNotUsed(t *testing.T) {
	for name, v := range map[string]any{
		"another issuer":                   document("issuer", "https://id.example/realms/other"),
		"an issuer with a slash more":      document("issuer", issuer+"/"),
		"no issuer":                        document("issuer", without),
		"not found":                        404,
		"a page":                           "<html>",
		"no object":                        `["` + issuer + `"]`,
		"no token endpoint":                document("token_endpoint", without),
		"no authorization endpoint":        document("authorization_endpoint", without),
		"longer than any such document is": `{"issuer":"` + issuer + `","x":"` + strings.Repeat("x", maxDocument) + `"}`,
	} {
		t.Run(name, func(t *testing.T) {
			m, changes := fetcher(t, &documents{at: map[string]any{oidc: v}})
			m.Fetch(context.Background())
			if m.State().Complete() || m.Up() || len(*changes) != 0 {
				t.Errorf("used: %+v, up %v", m.State(), m.Up())
			}
		})
	}
}

func TestMetadataWithAMemberOfAnotherType(t *testing.T) {
	body := document()
	body["subject_types_supported"], body["revocation_endpoint"] = "public", issuer+"/revoke"
	m, _ := fetcher(t, &documents{at: map[string]any{oidc: body}})
	m.Fetch(context.Background())
	if !m.State().Complete() || m.State().Providers[0].Revocation == "" || m.State().Providers[0].PublicSubjects() {
		t.Errorf("got %+v", m.State())
	}
}

// What was learned stays while it cannot be fetched, document by document: an
// endpoint that is not recognised would see ORTs.
func TestMetadataAreKeptWhileOutOfReach(t *testing.T) {
	for name, fault := range map[string]any{"down": 0, "an error": 503, "a page": "<html>", "another issuer": document("issuer", "https://x")} {
		t.Run(name, func(t *testing.T) {
			d := &documents{at: map[string]any{oidc: document("revocation_endpoint", issuer+"/revoke"), oauth: document()}}
			m, changes := fetcher(t, d)
			m.Fetch(context.Background())
			d.set(oidc, fault)
			m.Fetch(context.Background())
			if got := m.State().Providers[0].Revocation; got == "" || len(*changes) != 1 || !m.Up() {
				t.Errorf("one of two: revocation endpoint %q, %d changes, up %v", got, len(*changes), m.Up())
			}
			d.set(oauth, fault)
			m.Fetch(context.Background())
			if !m.State().Complete() || m.Up() {
				t.Errorf("both: complete %v, up %v", m.State().Complete(), m.Up())
			}
		})
	}
	d := &documents{at: map[string]any{oidc: document("revocation_endpoint", issuer+"/revoke"), oauth: document()}}
	m, changes := fetcher(t, d)
	m.Fetch(context.Background())
	d.set(oidc, nil)
	m.Fetch(context.Background())
	if got := m.State().Providers[0].Revocation; got != "" || len(*changes) != 2 {
		t.Errorf("taken back: %q, %d changes", got, len(*changes))
	}
}

func TestMetadataChangesAreTold(t *testing.T) {
	d := &documents{at: map[string]any{oidc: document()}}
	m, changes := fetcher(t, d)
	for range 3 {
		m.Fetch(context.Background())
	}
	if len(*changes) != 1 {
		t.Errorf("%d changes told, want 1", len(*changes))
	}
	d.set(oidc, document("token_endpoint", issuer+"/token2"))
	m.Fetch(context.Background())
	if len(*changes) != 2 || (*changes)[1].Providers[0].Token != issuer+"/token2" {
		t.Errorf("after a change: %d", len(*changes))
	}
}

func TestMetadataOfSeveralIssuersAreCompleteWithAll(t *testing.T) {
	d := &documents{at: map[string]any{oidc: document()}}
	m, changes := fetcher(t, d, issuer, "https://id.example")
	m.Fetch(context.Background())
	if m.State().Complete() || len(*changes) != 1 {
		t.Errorf("complete without the second; %d changes", len(*changes))
	}
	d.set("/.well-known/openid-configuration", document("issuer", "https://id.example"))
	m.Fetch(context.Background())
	if !m.State().Complete() || m.State().Providers[1].Issuer != "https://id.example" {
		t.Errorf("got %+v", m.State())
	}
}

func TestMetadataRunRetriesSoonAndRefreshes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &documents{at: map[string]any{}}
		m, _ := fetcher(t, d)
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan struct{})
		go func() { m.Run(ctx); close(done) }()
		time.Sleep(time.Minute) // no real time passes here
		tries := d.asked() / 3
		if tries < 10 || tries > 30 {
			t.Errorf("%d tries in a minute without an answer", tries)
		}
		d.set(oidc, document())
		time.Sleep(lastPause)
		if !m.State().Complete() {
			t.Error("not learned within the longest pause")
		}
		before := d.asked()
		time.Sleep(time.Hour)
		if n := (d.asked() - before) / 3; n < 1 || n > 3 {
			t.Errorf("%d refreshes in an hour", n)
		}
		cancel()
		<-done
	})
}

func TestMetadataRetryIsBoundedAndWaitsForNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &documents{at: map[string]any{}, hang: true}
		m, _ := fetcher(t, d)
		go m.Retry(context.Background())
		synctest.Wait()
		began := time.Now()
		m.Retry(context.Background())
		if time.Since(began) != 0 {
			t.Errorf("a second request waited %v for the first one's fetch", time.Since(began))
		}
		time.Sleep(time.Minute)
		d.mu.Lock()
		d.hang = false
		d.mu.Unlock()
		before := d.asked()
		for range 10 {
			m.Retry(context.Background())
		}
		if n := d.asked() - before; n != 3 {
			t.Errorf("%d documents asked for by ten requests at once, want 3", n)
		}
	})
}

func TestProviderFacts(t *testing.T) {
	for _, row := range []struct {
		methods      []string
		s256, public bool
		types        []string
	}{
		{nil, true, false, nil},
		{[]string{"plain", "S256"}, true, true, []string{"public"}},
		{[]string{"plain"}, false, false, []string{"public", "pairwise"}},
	} {
		p := &Provider{ChallengeMethods: row.methods, SubjectTypes: row.types}
		if p.S256() != row.s256 || p.PublicSubjects() != row.public {
			t.Errorf("%v %v: S256 %v, public %v", row.methods, row.types, p.S256(), p.PublicSubjects())
		}
	}
	if (&Provider{EndSession: issuer + "/logout"}).Keycloak() || !(&Provider{EndSession: issuer + "/protocol/openid-connect/logout"}).Keycloak() {
		t.Error("Keycloak is known by its end-session endpoint")
	}
}

// Readiness is read from State and Up: neither may be ahead of those who are told.
func TestMetadataAreToldBeforeTheyShow(t *testing.T) {
	m, _ := fetcher(t, &documents{at: map[string]any{oidc: document()}})
	told := false
	m.cfg.Changed = func(*State) {
		told = true
		if m.State().Complete() || m.Up() {
			t.Error("ready before anybody was told")
		}
	}
	m.Fetch(t.Context())
	if !told || !m.State().Complete() || !m.Up() {
		t.Errorf("told %v, complete %v, up %v", told, m.State().Complete(), m.Up())
	}
}

// Whoever is told that the upstream can be asked finds its endpoints: what is owed to it would else wait for the next tick.
func TestMetadataReached(t *testing.T) {
	d := &documents{at: map[string]any{oidc: 0, oauth: 0}}
	m, _ := fetcher(t, d)
	reached := 0
	m.cfg.Reached = func() {
		reached++
		if !m.State().Complete() || !m.Up() {
			t.Error("told before the endpoints show")
		}
	}
	for _, step := range []struct {
		name string
		oidc any
		want int
	}{
		{"down at the start", 0, 0}, {"there", document(), 1}, {"as before", document(), 1}, {"another endpoint", document("token_endpoint", issuer+"/token2"), 2},
		{"down", 0, 2}, {"still down", 503, 2}, {"there again", document("token_endpoint", issuer+"/token2"), 3},
	} {
		d.set(oidc, step.oidc)
		m.Fetch(t.Context())
		if reached != step.want {
			t.Errorf("%s: told %d times, want %d", step.name, reached, step.want)
		}
	}
}
