package ortengine_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ort-gateway/ort-gateway/ortengine"
)

// TestNoSecretIsLogged goes every way that logs, with secrets that can be found.
func TestNoSecretIsLogged(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		ctx := t.Context()
		const marker = "planted-secret"
		named := func(what string) string { return marker + "-" + what + "-" + strings.Repeat("x", 40) }
		tells := user(marker+"-subject", marker+"-sid", time.Time{})
		l := login{browser: "b", code: named("code"), verifier: named("verifier"), key: "jkt", tells: tells}
		issued := f.login(l)
		secrets := []string{marker, issued.Token, issued.Token[len(ortengine.Prefix):30], "upstream-credential", f.key}

		tell := func(err error, o *ortengine.ORT) {
			t.Helper()
			if err == nil {
				t.Fatal("no refusal")
			}
			e := ortengine.AsError(err)
			f.CodeRefused(ctx, e, "app-one")
			f.ExchangeRefused(ctx, e, o, ortengine.Timing{})
			for _, s := range secrets {
				if strings.Contains(e.Error(), s) {
					t.Errorf("an error holds a secret: %v", e)
				}
			}
		}
		_, err := f.redeem(&l, f.begin(&l))
		tell(err, nil)
		o := f.open(issued.Token)
		done := f.works(issued.Token)
		f.ExchangePassed(ctx, done, ortengine.Timing{})
		done.Answer.Status = 400
		f.ExchangePassed(ctx, done, ortengine.Timing{})
		tell(ortengine.InvalidToken(), nil)
		tell(f.CheckClient(&o, "other"), &o)
		f.idp.with(func(context.Context) error { f.store.full.Store(true); return nil }, nil)
		_, err = f.use(issued.Token)
		tell(err, &o)
		time.Sleep(time.Minute)
		f.store.full.Store(false)
		time.Sleep(time.Minute)
		f.idp.with(func(context.Context) error { panic(fmt.Sprint(marker, "-panic")) }, nil)
		_, err = f.use(issued.Token)
		tell(err, &o)
		f.idp.with(takes(2*patience), nil)
		_, err = f.use(issued.Token)
		tell(err, &o)
		time.Sleep(time.Hour / 2)
		f.idp.with(nil, answers(refusal("invalid_grant")))
		_, err = f.use(issued.Token)
		tell(err, &o)
		f.idp.with(nil, nil)

		f.login(login{browser: "b", tells: tells, none: true})
		f.login(login{browser: "b", tells: tells})
		f.login(login{browser: "b", tells: user(marker+"-other", "s", time.Time{})})
		f.Engine.Failed(ctx, [32]byte{})
		again := f.open(f.login(login{browser: "b", tells: tells}).Token)
		if err := f.Revoke(ctx, &again); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		for _, s := range secrets {
			if i := strings.Index(f.log.String(), s); i >= 0 {
				t.Errorf("a secret was logged: …%s", f.log.String()[max(0, i-200):min(len(f.log.String()), i+60)])
			}
		}
		for _, event := range []string{"ort_issued", "ort_exchanged", "ort_refused", "session_started", "session_ended"} {
			if len(f.log.events(t, event, "client")) == 0 {
				t.Errorf("no audit event %s", event)
			}
		}
		subjects := f.log.events(t, "ort_issued", "subject")
		if subjects[0] == "" || subjects[0] != subjects[1] {
			t.Errorf("keyed hashes of one subject: %q and %q", subjects[0], subjects[1])
		}
	})
}
