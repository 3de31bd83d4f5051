package proxy

import (
	"context"
	"log/slog"
	"net/http"

	"github.com/ort-gateway/ort-gateway/ortengine"
	"github.com/ort-gateway/ort-gateway/proxy/rewrite"
	"github.com/ort-gateway/ort-gateway/proxy/upstream"
	"github.com/ort-gateway/ort-gateway/sessions"
)

// login is what the ID token of an answer says, nil where it cannot be read. It is
// of one of the providers, which are one login place.
func (g *Gateway) login(ctx context.Context, o *rewrite.Object, providers []*upstream.Provider, client string) *ortengine.Login {
	raw, ok := o.Text("id_token")
	if !ok {
		return nil
	}
	var err error
	for _, p := range providers {
		var t upstream.IDToken
		if t, err = upstream.ReadIDToken(raw, p.Issuer, client); err == nil {
			return &ortengine.Login{Issuer: t.Issuer, Subject: t.Subject, SID: t.SID, AuthTime: t.AuthTime, PublicSubjects: p.PublicSubjects()}
		}
	}
	g.Logger.LogAttrs(ctx, slog.LevelWarn, "an ID token cannot be read: this login joins no other app's session",
		slog.String("client", client), slog.String("why", upstream.Why(err)))
	return nil
}

// editIssued makes of the upstream's answer to a code the client's.
func (g *Gateway) editIssued(o *rewrite.Object, issued *ortengine.Issued, t *sessions.Transaction) {
	o.SetText("refresh_token", issued.Token)
	dropScopes(o, t.GatewayScopes)
	g.addDeadlines(o, &issued.Session)
}

// editExchanged makes of the upstream's answer to a refresh the client's.
func (g *Gateway) editExchanged(o *rewrite.Object, done *ortengine.Exchanged) {
	o.Del("refresh_token")
	dropScopes(o, done.Grant.GatewayScopes)
	g.addDeadlines(o, &done.Session)
}

// dropScopes takes out of the answer's scope what only the gateway asked for.
func dropScopes(o *rewrite.Object, gateways []string) {
	scope, ok := o.Text("scope")
	if !ok {
		return
	}
	if left := rewrite.RemoveScope(scope, append([]string{onlineAccess}, gateways...)...); left != scope {
		o.SetText("scope", left)
	}
}

// addDeadlines adds how long the session has. refresh_expires_in is Keycloak's
// member: 0 means no limit.
func (g *Gateway) addDeadlines(o *rewrite.Object, s *sessions.Session) {
	idle, absolute := g.Engine.Left(s)
	if upstreams, ok := o.Number("refresh_expires_in"); ok {
		if upstreams > 0 && upstreams < float64(idle) {
			idle = int64(upstreams)
		}
		o.SetNumber("refresh_expires_in", idle)
	}
	o.SetNumber("session_idle_expires_in", idle)
	o.SetNumber("session_expires_in", absolute)
}

// writeReply writes an answer of the upstream, as it was edited.
func (g *Gateway) writeReply(w http.ResponseWriter, f *formRequest, r *reply) {
	body := r.Body
	if r.object != nil {
		body = r.object.Bytes()
	}
	if r.own {
		r.Header.Set("Cache-Control", "no-store")
		if !g.DPoPUpstream && !r.dpop {
			r.Header.Del("DPoP-Nonce")
			if nonce := g.Verifier.Nonce(); nonce != "" && r.Status < 300 {
				r.Header.Set("DPoP-Nonce", nonce)
			}
		}
	}
	g.cors.passed(r.Header, f.Request, f.at, f.client)
	r.writeTo(w, body)
}
