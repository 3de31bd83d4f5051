package ortengine_test

import (
	"testing"
	"time"

	"github.com/ort-gateway/ort-gateway/ortengine"
)

// TestAuditEventsNameClientSubjectAndSession: who reads the log can follow one
// user's login from its start to the refusals after its end.
func TestAuditEventsNameClientSubjectAndSession(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		token := f.login(login{tells: user("alice", "s", time.Time{})}).Token
		o := f.open(token)
		f.ExchangePassed(t.Context(), f.works(token), ortengine.Timing{})

		f.idp.with(nil, answers(refusal("invalid_client")))
		refused, err := f.use(token)
		if err != nil {
			t.Fatal(err)
		}
		f.ExchangePassed(t.Context(), refused, ortengine.Timing{})
		f.idp.with(nil, nil)

		if err := f.Revoke(t.Context(), &o); err != nil {
			t.Fatal(err)
		}
		_, err = f.use(token)
		f.ExchangeRefused(t.Context(), ortengine.AsError(err), &o, ortengine.Timing{})

		subject := f.log.events(t, "session_started", "subject")[0]
		if subject == "" || subject == "<nil>" {
			t.Fatalf("no subject in session_started: %s", f.log.String())
		}
		for event, times := range map[string]int{"session_started": 1, "ort_exchanged": 1, "ort_refused": 2, "session_ended": 1} {
			for attribute, want := range map[string]string{"client": "app-one", "subject": subject, "session": string(o.Session)} {
				got := f.log.events(t, event, attribute)
				if len(got) != times {
					t.Errorf("%d lines %s, want %d", len(got), event, times)
				}
				for _, one := range got {
					if one != want {
						t.Errorf("%s of %s: %q, want %q", attribute, event, one, want)
					}
				}
			}
		}
	})
}

// The end of a login without an ID token names its client too, by what is owed to the upstream.
func TestAuditOfAnEndNamesAClientWithoutAnIDToken(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		o := f.open(f.login(login{}).Token)
		if err := f.Revoke(t.Context(), &o); err != nil {
			t.Fatal(err)
		}
		if got := f.log.events(t, "session_ended", "client"); len(got) != 1 || got[0] != "app-one" {
			t.Errorf("session_ended names %q", got)
		}
	})
}
