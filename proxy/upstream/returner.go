package upstream

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// How credentials are given back when single sign-on ended (ORT_UPSTREAM_END).
const (
	EndAuto   = "auto"   // EndLogout at Keycloak, else EndRevoke
	EndLogout = "logout" // a POST of the refresh token to the end-session endpoint
	EndRevoke = "revoke" // RFC 7009
	EndNone   = "none"   // not at all
)

// Returner gives upstream credentials back to the identity provider. It has no
// client's secret, so it can do so for public clients alone.
type Returner struct {
	Metadata     *Metadata
	Mode         string   // EndAuto, EndLogout, EndRevoke or EndNone
	Confidential []string // clients that the upstream authenticates: nothing can be done for them
	Public       *url.URL
	Upstream     *url.URL
	Client       http.RoundTripper
	Logger       *slog.Logger
}

// returnTimeout bounds one call.
const returnTimeout = 15 * time.Second

// Return gives a credential back. again says that the upstream did not answer, or
// not well, and that it is worth trying again.
func (r *Returner) Return(ctx context.Context, issuer, client, credential string) (again bool) {
	p := r.provider(issuer)
	if p == nil {
		return true // nothing is known of the upstream yet
	}
	endpoint, field := r.way(p)
	if endpoint == "" || slices.Contains(r.Confidential, client) {
		return false
	}
	u, err := url.Parse(endpoint)
	if err != nil {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, returnTimeout)
	defer cancel()
	form := url.Values{"client_id": {client}, field: {credential}}
	if field == "token" {
		form.Set("token_type_hint", "refresh_token")
	}
	out, err := http.NewRequestWithContext(ctx, http.MethodPost, r.Upstream.Scheme+"://"+r.Upstream.Host+u.RequestURI(), strings.NewReader(form.Encode()))
	if err != nil {
		return false
	}
	PublicName(out, r.Public)
	out.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := r.Client.RoundTrip(out)
	if err != nil {
		r.Logger.LogAttrs(ctx, slog.LevelWarn, "giving an upstream credential back: no answer, it is tried again", slog.String("client", client))
		return true
	}
	defer resp.Body.Close()
	io.Copy(io.Discard, io.LimitReader(resp.Body, maxDocument))
	again = resp.StatusCode >= 500 || resp.StatusCode == http.StatusTooManyRequests
	if resp.StatusCode >= 400 {
		r.Logger.LogAttrs(ctx, slog.LevelWarn, "giving an upstream credential back: the upstream refused",
			slog.String("client", client), slog.Int("status", resp.StatusCode), slog.Bool("again", again))
	}
	return again
}

func (r *Returner) provider(issuer string) *Provider {
	state := r.Metadata.State()
	if state == nil {
		return nil
	}
	for _, p := range state.Providers {
		if p != nil && p.Issuer == issuer {
			return p
		}
	}
	return nil
}

// way is the endpoint that takes a credential back, and the parameter it reads it
// from; an empty endpoint: there is none.
func (r *Returner) way(p *Provider) (endpoint, field string) {
	mode := r.Mode
	if mode == EndAuto {
		mode = EndRevoke
		if p.Keycloak() {
			mode = EndLogout
		}
	}
	switch mode {
	case EndLogout:
		return p.EndSession, "refresh_token"
	case EndRevoke:
		return p.Revocation, "token"
	}
	return "", ""
}

// Keycloak knows Keycloak by its end-session endpoint.
func (p *Provider) Keycloak() bool {
	return strings.HasSuffix(p.EndSession, "/protocol/openid-connect/logout")
}
