package proxy

import (
	"context"
	"log/slog"
	"net/http"
	"strings"

	"github.com/ort-gateway/ort-gateway/dpop"
	"github.com/ort-gateway/ort-gateway/metrics"
	"github.com/ort-gateway/ort-gateway/ortengine"
	"github.com/ort-gateway/ort-gateway/proxy/rewrite"
	"github.com/ort-gateway/ort-gateway/proxy/upstream"
	"github.com/ort-gateway/ort-gateway/sessions"
)

// Grant types (RFC 6749 sections 4.1.3 and 6, RFC 8628 section 3.4, OpenID Connect
// CIBA section 10.1).
const (
	grantCode    = "authorization_code"
	grantRefresh = "refresh_token"
	grantDevice  = "urn:ietf:params:oauth:grant-type:device_code"
	grantCIBA    = "urn:openid:params:grant-type:ciba"
)

// token handles the token endpoint, by grant type.
func (g *Gateway) token(w http.ResponseWriter, r *http.Request, at *location) error {
	if r.Method != http.MethodPost {
		return g.crossOrigin(w, r, at)
	}
	f, e := g.readForm(w, r, at)
	if e != nil {
		g.cors.decorate(w.Header(), r, at, "")
		return e
	}
	var err error
	switch grant := f.form.Get("grant_type"); {
	case grant == grantCode:
		err = g.codeGrant(w, f)
	case grant == grantRefresh && ortengine.IsORT(f.form.Get("refresh_token")):
		err = g.ortGrant(w, f)
	case carriesORT(string(f.raw)):
		err = invalidRequest("An online refresh token is used with grant_type refresh_token alone")
	case grant == grantRefresh:
		err = g.passToken(w, f, nil, false)
	default:
		err = g.otherGrant(w, f)
	}
	if err != nil {
		g.cors.decorate(w.Header(), r, at, f.client)
	}
	return err
}

// codeGrant redeems an authorization code (RFC 6749 section 4.1.3).
func (g *Gateway) codeGrant(w http.ResponseWriter, f *formRequest) error {
	if carriesORT(string(f.raw)) {
		return invalidRequest("An online refresh token is used with grant_type refresh_token alone")
	}
	var body []byte
	if scope := f.form.Get("scope"); rewrite.HasScope(scope, onlineAccess) {
		setScope(f.form, rewrite.RemoveScope(scope, onlineAccess))
		body = []byte(f.form.String())
	}
	ctx := f.Context()
	t, known, err := g.Engine.TransactionOf(ctx, f.form.Get("code_verifier"), f.at.places())
	if err != nil {
		return err
	}
	if !known { // not asked for with online_access, or gone: then the upstream refuses the verifier
		used, err := g.Engine.CodeUsed(ctx, f.form.Get("code"))
		switch {
		case err != nil:
			return err
		case used:
			return ortengine.UsedCode()
		}
		return g.passToken(w, f, body, false)
	}
	issued, err := g.redeem(ctx, f, t)
	if err != nil {
		e := ortengine.AsError(err)
		g.Engine.CodeRefused(ctx, e, f.client)
		return e
	}
	reply := issued.Answer.Reply.(*reply)
	switch {
	case issued.Token != "":
		g.editIssued(reply.object, &issued, &t)
	case reply.Status != http.StatusOK && reply.Status < 400: // a refresh token may be in it
		return refusal(http.StatusBadGateway, ortengine.ServerError, "The identity provider's answer has another status than 200")
	case reply.object != nil:
		g.sawLogin(f, reply)
		reply.object.Del("refresh_token")
	}
	g.writeReply(w, f, reply)
	return nil
}

func (g *Gateway) redeem(ctx context.Context, f *formRequest, t sessions.Transaction) (ortengine.Issued, error) {
	if err := g.Engine.CheckCode(&t, f.client, f.form.Get("code_verifier"), audiences(f.form)); err != nil {
		return ortengine.Issued{}, err
	}
	thumbprint := ""
	if !t.None {
		var err error
		bound := !g.Engine.Policy.IsConfidential(f.client, g.authenticates(f)) || t.Thumbprint != ""
		if thumbprint, err = g.proof(ctx, f, t.Thumbprint, bound); err != nil {
			return ortengine.Issued{}, err
		}
	}
	provider := f.at.at(t.Place)
	return g.Engine.ExchangeCode(ctx, ortengine.CodeExchange{
		Transaction: t, Issuer: provider.Issuer, Client: f.client, Code: f.form.Get("code"), Thumbprint: thumbprint,
		Send: func(ctx context.Context, verifier string) (ortengine.Answer, error) {
			f.form.Set("code_verifier", verifier)
			return g.callToken(ctx, f, provider, callFor{login: !t.None, dpop: t.None})
		},
	})
}

