package main

import (
	"net/http"
	"net/url"
)

// codeForm is the code exchange of a client.
func (c *appClient) codeForm(code string) url.Values {
	return url.Values{
		"grant_type": {"authorization_code"}, "client_id": {c.id}, "code": {code},
		"redirect_uri": {c.redirect}, "code_verifier": {c.verifier},
	}
}

// ortForm is the ORT exchange of a client.
func (c *appClient) ortForm() url.Values {
	return url.Values{"grant_type": {"refresh_token"}, "client_id": {c.id}, "refresh_token": {c.ort}}
}

// token sends a token request with the given proofs, none or several.
func (w *walker) token(form url.Values, proofs ...string) *answer {
	r := request{method: http.MethodPost, url: w.endpoint("token_endpoint"), form: form, header: http.Header{}}
	if len(proofs) > 0 {
		r.header["Dpop"] = proofs
	}
	return w.do(r)
}

// prove makes the proof of a token request, with the newest nonce.
func (w *walker) prove(c *appClient) string {
	return c.proof(http.MethodPost, w.endpoint("token_endpoint"), c.nonce, "")
}

// provenToken is a token request as an honest client makes it: the newest
// nonce, and once again where the gateway asks for a newer one.
func (w *walker) provenToken(c *appClient, form url.Values) *answer {
	a := w.token(form, w.prove(c))
	w.keepNonce(c, a)
	if a.text("error") == "use_dpop_nonce" {
		a = w.token(form, w.prove(c))
		w.keepNonce(c, a)
	}
	return a
}

func (w *walker) keepNonce(c *appClient, a *answer) {
	if nonce := a.header.Get("DPoP-Nonce"); nonce != "" {
		c.nonce = nonce
	}
}

// session exchanges a code and keeps the ORT.
func (w *walker) session(c *appClient, code string) *answer {
	a := w.provenToken(c, c.codeForm(code))
	if a.status != http.StatusOK || a.text("refresh_token") == "" {
		w.stop("the code exchange gave no ORT: %s", a.line())
	}
	c.ort = a.text("refresh_token")
	return a
}

// statusRequest asks the session endpoint, or a path below it.
func (w *walker) statusRequest(c *appClient, below string) request {
	at := w.endpoint("ort_session_endpoint") + below
	return request{method: http.MethodGet, url: at, header: http.Header{
		"Authorization": {"DPoP " + c.ort}, "Dpop": {c.proof(http.MethodGet, at, c.nonce, c.ort)},
	}}
}

func (w *walker) sessionStatus(c *appClient) *answer {
	a := w.do(w.statusRequest(c, ""))
	w.keepNonce(c, a)
	if a.status == http.StatusUnauthorized && challengeError(a) == "use_dpop_nonce" {
		a = w.do(w.statusRequest(c, ""))
		w.keepNonce(c, a)
	}
	return a
}

func (w *walker) revoke(clientID, token string) *answer {
	return w.do(request{method: http.MethodPost, url: w.endpoint("revocation_endpoint"), form: url.Values{
		"client_id": {clientID}, "token": {token}, "token_type_hint": {"refresh_token"},
	}})
}
