package proxy

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/ort-gateway/ort-gateway/ortengine"
)

func TestUnreadableAnswersAreNotLogged(t *testing.T) {
	r := newRig(t, func(_ *rig, c *Config, _ *ortengine.Config) { c.Transport = Quiet(c.Transport) })
	r.answer = func(w http.ResponseWriter, _ *http.Request, _ string) {
		c, _, _ := w.(http.Hijacker).Hijack()
		io.WriteString(c, "HTTP/1.1 200 OK\r\nSet-Cookie idp=TOPSECRET\r\n\r\n")
		c.Close()
	}
	for _, path := range []string{"/page", "/token"} {
		resp := r.do(http.MethodPost, path, "grant_type=x")
		if resp.StatusCode < 500 {
			t.Errorf("%s: %d", path, resp.StatusCode)
		}
	}
	if log := r.log.String(); strings.Contains(log, "SECRET") || !strings.Contains(log, "cannot be read") {
		t.Errorf("logged: %s", log)
	}
}
