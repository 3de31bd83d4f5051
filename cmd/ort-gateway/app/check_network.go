package app

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// noteUpstream tells of the first answer: the way to the upstream.
func (c *checker) noteUpstream(t *target, a *answer) {
	u := c.settings.UpstreamURL
	switch {
	case a.tls != nil:
		text := fmt.Sprintf("%s answers, %s", u, tls.VersionName(a.tls.Version))
		if len(a.tls.PeerCertificates) > 0 {
			end := a.tls.PeerCertificates[0].NotAfter
			text += ", certificate good until " + end.UTC().Format(time.DateOnly)
			if end.Sub(c.now()) < 14*24*time.Hour {
				c.report.add(fact{Level: levelWarn, Topic: "upstream", Fact: text, Setting: "renew the upstream's certificate"})
				return
			}
		}
		c.report.add(fact{Level: levelOK, Topic: "upstream", Fact: text})
	case isLoopback(u.Hostname()):
		c.report.add(fact{Level: levelOK, Topic: "upstream", Fact: u.String() + " answers, on this machine"})
	default:
		c.report.add(fact{Level: levelWarn, Topic: "upstream", Fact: u.String() + " answers in plain HTTP: passwords and tokens cross that network in the clear",
			Setting: "ORT_UPSTREAM_URL=https://…, unless that network is yours alone"})
	}
}

// Clocks that differ by more than these make ID tokens, logout tokens and proofs look too old or too new.
const (
	clockWarn = 5 * time.Second
	clockFail = time.Minute
)

// checkClock compares the clocks by the Date field of the first answer, which has whole seconds (RFC 9110 section 6.6.1).
func (c *checker) checkClock(_ context.Context, t *target) {
	a := t.doc.answer
	date, err := http.ParseTime(a.header.Get("Date"))
	if err != nil {
		t.skip("clock", "the upstream sends no Date field")
		return
	}
	// It was written between sending and receiving, and up to a second after the second that it names.
	var off time.Duration
	switch earliest, latest := a.sent.Add(-time.Second), a.came; {
	case date.Before(earliest):
		off = date.Sub(earliest)
	case date.After(latest):
		off = date.Sub(latest)
	}
	off = off.Round(time.Second)
	text := fmt.Sprintf("the upstream's is %s ahead of this machine's", off)
	if off < 0 {
		text = fmt.Sprintf("the upstream's is %s behind this machine's", -off)
	}
	switch {
	case off.Abs() > clockFail:
		t.note(levelFail, "clock", text, "set both clocks by NTP")
	case off.Abs() > clockWarn:
		t.note(levelWarn, "clock", text, "set both clocks by NTP")
	default:
		t.ok("clock", "the upstream's and this machine's agree")
	}
}

// strangeOrigin is an origin that nobody allows by name (RFC 6761 section 6.4).
const strangeOrigin = "https://ort-gateway-check.invalid"

// checkCORS asks preflights; they change nothing. Whom the upstream allows is decided by the real request at many
// upstreams, so that a preflight that is answered says nothing.
func (c *checker) checkCORS(ctx context.Context, t *target) {
	anybody, err := c.preflight(ctx, t.doc.Token, strangeOrigin)
	switch {
	case err != nil:
		text, _ := whyNot(err)
		t.skip("CORS", "the token endpoint's preflight could not be asked: "+text)
	case anybody && len(c.settings.CORSOrigins) == 0:
		t.note(levelSkip, "CORS", "the token endpoint's preflight allows any origin, so whom the upstream really allows shows at real requests alone", t.idp.say(wordCORS, t, ""))
	case len(c.settings.CORSOrigins) == 0:
		t.note(levelSkip, "CORS", "the upstream refuses a strange origin, and which it allows could not be found out (ORT_CORS_ORIGINS names none)", t.idp.say(wordCORS, t, ""))
	default:
		t.ok("CORS", "the gateway allows "+strings.Join(c.settings.CORSOrigins, ", ")+" itself (ORT_CORS_ORIGINS)")
	}
	if t.doc.Userinfo == "" || anybody {
		return
	}
	for _, origin := range c.settings.CORSOrigins { // other endpoints answer for themselves
		allowed, err := c.preflight(ctx, t.doc.Userinfo, origin)
		if err == nil && !allowed {
			t.note(levelWarn, "CORS", "the userinfo endpoint, which the gateway only forwards, does not allow "+origin, t.idp.say(wordCORS, t, ""))
		}
	}
}

func (c *checker) preflight(ctx context.Context, endpoint, origin string) (allowed bool, err error) {
	a, err := c.ask(ctx, probe{method: http.MethodOptions, path: pathOf(endpoint), header: http.Header{
		"Origin": {origin}, "Access-Control-Request-Method": {http.MethodPost}, "Access-Control-Request-Headers": {"authorization"},
	}})
	if err != nil {
		return false, err
	}
	return slices.Contains([]string{"*", origin}, a.header.Get("Access-Control-Allow-Origin")), nil
}

// checkReach looks where the public name leads, and who else may reach the upstream.
func (c *checker) checkReach(ctx context.Context, t *target) {
	inner := *c
	inner.timeout = min(c.timeout, checkPublicTimeout)
	a, err := inner.send(ctx, c.public, c.settings.PublicOrigin, probe{method: http.MethodGet, path: t.doc.from, bare: true})
	var doc struct {
		Session string `json:"ort_session_endpoint"`
	}
	switch {
	case err != nil:
		text, _ := whyNot(err)
		t.skip("public name", "the public origin was not reached from here: "+text+" (is the gateway running?)")
	case a.status == http.StatusOK && json.Unmarshal(a.body, &doc) == nil && doc.Session != "":
		t.ok("public name", "leads to the gateway")
	case a.status == http.StatusOK:
		t.note(levelFail, "public name", "leads past the gateway: its discovery document has no ort_session_endpoint",
			"let "+originOf(c.settings.PublicOrigin)+" lead to the gateway's ORT_LISTEN_ADDR ("+c.settings.ListenAddr+")")
	default:
		t.skip("public name", fmt.Sprintf("the public origin answers %d, so where it leads could not be found out", a.status))
	}
	if isLoopback(c.settings.UpstreamURL.Hostname()) {
		t.ok("direct access", "the upstream is asked on this machine; let it listen there alone")
		return
	}
	t.skip("direct access", "who else reaches "+c.settings.UpstreamURL.Host+" could not be found out: it trusts its neighbour's X-Forwarded-* fields, so let the gateway alone connect to it")
}
