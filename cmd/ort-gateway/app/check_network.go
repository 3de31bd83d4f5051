package app

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
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
func (c *checker) checkClock(ctx context.Context, t *target) {
	a := t.doc.answer
	date, err := http.ParseTime(a.header.Get("Date"))
	if err != nil {
		if !c.clockByProof(ctx, t) {
			t.skip("clock", "the upstream sends no Date field, so its clock could not be read")
		}
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

// checkCORS asks as scripts of the apps' origins would: those of ORT_CORS_ORIGINS, or where each client's own redirect
// led to before (see tryPKCE). A preflight alone says little, many upstreams allow it for all and decide by the client.
func (c *checker) checkCORS(ctx context.Context, t *target) {
	own := c.settings.CORSOrigins
	if len(own) > 0 {
		t.ok("CORS", "the gateway allows "+strings.Join(own, ", ")+" itself (ORT_CORS_ORIGINS)")
	}
	tried := false
	for _, client := range c.knownClients() {
		if c.confidential(client) || !t.clients[client].passed(t.idp) {
			continue
		}
		origins := own
		if origin := t.origins[client]; len(own) == 0 && origin != "" {
			origins = []string{origin}
		}
		for _, origin := range origins[:min(len(origins), checkMaxOrigins)] {
			tried = c.tryOrigin(ctx, t, client, origin) || tried
		}
	}
	anybody, err := c.preflight(ctx, t.doc.Token, strangeOrigin)
	if err == nil && !tried {
		how := "the upstream's preflight refuses a strange origin"
		if anybody {
			how = "the upstream's preflight allows any origin, so it says nothing"
		}
		t.note(levelSkip, "CORS", "which origins the upstream allows could not be found out: "+how, t.idp.say(wordCORS, t, ""))
	}
	if t.doc.Userinfo == "" || anybody || err != nil {
		return
	}
	for _, origin := range own[:min(len(own), checkMaxOrigins)] { // other endpoints answer for themselves
		if allowed, err := c.preflight(ctx, t.doc.Userinfo, origin); err == nil && !allowed {
			t.note(levelWarn, "CORS", "the userinfo endpoint, which the gateway only forwards, does not allow "+origin, t.idp.say(wordCORS, t, ""))
		}
	}
}

// checkMaxOrigins is how many origins are tried.
const checkMaxOrigins = 5

// tryOrigin refreshes a token that nobody has from a page of that origin. True: something was found out.
func (c *checker) tryOrigin(ctx context.Context, t *target, client, origin string) bool {
	a, err := c.ask(ctx, probe{method: http.MethodPost, path: pathOf(t.doc.Token), header: http.Header{"Origin": {origin}},
		form: url.Values{"grant_type": {"refresh_token"}, "refresh_token": {madeUp()}, "client_id": {client}}})
	if err != nil {
		return false
	}
	name := "client " + quoted(client) + ": " + plainText(origin)
	code, description := a.oauthError()
	switch {
	case a.status == http.StatusForbidden: // Keycloak's way: no token at all, whatever the gateway allows
		t.note(levelFail, "CORS", name+" is refused ("+plainText(strings.TrimSpace(fmt.Sprint(a.status, " ", code, " ", description)))+")", t.idp.say(wordCORS, t, client))
	case slices.Contains([]string{"*", origin}, a.header.Get("Access-Control-Allow-Origin")):
		t.ok("CORS", name+" is allowed")
	case slices.Contains(c.settings.CORSOrigins, origin):
		t.ok("CORS", name+" is allowed by the gateway alone")
	default:
		t.note(levelWarn, "CORS", name+", where its logins end, is not allowed: a script there cannot read the answer of the token endpoint", t.idp.say(wordCORS, t, client))
	}
	return true
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
		c.checkOpenDoor(ctx, t)
		return
	}
	t.skip("direct access", "who else reaches "+c.settings.UpstreamURL.Host+" could not be found out: it trusts its neighbour's X-Forwarded-* fields, so let the gateway alone connect to it")
}

// checkOpenDoor tries whether an upstream that is asked on loopback listens at this machine's other addresses too (in a pod: the
// pod's), where others would reach it past the gateway.
func (c *checker) checkOpenDoor(ctx context.Context, t *target) {
	inner := *c
	inner.timeout = min(c.timeout, checkPublicTimeout)
	port := c.settings.UpstreamURL.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[c.settings.UpstreamURL.Scheme]
	}
	for _, addr := range c.addresses() {
		at := &url.URL{Scheme: c.settings.UpstreamURL.Scheme, Host: net.JoinHostPort(addr.String(), port)}
		a, err := inner.send(ctx, c.upstream, at, probe{method: http.MethodGet, path: t.doc.from, bare: true})
		var doc struct {
			Session string `json:"ort_session_endpoint"`
		}
		if err != nil || a.status != http.StatusOK || json.Unmarshal(a.body, &doc) == nil && doc.Session != "" {
			continue // nobody, somebody else, or this gateway itself
		}
		t.note(levelWarn, "direct access", "the upstream answers at "+at.Host+" too: who reaches that address passes by the gateway, and is believed what X-Forwarded-* says",
			"let the upstream listen on "+c.settings.UpstreamURL.Hostname()+" alone")
		return
	}
	t.ok("direct access", "the upstream answers on this machine alone")
}

// ownAddresses are this machine's addresses at which others could reach it.
func ownAddresses() []netip.Addr {
	var own []netip.Addr
	all, err := net.InterfaceAddrs()
	if err != nil {
		return nil // then nothing can be found out
	}
	for _, a := range all {
		prefix, err := netip.ParsePrefix(a.String())
		if err != nil || prefix.Addr().IsLoopback() || prefix.Addr().IsLinkLocalUnicast() {
			continue
		}
		own = append(own, prefix.Addr())
	}
	return own
}
