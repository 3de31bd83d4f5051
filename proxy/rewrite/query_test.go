package rewrite

import (
	"net/url"
	"testing"
)

func TestLocationParams(t *testing.T) {
	tests := []struct {
		rule, location string
		ok             bool
		code, errCode  string
		state          string
	}{
		{"query", "https://app.test/cb?code=abc&state=s+1&iss=https%3A%2F%2Fidp.test", true, "abc", "", "s 1"},
		{"fragment", "https://app.test/cb#state=s&code=a%2Fb", true, "a/b", "", "s"},
		{"fragment in front of the registered query", "https://app.test/cb?code=mine#code=real&state=s", true, "real", "", "s"},
		{"query with a meaningless fragment", "https://app.test/cb?code=abc&state=s#_=_", true, "abc", "", "s"},
		{"a ? in a fragment begins no query", "https://app.test/#/x?code=abc", false, "", "", ""},
		{"error", "com.app:/cb?error=login_required&state=s", true, "", "login_required", "s"},
		{"bad escapes elsewhere", "https://app.test/cb?error=x&error_description=100%&state=s", true, "", "x", "s"},
		{"relative", "?code=abc", true, "abc", "", ""},
		{"a login page", "/login?return_to=%2Fauthorize%3Fcode%3D1&login_error=1", false, "", "", ""},
		{"an authorization request", "https://idp.test/authorize?response_type=code&scope=openid", false, "", "", ""},
		{"no query", "https://app.test/code=/error=", false, "", "", ""},
		{"nothing", "", false, "", "", ""},
		{"garbage", "\x00?#%#?&code=\xff%", true, "\xff%", "", ""},
	}
	for _, tt := range tests {
		t.Run(tt.rule, func(t *testing.T) {
			f, ok := LocationParams(tt.location)
			if ok != tt.ok {
				t.Fatalf("ok = %t, want %t", ok, tt.ok)
			}
			if !ok {
				return
			}
			if f.Get("code") != tt.code || f.Get("error") != tt.errCode || f.Get("state") != tt.state {
				t.Errorf("code %q, error %q, state %q; want %q, %q, %q",
					f.Get("code"), f.Get("error"), f.Get("state"), tt.code, tt.errCode, tt.state)
			}
		})
	}
}

func TestAppendParams(t *testing.T) {
	tests := []struct {
		rule, uri string
		fragment  bool
		want      string
	}{
		{"no query", "https://app.test/cb", false, "https://app.test/cb?error=a+b&state=%26%0D%0A"},
		{"with a query", "https://app.test/cb?x=%7e;&y", false, "https://app.test/cb?x=%7e;&y&error=a+b&state=%26%0D%0A"},
		{"with an empty query", "https://app.test/cb?", false, "https://app.test/cb?error=a+b&state=%26%0D%0A"},
		{"with an & at the end", "https://app.test/cb?x&", false, "https://app.test/cb?x&error=a+b&state=%26%0D%0A"},
		{"an & at the end of the path", "https://app.test/&", false, "https://app.test/&?error=a+b&state=%26%0D%0A"},
		{"in front of a fragment", "https://app.test/cb#/r?x", false, "https://app.test/cb?error=a+b&state=%26%0D%0A#/r?x"},
		{"own scheme", "com.app:/cb", false, "com.app:/cb?error=a+b&state=%26%0D%0A"},
		{"fragment", "https://app.test/cb?x=1", true, "https://app.test/cb?x=1#error=a+b&state=%26%0D%0A"},
		{"empty fragment", "https://app.test/cb#", true, "https://app.test/cb#error=a+b&state=%26%0D%0A"},
		{"behind a fragment", "https://app.test/cb#x", true, "https://app.test/cb#x&error=a+b&state=%26%0D%0A"},
		{"bytes that a URL parser would change", "HTTPS://App.test:443/a/../%7e?ä", false, "HTTPS://App.test:443/a/../%7e?ä&error=a+b&state=%26%0D%0A"},
	}
	for _, tt := range tests {
		if got := AppendParams(tt.uri, tt.fragment, [2]string{"error", "a b"}, [2]string{"state", "&\r\n"}); got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.rule, got, tt.want)
		}
	}
	if got := AppendParams("https://app.test/cb", false); got != "https://app.test/cb" {
		t.Errorf("no pairs: got %q", got)
	}
}

// What is appended is what the client's URL parser reads.
func TestAppendParamsReadBack(t *testing.T) {
	state := "a b+c%20&=#?;ä\x00"
	u, err := url.Parse(AppendParams("https://app.test/cb?x=1", false, [2]string{"state", state}))
	if err != nil {
		t.Fatal(err)
	}
	if got := u.Query().Get("state"); got != state {
		t.Errorf("got %q, want %q", got, state)
	}
}
