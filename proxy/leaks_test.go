package proxy

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// An answer to a code that no refresh token can be taken out of does not pass, of
// whatever success it is.
func TestNoSuccessCarriesTheUpstreamsRefreshToken(t *testing.T) {
	for _, status := range []int{200, 201, 202, 203, 206, 302} {
		for body, good := range map[string]bool{
			`{"refresh_token":"R-up","x":1}`: true, `{"refresh\u005ftoken":"R-up"}`: true, `{"refresh_token":"a","refresh_token":"R-up"}`: true,
			`{"refresh_token":"R-up"}{}`: false, `[{"refresh_token":"R-up"}]`: false, `refresh_token=R-up`: false, "\x1f\x8bR-up": false,
		} {
			t.Run(fmt.Sprint(status, " ", body), func(t *testing.T) {
				want := 502
				if good && status == 200 {
					want = 200
				}
				r := newRig(t)
				a := r.app()
				code := a.code()
				r.says(status, body)
				got := r.is("code exchange", a.redeem(code), want)
				if strings.Contains(got, "R-up") {
					t.Error(got)
				}
				r.does(nil)
				b := r.app().login()
				r.says(status, body)
				if got := text(b.exchange()); strings.Contains(got, "R-up") {
					t.Errorf("ORT exchange: %s", got)
				}
			})
		}
	}
}

// An ORT goes to no upstream in another parameter than the one that is replaced.
func TestORTsBesideTheOneThatIsUsed(t *testing.T) {
	r := newRig(t, confidential("web"))
	a, web := r.app().login(), r.app()
	web.client = "web"
	web.login()
	before := r.count()
	for _, beside := range []string{"x=" + a.ort, "client_secret=" + a.ort, "x=ORT1%2e", "ORT1.=x", "resource=ORT1%252e", "&&" + a.ort} {
		r.refused(r.do(http.MethodPost, "/token", a.refreshForm().Encode()+"&"+beside, "DPoP", a.proof("/token")), before, 400, "invalid_request")
		form := url.Values{"token": {web.ort}, "client_id": {"web"}}.Encode()
		r.refused(r.do(http.MethodPost, "/revoke", form+"&"+beside), before, 400, "invalid_request")
		r.refused(r.do(http.MethodPost, ownRevocation, form+"&"+beside), before, 400, "invalid_request")
		form = url.Values{"refresh_token": {web.ort}, "client_id": {"web"}}.Encode()
		r.refused(r.do(http.MethodPost, "/logout", form+"&"+beside), before, 400, "invalid_request")
	}
	if !a.alive() || !web.alive() {
		t.Error("it ended")
	}
}

// What the upstream's revocation endpoint says of a confidential client: a 200 is
// good; every refusal passes, and ends nothing.
func TestWhatAuthenticatesARevocation(t *testing.T) {
	for _, row := range []struct {
		status int
		body   string
		want   int
		ends   bool
	}{
		{200, ``, 200, true},
		{200, `{}`, 200, true},
		{204, ``, 200, true},
		{202, ``, 503, false},
		{200, `{"error":"invalid_client"}`, 401, false},
		{400, `{"error":"invalid_client"}`, 400, false},
		{401, `{"error":"invalid_client"}`, 401, false},
		{401, ``, 401, false},
		{403, `<html>`, 403, false},
		{400, `{"error":"unauthorized_client"}`, 400, false},
		{400, `{"error":"invalid_request"}`, 400, false},
		{302, ``, 503, false},
		{404, ``, 404, false},
		{429, `{"error":"slow_down"}`, 429, false},
		{500, `{"error":"invalid_token"}`, 503, false},
	} {
		t.Run(fmt.Sprint(row.status, " ", row.body), func(t *testing.T) {
			r := newRig(t, confidential("web"))
			web := r.app()
			web.client = "web"
			web.login()
			r.does(func(w http.ResponseWriter, q *http.Request, body string) {
				if q.URL.Path != "/revoke" {
					usual(w, q, body)
					return
				}
				w.WriteHeader(row.status)
				io.WriteString(w, row.body)
			})
			resp := r.do(http.MethodPost, "/revoke", url.Values{"token": {web.ort}, "client_id": {"web"}, "client_secret": {"s"}}.Encode())
			if row.want == 503 {
				r.unavailable("revocation", resp)
			} else {
				r.is("revocation", resp, row.want)
			}
			if web.alive() == row.ends {
				t.Errorf("ended: %v", !row.ends)
			}
		})
	}
}
