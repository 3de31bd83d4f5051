package proxy

import (
	"net/http"
	"testing"
	"time"

	"github.com/ort-gateway/ort-gateway/dpop/dpoptest"
)

// Fields that a Connection field names do not go up (RFC 9110 section 7.6.1): they
// prove nothing.
func TestFieldsOfTheConnectionProveNothing(t *testing.T) {
	t.Run("client authentication", func(t *testing.T) {
		r := newRig(t, confidential("*"))
		a := r.app()
		form := a.codeForm(a.code()).Encode()
		for _, connection := range []string{"authorization", "close, Authorization", "x,\tAUTHORIZATION "} {
			r.refused(r.do(http.MethodPost, "/token", form, "Authorization", "Basic c3BhOnM=", "Connection", connection), r.count(), 400, "invalid_dpop_proof")
		}
		r.is("in plain sight", r.do(http.MethodPost, "/token", form, "Authorization", "Basic c3BhOnM=", "Connection", "keep-alive"), 200, "ORT1.")
	})
	t.Run("proof", func(t *testing.T) {
		r := newRig(t, dpopUpstream)
		a := r.app()
		proof := a.key.Proof(http.MethodPost, public+"/token", dpoptest.IssuedAt(time.Now()))
		form := a.codeForm(a.code()).Encode()
		r.refused(r.do(http.MethodPost, "/token", form, "DPoP", proof, "Connection", "DPoP"), r.count(), 400, "invalid_dpop_proof")
		r.is("in plain sight", r.do(http.MethodPost, "/token", form, "DPoP", proof), 200, "ORT1.")
	})
}
