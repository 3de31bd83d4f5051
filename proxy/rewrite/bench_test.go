package rewrite

import (
	"strings"
	"testing"
)

// tokenAnswer is like what large IdPs send: 1.5 KB.
var tokenAnswer = []byte(`{"access_token":"eyJ` + strings.Repeat("aB3_", 200) + `","expires_in":300,"refresh_expires_in":1800,"refresh_token":"eyJ` +
	strings.Repeat("xY-9", 40) + `","token_type":"Bearer","id_token":"eyJ` + strings.Repeat("Zq1A", 90) +
	`","not-before-policy":0,"session_state":"7a4b1c0e-0000-4000-8000-000000000000","scope":"openid email profile"}`)

func BenchmarkTokenAnswer(b *testing.B) {
	b.ReportAllocs()
	b.SetBytes(int64(len(tokenAnswer)))
	for b.Loop() {
		o, err := ParseObject(tokenAnswer)
		if err != nil {
			b.Fatal(err)
		}
		if _, ok := o.Text("refresh_token"); !ok {
			b.Fatal("no refresh_token")
		}
		o.SetText("refresh_token", "ORT1.abc")
		o.SetNumber("session_idle_expires_in", 1800)
		o.SetNumber("session_expires_in", 36000)
		if len(o.Bytes()) == 0 {
			b.Fatal("empty")
		}
	}
}

func BenchmarkTokenRequest(b *testing.B) {
	const body = "grant_type=authorization_code&code=0a1b2c3d4e5f.0a1b2c3d4e5f&redirect_uri=https%3A%2F%2Fapp.example%2Fcallback&client_id=spa&code_verifier=dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
	b.ReportAllocs()
	for b.Loop() {
		f, err := ParseForm(body)
		if err != nil || f.Duplicate("resource", "audience") != "" {
			b.Fatal(err)
		}
		f.Set("code_verifier", "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM")
		if f.String() == "" {
			b.Fatal("empty")
		}
	}
}

func BenchmarkLocationOfAnotherRedirect(b *testing.B) {
	const location = "https://idp.example/login?return_to=%2Fauthorize%3Fclient_id%3Dspa%26response_type%3Dcode%26state%3D0123456789&lang=en"
	b.ReportAllocs()
	for b.Loop() {
		if _, ok := LocationParams(location); ok {
			b.Fatal("found")
		}
	}
}