// ortGrant exchanges an ORT (RFC 6749 section 6).
func (g *Gateway) ortGrant(w http.ResponseWriter, f *formRequest) error {
	began := g.Now()
	ctx := f.Context()
	var o *ortengine.ORT
	var waits ortengine.Waits
	timing := func() ortengine.Timing {
		now := g.Now()
		return ortengine.Timing{Took: now.Sub(began), Waited: waits.Until(now), Trace: metrics.TraceID(f.Header)}
	}
	done, err := g.exchange(ctx, f, &o, &waits)
	if err != nil {
		e := ortengine.AsError(err)
		g.Engine.ExchangeRefused(ctx, e, o, timing())
		return e
	}
	reply := done.Answer.Reply.(*reply)
	if done.Answer.Status == http.StatusOK {
		g.editExchanged(reply.object, &done)
	}
	g.writeReply(w, f, reply)
	g.Engine.ExchangePassed(ctx, done, timing())
	return nil
}

// exchange makes the checks in the order of their cost.
func (g *Gateway) exchange(ctx context.Context, f *formRequest, opened **ortengine.ORT, waits *ortengine.Waits) (ortengine.Exchanged, error) {
	none := ortengine.Exchanged{}
	if f.carriesORTBeside("refresh_token") {
		return none, invalidRequest("An online refresh token is sent as refresh_token alone")
	}
	o, err := g.Engine.Open(f.form.Get("refresh_token"))
	if err != nil || !f.at.issues(o.Issuer) {
		return none, ortengine.InvalidToken()
	}
	*opened = &o
	if err := g.Engine.CheckClient(&o, f.client); err != nil {
		return none, err
	}
	if o.Thumbprint != "" {
		if _, err := g.proof(ctx, f, o.Thumbprint, true); err != nil {
			return none, err
		}
	} else if !g.Engine.Policy.IsConfidential(f.client, true) {
		return none, ortengine.UnboundToken()
	} else if !g.authenticates(f) {
		return none, &ortengine.Error{Status: http.StatusUnauthorized, Code: ortengine.InvalidClient,
			Description: "This token needs client authentication", Result: "unauthenticated"}
	}
	if scope := f.form.Get("scope"); rewrite.HasScope(scope, onlineAccess) {
		setScope(f.form, rewrite.RemoveScope(scope, onlineAccess))
	}
	provider := f.at.of(o.Issuer)
	return g.Engine.Exchange(ctx, ortengine.Exchange{
		ORT: o, Audiences: audiences(f.form), Waits: waits,
		Send: func(ctx context.Context, credential string) (ortengine.Answer, error) {
			f.form.Set("refresh_token", credential)
			return g.callToken(ctx, f, provider, callFor{})
		},
	})
}

// proof checks the proof of a token request (RFC 9449 section 5). Without need,
// a request without one has no thumbprint.
func (g *Gateway) proof(ctx context.Context, f *formRequest, thumbprint string, need bool) (string, error) {
	proofs := f.Header.Values("DPoP")
	if len(proofs) == 0 && !need {
		return "", nil
	}
	p, err := g.verify(ctx, f.Request, dpop.Request{Proofs: proofs, Thumbprint: thumbprint})
	if err != nil {
		return "", err
	}
	return p.Thumbprint, nil
}

// verify checks a proof for the URL of a request as its client called it.
func (g *Gateway) verify(ctx context.Context, r *http.Request, want dpop.Request) (*dpop.Proof, error) {
	want.Method = r.Method
	want.URL = g.Public.Scheme + "://" + g.Public.Host + pathCalled(r)
	p, err := g.Verifier.Verify(ctx, want)
	if err == nil {
		return p, nil
	}
	if e, ok := asProofError(err); ok {
		g.Metrics.DPoPRefused(string(e.Reason))
		g.Logger.LogAttrs(ctx, slog.LevelDebug, "proof refused", slog.String("reason", string(e.Reason)))
	}
	return nil, proofError(err)
}

