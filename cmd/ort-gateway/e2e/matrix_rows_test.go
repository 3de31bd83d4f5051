package e2e

import (
	"net/url"
	"testing"
	"time"
)

// matrixRow is one way in which a session ends.
type matrixRow struct {
	name   string
	want   outcome
	end    func(c *cell)
	script func(t *testing.T, st *stack, one, two string) // the scripted client instead: no SDK does this

	patience time.Duration     // how long it takes until it comes by itself
	whole    bool              // it ends every session of the user: once for all SDKs, and nothing else runs meanwhile
	limits   [2]time.Duration  // of the gateway, idle and absolute, in place of the usual ones
	without  map[string]string // SDKs, providers, or both ("auth0 Keycloak"), that are left out, with the reason
}

// The gateway's limits in the rows that wait for them. A login has to fit in.
const (
	shortIdle     = 20 * time.Second
	shortAbsolute = 45 * time.Second
)

const (
	noHint    = "the SDK sends no `id_token_hint`"
	noPost    = "the SDK logs out by GET alone"
	laxCookie = "its cookie is `SameSite=Lax`: a POST from another site does not carry it, and the provider itself logs nobody out"
)

// matrixRows are the contract's ways of an end, and what each leaves.
var matrixRows = []matrixRow{
	{
		name: "the app revokes its ORT (RFC 7009)", want: outcome{"dead", "revoked", "ended", true},
		end: func(c *cell) { must[any](c.first, `spa.revoke().then(() => null)`) },
	}, {
		name: "an ORT is posted to the end-session endpoint", want: outcome{"dead", "revoked", "ended", true},
		script: ortAtEndSession,
	}, {
		name: "logout with `id_token_hint`", want: outcome{"dead", "logout", "ended", true},
		end:     func(c *cell) { c.leave(`spa.logoutWithHint()`, true) },
		without: map[string]string{"auth0": noHint},
	}, {
		name: "logout without a hint, confirmed", want: outcome{"dead", "logout", "ended", true},
		end: func(c *cell) {
			if !c.leave(`spa.logout()`, true) {
				c.t.Error("the provider asked nothing")
			}
		},
	}, {
		name: "logout without a hint, not confirmed", want: outcome{"alive", "", "untouched", false},
		end: func(c *cell) { c.leave(`spa.logout()`, false) },
	}, {
		name: "logout by POST from another site", want: outcome{"dead", "logout", "ended", true},
		end:     func(c *cell) { c.leave(`spa.logoutByPost()`, true) },
		without: map[string]string{"auth0": noPost, "oidc": noPost, "web oidc-provider": laxCookie, "web embedded": laxCookie},
	}, {
		name: "back-channel logout by `sid`", want: outcome{"dead", "backchannel_logout", "ended", true},
		end: func(c *cell) { c.backChannel(c.t, c.sid()) },
	}, {
		name: "back-channel logout by `sub`", want: outcome{"dead", "backchannel_logout", "ended", true},
		end: func(c *cell) { c.backChannel(c.t, "") }, whole: true,
	}, {
		name: "the admin API ends the session", want: outcome{"dead", "admin", "ended", true},
		end: (*cell).adminEndsEach, whole: true,
	}, {
		name: "the admin API ends all of a user's", want: outcome{"dead", "admin", "ended", true},
		end: func(c *cell) { c.adminEnds("/sessions?sub=" + url.QueryEscape(c.sub())) }, whole: true,
	}, {
		name: "another user signs in", want: outcome{"dead", "user_switch", "untouched", false},
		end: anotherUser,
	}, {
		name: "the provider refuses the credential (`invalid_grant`)", want: outcome{"alive", "", "untouched", false},
		end: func(c *cell) {
			c.revokeCredential(c.t, must[string](c.first, `spa.exchange()`))
			if got := c.alive(c.first); got != "dead" {
				c.t.Errorf("the grant whose credential is revoked is %s", got)
			}
		},
	}, {
		name: "idle limit", want: outcome{"dead", "idle", "untouched", false}, limits: [2]time.Duration{shortIdle, time.Hour}, patience: shortIdle,
		end: func(c *cell) {},
	}, {
		// The gateway asks the provider for a login that is younger than a session may be old.
		name: "absolute limit", want: outcome{"dead", "absolute", "untouched", true}, limits: [2]time.Duration{shortAbsolute, shortAbsolute}, patience: shortAbsolute,
		end: func(c *cell) {
			for began := time.Now(); c.alive(c.first) == "alive"; time.Sleep(time.Second) {
				if time.Since(began) > shortAbsolute+time.Second {
					c.t.Fatal("the session is older than it may be")
				}
			}
			// Providers count max_age in whole seconds: in the very second of the end they take the old login for young
			// enough, and the gateway gives no ORT for it.
			time.Sleep(2 * time.Second)
		},
	},
}

// anotherUser lets bob log in where alice's login at the provider was lost. Her session there is another end's matter.
func anotherUser(c *cell) {
	alice := must[string](c.first, `spa.user()`)
	c.forgetProvider()
	if !c.first.enter("bob") {
		c.t.Error("no form was shown to the other user")
	}
	if bob := must[string](c.first, `spa.user()`); bob == alice {
		c.t.Errorf("the user is still %s", bob)
	}
	distinct(c.t, must[[]string](c.first, `spa.several(2)`), 2)
}
