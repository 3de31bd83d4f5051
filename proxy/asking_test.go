package proxy

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ort-gateway/ort-gateway/ortengine"
)

// One question, however many have it; a no is good for a moment, a yes is kept by
// who asked.
func TestAskingOnceForAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAsking[string, int](time.Now)
		var calls atomic.Int64
		reply := answer[int]{value: 7, yes: true, there: true}
		what := func(ctx context.Context) answer[int] {
			calls.Add(1)
			time.Sleep(time.Second)
			return reply
		}
		first, leave := context.WithCancel(t.Context())
		var all sync.WaitGroup
		all.Go(func() { a.ask(first, "k", what) })
		synctest.Wait()
		leave() // the others wait for it all the same
		for range 100 {
			all.Go(func() {
				if got := a.ask(t.Context(), "k", what); got != reply {
					t.Errorf("got %+v", got)
				}
			})
		}
		all.Wait()
		if n := calls.Load(); n != 1 {
			t.Errorf("%d calls", n)
		}
		for _, row := range []struct {
			reply answer[int]
			life  time.Duration
		}{{answer[int]{there: true}, noLife}, {answer[int]{}, downLife}} {
			reply = row.reply
			calls.Store(0)
			a.ask(t.Context(), "no", what)
			time.Sleep(row.life - time.Second)
			if got := a.ask(t.Context(), "no", what); got != reply || row.life > time.Second && calls.Load() != 1 {
				t.Errorf("a no: %+v, %d calls", got, calls.Load())
			}
			time.Sleep(noLife)
			calls.Store(0)
			if a.ask(t.Context(), "no", what); calls.Load() != 1 {
				t.Errorf("a no of some time ago: %d calls", calls.Load())
			}
			time.Sleep(noLife)
		}
	})
}

func TestAskingIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAsking[int, int](time.Now)
		var under, most atomic.Int64
		var all sync.WaitGroup
		for k := range 10 * maxAsking {
			all.Go(func() {
				a.ask(t.Context(), k, func(ctx context.Context) answer[int] {
					most.Store(max(most.Load(), under.Add(1)))
					<-ctx.Done()
					under.Add(-1)
					return answer[int]{}
				})
			})
		}
		all.Wait()
		if most.Load() != maxAsking || len(a.under) != 0 || len(a.slots) != 0 {
			t.Errorf("%d at once, %d kept", most.Load(), len(a.under))
		}
	})
}

// A flood of refusals asks the upstream once for an origin or a redirect_uri.
func TestFloodsAskTheUpstreamOnce(t *testing.T) {
	var c clock
	r := newRig(t, by(&c))
	r.does(func(w http.ResponseWriter, _ *http.Request, _ string) { w.WriteHeader(http.StatusNoContent) })
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			for range 5 {
				r.do("POST", "/token", "grant_type=refresh_token&refresh_token=ORT1.x", "Origin", other)
			}
		})
	}
	all.Wait()
	if n := r.count(); n != 1 {
		t.Errorf("the upstream was asked %d times for an origin", n)
	}
	r.does(func(w http.ResponseWriter, _ *http.Request, _ string) { w.WriteHeader(http.StatusBadRequest) })
	evil := r.app().authorize("scope", "online_access offline_access", "redirect_uri", "https://evil.example/").Encode()
	for range 50 {
		if resp := r.do("GET", "/authorize?"+evil, ""); resp.StatusCode != 400 || resp.Header.Get("Location") != "" {
			t.Fatalf("%d %s", resp.StatusCode, resp.Header.Get("Location"))
		}
	}
	if n := r.count(); n != 2 {
		t.Errorf("the upstream was asked %d times for a redirect_uri", n-1)
	}
	c.pass(noLife)
	r.does(nil)
	mine := r.app().authorize("scope", "online_access offline_access").Encode()
	if resp := r.do("GET", "/authorize?"+mine, ""); resp.StatusCode != 302 {
		t.Errorf("a redirect_uri of the client's: %d", resp.StatusCode)
	}
}

// Large bodies of strangers do not add up, and keep no small one out.
func TestBodiesInMemoryAreBounded(t *testing.T) {
	r := newRig(t, func(_ *rig, c *Config, _ *ortengine.Config) { c.UpstreamTimeout = time.Minute })
	const fit = 4
	r.held.limit = fit * maxBody
	release, arrived := make(chan struct{}), make(chan struct{})
	r.does(func(w http.ResponseWriter, q *http.Request, body string) {
		if len(body) > smallHeld {
			arrived <- struct{}{}
			<-release
		}
		usual(w, q, body)
	})
	large := "grant_type=x&client_id=a&a=" + strings.Repeat("x", maxBody-100)
	var all sync.WaitGroup
	for range fit {
		all.Go(func() {
			if resp := r.do("POST", "/token", large); resp.StatusCode != 200 {
				t.Errorf("got %d", resp.StatusCode)
			}
		})
		<-arrived
	}
	if resp := r.do("POST", "/token", "grant_type=x&client_id=a"); resp.StatusCode != 200 {
		t.Errorf("a small one: %d", resp.StatusCode)
	}
	for _, path := range []string{"/token", "/authorize", "/logout", "/revoke"} {
		if resp := r.do("POST", path, large); resp.StatusCode != 503 || resp.Header.Get("Retry-After") == "" {
			t.Errorf("a large one at %s: %d %v", path, resp.StatusCode, resp.Header)
		}
	}
	close(release)
	go func() { <-arrived }()
	all.Wait()
	if n := r.held.bytes.Load(); n != 0 {
		t.Errorf("%d bytes are held after all", n)
	}
	if resp := r.do("POST", "/token", large); resp.StatusCode != 200 {
		t.Errorf("a large one afterwards: %d", resp.StatusCode)
	}
}

