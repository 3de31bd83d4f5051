package proxy

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/ort-gateway/ort-gateway/ortengine"
)

// What strangers ask for fills no log.
func TestStrangersFillNoLog(t *testing.T) {
	r := newRig(t, policy(ortengine.Policy{Clients: []string{"known"}}), func(r *rig, _ *Config, _ *ortengine.Config) {
		r.meta["code_challenge_methods_supported"] = []string{"plain"}
	})
	if n := strings.Count(r.log.String(), "S256"); n != 1 {
		t.Errorf("%d lines of an upstream without S256 when it was met", n)
	}
	r.log.Reset()
	for i := range 200 {
		r.do("GET", "/.well-known/openid-configuration", "")
		r.do("GET", "/authorize?"+r.app().authorize("client_id", fmt.Sprint(i)).Encode(), "")
	}
	if got := r.log.String(); strings.Contains(got, "level=WARN") || strings.Contains(got, "level=INFO") {
		t.Errorf("%.500s", got)
	}
	r = newRig(t, policy(ortengine.Policy{Clients: []string{"known"}}))
	r.log.Reset()
	for i := range 60 {
		r.do("GET", "/authorize?"+r.app().authorize("client_id", fmt.Sprint(i)+strings.Repeat("x", 2000), "resource", "urn:"+strings.Repeat("y", 1500)).Encode(), "")
		r.do("POST", "/token", "grant_type=refresh_token&refresh_token=ORT1.x&client_id="+strings.Repeat("x", 1000))
	}
	var loud string
	for line := range strings.Lines(r.log.String()) {
		if !strings.Contains(line, "level=DEBUG") {
			loud += line
		}
	}
	if n := strings.Count(loud, "\n"); n == 0 || n > 30 || len(loud) > n*700 {
		t.Errorf("%d lines, %d bytes: %.500s", n, len(loud), loud)
	}
}

// A request that panics ends its own connection, and the log says where it did, but
// not with what.
func TestRequestPanics(t *testing.T) {
	r, broken := newBreakableRig(t)
	a := r.app().login()
	broken.Store(true)
	func() {
		defer func() {
			if p := recover(); p != http.ErrAbortHandler {
				t.Errorf("it panicked with %v", p)
			}
		}()
		a.exchange()
	}()
	broken.Store(false)
	log := r.log.String()
	if !strings.Contains(log, `level=ERROR msg="a request panicked" panic=string stack=`) || !strings.Contains(log, "ortGrant") || strings.Contains(log, "planted-secret") {
		t.Error(log)
	}
	r.is("the next exchange", a.exchange(), 200)
}