// otherGrant passes a grant that no ORT may come of: online_access is taken out,
// and where it was asked for, the answer's refresh token too.
func (g *Gateway) otherGrant(w http.ResponseWriter, f *formRequest) error {
	dropped, e := g.dropOfflineOf(f)
	if e != nil {
		return e
	}
	scope := f.form.Get("scope")
	asked := rewrite.HasScope(scope, onlineAccess)
	strip := asked && !rewrite.HasScope(scope, offlineAccess)
	var body []byte
	if asked {
		setScope(f.form, rewrite.RemoveScope(scope, onlineAccess))
	}
	if asked || dropped {
		body = []byte(f.form.String())
	}
	if code, polls := pollsWith(f.form); polls {
		noted, err := g.Engine.DeviceAsked(f.Context(), code)
		if err != nil {
			return err
		}
		strip = strip || noted
	}
	return g.passToken(w, f, body, strip)
}

// pollsWith is what a request polls with whose user answers elsewhere (RFC 8628
// section 3.4, OpenID Connect CIBA section 10.1).
func pollsWith(form *rewrite.Form) (code string, polls bool) {
	switch form.Get("grant_type") {
	case grantDevice:
		return form.Get("device_code"), true
	case grantCIBA:
		return form.Get("auth_req_id"), true
	}
	return "", false
}

// device passes a device authorization request (RFC 8628 section 3.1), or one that
// starts a login on the user's own device (OpenID Connect CIBA section 7.1).
func (g *Gateway) device(w http.ResponseWriter, r *http.Request, at *location) error {
	if r.Method != http.MethodPost {
		return g.crossOrigin(w, r, at)
	}
	f, e := g.readForm(w, r, at)
	if e != nil {
		return e
	}
	dropped, e := g.dropOfflineOf(f)
	if e != nil {
		return e
	}
	scope := f.form.Get("scope")
	asked := rewrite.HasScope(scope, onlineAccess)
	if asked {
		setScope(f.form, rewrite.RemoveScope(scope, onlineAccess))
	}
	var body []byte
	if asked || dropped {
		body = []byte(f.form.String())
	}
	reply, err := g.callPlain(f, body)
	if err != nil {
		return silence(at, err)
	}
	if asked && !rewrite.HasScope(scope, offlineAccess) && reply.object != nil {
		name := "device_code"
		if at.kind == endpointBackchannel {
			name = "auth_req_id"
		}
		if code, ok := reply.object.Text(name); ok {
			if err := g.Engine.NoteDevice(r.Context(), at.places()[0], f.client, code, g.forwarder.clientAddr(r)); err != nil {
				return err
			}
		}
	}
	g.writeReply(w, f, reply)
	return nil
}

// passToken passes a token request that no ORT is concerned with, with another
// body where one is given. Where strip is set, and for clients that get refresh
// tokens as ORTs alone, the answer passes without its refresh token.
func (g *Gateway) passToken(w http.ResponseWriter, f *formRequest, body []byte, strip bool) error {
	reply, err := g.callPlain(f, body)
	if err != nil {
		return silence(f.at, err)
	}
	strip = strip || g.mayBeOnlineOnly(f)
	if reply.object == nil && (reply.Status == http.StatusOK || strip && reply.Status < 300) {
		return refusal(http.StatusBadGateway, ortengine.ServerError, "The identity provider's answer is not a JSON object")
	}
	if strip && reply.Status < 300 {
		reply.object.Del("refresh_token")
	}
	if f.form.Get("grant_type") == grantCode && reply.Status == http.StatusOK {
		g.sawLogin(f, reply)
	}
	g.writeReply(w, f, reply)
	return nil
}

// sawLogin takes note of a login that no ORT came of: a browser that had to show
// its password has.
func (g *Gateway) sawLogin(f *formRequest, r *reply) {
	raw, _ := r.object.Text("id_token")
	for _, p := range f.at.providers {
		t, err := upstream.ReadIDToken(raw, p.Issuer, f.client)
		if err == nil && !t.AuthTime.IsZero() {
			g.Engine.LoggedIn(f.Context(), p.Authorization, f.form.Get("code"), t.AuthTime)
			return
		}
	}
}

// asProofError finds a refused proof.
func asProofError(err error) (*dpop.Error, bool) {
	e, ok := errorAs[*dpop.Error](err)
	return e, ok
}

// bearer cuts the token out of an Authorization value of a scheme (RFC 9110
// section 11.6.2: schemes are compared without case).
func bearer(value, scheme string) (string, bool) {
	name, token, ok := strings.Cut(value, " ")
	if !ok || !strings.EqualFold(name, scheme) {
		return "", false
	}
	return strings.TrimSpace(token), true
}