// OpenID Connect CIBA: online_access is taken out, and no refresh token comes of it.
func TestBackchannelAuthentication(t *testing.T) {
	r := newRig(t, onlySPA, func(r *rig, _ *Config, _ *ortengine.Config) {
		r.meta["backchannel_authentication_endpoint"] = public + "/ciba"
	})
	r.does(func(w http.ResponseWriter, q *http.Request, body string) {
		if q.URL.Path == "/ciba" {
			id := "asked"
			if !strings.Contains(body, "openid+a") {
				id = "plain"
			}
			fmt.Fprintf(w, `{"auth_req_id":"%s","expires_in":60}`, id)
			return
		}
		usual(w, q, body)
	})
	r.do("POST", "/ciba", "client_id=web&scope=openid+a+online_access&login_hint=u")
	if got := r.last().body; got != "client_id=web&scope=openid+a&login_hint=u" {
		t.Errorf("the upstream got %s", got)
	}
	r.do("POST", "/ciba", "client_id=web&scope=openid&login_hint=u")
	for id, stays := range map[string]bool{"asked": false, "plain": true} {
		body := text(r.do("POST", "/token", "client_id=web&grant_type="+grantCIBA+"&auth_req_id="+id))
		if strings.Contains(body, "R-of-the-upstream") != stays {
			t.Errorf("%s: %s", id, body)
		}
	}
	r.do("POST", "/ciba", "client_id=spa&scope=openid+offline_access&login_hint=u")
	if got := r.last().body; got != "client_id=spa&scope=openid&login_hint=u" {
		t.Errorf("an online-only client: the upstream got %s", got)
	}
	before := r.count()
	r.refused(r.do("GET", "/ciba?scope=online_access", ""), before, 405, "invalid_request")
	r.refused(r.do("POST", "/ciba", "scope=x&scope=online_access"), before, 400, "invalid_request")
}

// A query that an endpoint is published with goes along where the gateway itself
// calls it.
func TestQueriesOfPublishedEndpoints(t *testing.T) {
	r := newRig(t, confidential("web"), func(r *rig, c *Config, _ *ortengine.Config) {
		c.Auth0.Paths = true
		for _, name := range []string{"authorization_endpoint", "token_endpoint", "revocation_endpoint", "end_session_endpoint", "userinfo_endpoint"} {
			at := strings.TrimSuffix(name, "_endpoint")
			r.meta[name] = public + "/t/" + at + "?p=policy%2F1"
		}
	})
	got := func(what, path, query string) {
		t.Helper()
		if up := r.last(); up.path != path || !strings.HasPrefix(up.query, query) {
			t.Errorf("%s: the upstream got %s?%s", what, up.path, up.query)
		}
	}
	r.do("POST", "/_ort/revoke", "token=x", "Origin", good)
	got("a preflight of the gateway's own", "/t/token", "p=policy%2F1")
	r.do("POST", "/t/revocation", "%zz", "Origin", other)
	got("one for the endpoint that was called", "/t/revocation", "p=policy%2F1")
	r.app().conflictAt("/t/authorization?p=policy%2F1&")
	got("a question for a redirect_uri", "/t/authorization", "p=policy%2F1&client_id=spa")
	r.do("GET", "/userinfo?a=b", "")
	got("an alias", "/t/userinfo", "p=policy%2F1&a=b")
	r.do("GET", "/userinfo", "")
	got("an alias without a query", "/t/userinfo", "p=policy%2F1")
	resp := r.do("GET", "/authorize?scope=openid", "")
	if to := resp.Header.Get("Location"); to != public+"/t/authorization?p=policy%2F1&scope=openid" {
		t.Errorf("led to %s", to)
	}
}

func (a *app) conflictAt(target string) *http.Response {
	return a.do("GET", target+a.authorize("scope", "online_access offline_access").Encode(), "")
}

// Discovery is answered in time while nothing is known and the upstream is silent.
func TestDiscoveryWhileTheUpstreamIsSilent(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.mu.Lock()
		r.wellKnown = func(_ http.ResponseWriter, q *http.Request) { <-q.Context().Done() }
		r.mu.Unlock()
		for range 3 {
			time.Sleep(2 * time.Second)
			began := time.Now()
			if resp := r.do("GET", "/.well-known/openid-configuration", ""); resp.StatusCode != 503 || resp.Header.Get("Retry-After") == "" {
				t.Errorf("%d %v", resp.StatusCode, resp.Header)
			}
			if took := time.Since(began); took != 3*time.Second {
				t.Errorf("it took %v", took)
			}
		}
	}, func(r *rig, c *Config, _ *ortengine.Config) {
		c.UpstreamTimeout = 3 * time.Second
		r.wellKnown = func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) }
	})
}
