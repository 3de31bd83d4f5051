package proxy

import (
	"cmp"
	"context"
	"log/slog"
	"net/http"
	"net/url"
	"strings"

	"github.com/ort-gateway/ort-gateway/proxy/upstream"
)

// location is an endpoint at one path, with the issuers that have it there.
type location struct {
	kind      endpoint
	path      string // the upstream's own
	query     string // the upstream's own, of a published URL that has one
	alias     string // one of Auth0's paths that stands for it, empty: none does
	doubtful  bool   // it may be another path to the upstream, by how it was spelled
	providers []*upstream.Provider
}

var endpointNames = [endpointCount]string{
	endpointNone:          "forward",
	endpointAuthorization: "authorization",
	endpointToken:         "token",
	endpointRevocation:    "revocation",
	endpointIntrospection: "introspection",
	endpointPAR:           "par",
	endpointDevice:        "device",
	endpointBackchannel:   "backchannel_authentication",
	endpointEndSession:    "end_session",
	endpointUserinfo:      "userinfo",
	endpointJWKS:          "jwks",
	endpointDiscovery:     "discovery",
	endpointAmbiguous:     "other",
}

// name is the metric's label.
func (l *location) name() string {
	switch l.path {
	case "/_ort/session":
		return "session"
	case "/_ort/session/events":
		return "events"
	case ownRevocation:
		return "revoke_own"
	case "/_ort/backchannel-logout":
		return "backchannel_logout"
	}
	return endpointNames[l.kind]
}

// own says whether the gateway alone has an endpoint: the upstream never hears of
// its path.
func (l *location) own() bool { return l.kind == endpointOwn || l.path == ownRevocation }

// places are the login places that an endpoint belongs to.
func (l *location) places() []string {
	places := make([]string, len(l.providers))
	for i, p := range l.providers {
		places[i] = p.Authorization
	}
	return places
}

// at is the issuer of a place, the first where several share it.
func (l *location) at(place string) *upstream.Provider {
	for _, p := range l.providers {
		if p.Authorization == place {
			return p
		}
	}
	return nil
}

// sharing are the issuers here whose logins are at one place with p's, p first.
func (l *location) sharing(p *upstream.Provider) []*upstream.Provider {
	all := []*upstream.Provider{p}
	for _, other := range l.providers {
		if other != p && other.Authorization == p.Authorization {
			all = append(all, other)
		}
	}
	return all
}

// of is an issuer that has its endpoint here.
func (l *location) of(issuer string) *upstream.Provider {
	for _, p := range l.providers {
		if p.Issuer == issuer {
			return p
		}
	}
	return nil
}

// issues says whether an issuer has its endpoint here.
func (l *location) issues(issuer string) bool { return l.of(issuer) != nil }

// routes is what is known of the upstream's endpoints at one moment.
type routes struct {
	classifier *classifier
	providers  []*upstream.Provider
	locations  []*location
}

// find is the endpoint of a request, nil where it is none.
func (t *routes) find(r *http.Request) *location {
	kind, n := t.classifier.classify(r)
	switch kind {
	case endpointNone:
		return nil
	case endpointOwn, endpointAmbiguous:
		return &location{kind: kind}
	case endpointDoubtfulEndSession:
		doubtful := *t.locations[n]
		doubtful.doubtful = true
		return &doubtful
	}
	return t.locations[n]
}

func (g *Gateway) providers() []*upstream.Provider {
	if t := g.routes.Load(); t != nil {
		return t.providers
	}
	return nil
}

// Learn takes in what the issuers publish. While an issuer is unknown nothing is
// served.
func (g *Gateway) Learn(s *upstream.State) {
	if !s.Complete() {
		return
	}
	t := &routes{providers: s.Providers}
	byPath := map[string]*location{}
	for _, p := range s.Providers {
		if !p.S256() {
			g.Logger.Warn("the upstream does not list S256 among its code challenge methods: online_access is dropped",
				"issuer", p.Issuer, "methods", strings.Join(p.ChallengeMethods, " "))
		}
		for _, e := range []struct {
			kind      endpoint
			published string
		}{
			{endpointAuthorization, p.Authorization}, {endpointToken, p.Token}, {endpointRevocation, p.Revocation},
			{endpointIntrospection, p.Introspection}, {endpointPAR, p.PushedAuthorization}, {endpointDevice, p.DeviceAuthorization},
			{endpointBackchannel, p.BackchannelAuthentication},
			{endpointEndSession, p.EndSession}, {endpointUserinfo, p.Userinfo}, {endpointJWKS, p.JWKS},
		} {
			if path, ok := g.pathOf(e.kind, e.published); ok {
				t.add(byPath, location{kind: e.kind, path: path, query: queryOf(e.published)}, p)
			}
		}
		if issuer, err := url.Parse(p.Issuer); err == nil {
			for _, path := range upstream.DiscoveryPaths(issuer) {
				t.add(byPath, location{kind: endpointDiscovery, path: path}, p)
			}
		}
	}
	if g.Auth0.Paths {
		g.addAuth0(t, byPath, s.Providers[0])
	}
	table := map[string]target{}
	for n, l := range t.locations {
		table[cmp.Or(l.alias, l.path)] = target{l.kind, n}
	}
	t.classifier = newClassifier(table)
	g.routes.Store(t)
}

func (t *routes) add(byPath map[string]*location, l location, p *upstream.Provider) {
	if there, ok := byPath[l.path]; ok {
		if there.kind == l.kind {
			there.providers = append(there.providers, p)
		}
		return
	}
	l.providers = []*upstream.Provider{p}
	byPath[l.path] = &l
	t.locations = append(t.locations, &l)
}

// queryOf is the query that a published endpoint has of its own: some providers
// keep a policy or tenant there (RFC 6749 section 3.1).
func queryOf(published string) string {
	u, err := url.Parse(published)
	if err != nil {
		return ""
	}
	return u.RawQuery
}

// withQuery is a path with queries behind it, those that are not empty.
func withQuery(path string, queries ...string) string {
	mark := "?"
	for _, q := range queries {
		if q != "" {
			path, mark = path+mark+q, "&"
		}
	}
	return path
}

// pathOf is the path of a published endpoint, if it is on the public origin: only
// what passes the gateway can be intercepted.
func (g *Gateway) pathOf(kind endpoint, published string) (string, bool) {
	if published == "" {
		return "", false
	}
	u, err := url.Parse(published)
	if err != nil || !strings.EqualFold(u.Scheme, g.Public.Scheme) || !strings.EqualFold(u.Host, g.Public.Host) {
		level := slog.LevelWarn
		if kind == endpointAuthorization || kind == endpointToken {
			level = slog.LevelError
		}
		g.Logger.Log(context.Background(), level, "an endpoint is not on the public origin and is not intercepted: set the identity provider's public URL to the issuer's origin",
			slog.String("endpoint", endpointNames[kind]), slog.String("url", published))
		return "", false
	}
	return u.EscapedPath(), true
}
