package e2e

import (
	"context"
	"encoding/json"
	"os/exec"
	"testing"
	"time"

	"github.com/ort-gateway/ort-gateway/cmd/proctest"
)

// A client library that checks every answer as the specifications say finds nothing to complain about.
func TestOAuth4WebAPI(t *testing.T) {
	st := startStack(t, setup{})
	for _, c := range []struct {
		name   string
		config map[string]any
	}{
		{"plain", map[string]any{"clientID": "app-one"}},
		{"code bound by dpop_jkt", map[string]any{"clientID": "app-one", "jkt": true}},
		{"PAR", map[string]any{"clientID": "app-one", "par": true}},
		{"PAR with dpop_jkt", map[string]any{"clientID": "app-one", "par": true, "jkt": true}},
		{"PAR with a proof", map[string]any{"clientID": "app-one", "par": true, "parProof": true}},
		{"confidential client", map[string]any{"clientID": "web", "secret": webSecret, "par": true}},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.config["issuer"], c.config["user"] = st.issuer, "alice"
			c.config["redirectURI"] = st.app(c.config["clientID"].(string), nil).redirectURI
			arg, err := json.Marshal(c.config)
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			cmd := exec.CommandContext(ctx, nodeProgram(t), "oauth4webapi.mjs", string(arg))
			cmd.Dir = "node"
			var stderr proctest.Output
			cmd.Stderr = &stderr
			out, err := cmd.Output()
			if err != nil {
				t.Fatalf("%v\n%s", err, stderr.String())
			}
			var saw struct {
				NonceErrors, Forms, Exchanges int
				Error                         string
			}
			if err := json.Unmarshal(out, &saw); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			if saw.Forms != 1 || saw.Exchanges != 5 || saw.NonceErrors != 1 {
				t.Errorf("%s: want one form, five exchanges and, as each answer brings a nonce, one nonce error", out)
			}
		})
	}
}
