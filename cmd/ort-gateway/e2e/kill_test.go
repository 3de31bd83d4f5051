package e2e

import (
	"context"
	"math/rand/v2"
	"net/http"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"
)

// A gateway that is killed under load and started again has lost nothing that it answered: no session, no rotated
// credential, no revocation.
//
// A kill between the upstream's answer and the write of it loses that credential, and nobody can help it: the client got
// no answer, either. So the upstream takes a predecessor once more while its successor was never used, and the test
// holds each credential that is used after the start against the exchanges that were answered before.
func TestKilledUnderLoadLosesNothingThatWasAnswered(t *testing.T) {
	st := startStack(t, setup{provider: providerConfig{Reuse: "unacknowledged"}})
	load := make([]*loadedApp, 6)
	for i := range load {
		load[i] = &loadedApp{app: st.app([]string{"app-one", "app-two"}[i%2], nil)}
		load[i].last = load[i].login(t).AccessToken
	}
	var revoked []*app
	answered, logins := 0, 0
	for round := range kills(t) {
		victim := st.app("app-two", nil)
		victim.login(t)
		fresh := st.app("app-one", nil)
		code := fresh.code(t, nil)
		revocation := killUnderLoad(t, st, load, victim, round, func() { fresh.redeemQuietly(code) })
		st.startGateway()
		if revocation {
			revoked = append(revoked, victim)
		}
		if fresh.ort != "" { // its code exchange was answered
			fresh.works(t)
			logins++
		}
		for i, a := range load {
			if t.Failed() {
				t.Fatalf("round %d", round)
			}
			answered += a.answered
			a.checkNewest(t, st, i)
		}
		for _, a := range revoked {
			a.dead(t)
		}
	}
	if len(revoked) == 0 || answered < len(load) || logins == 0 {
		t.Errorf("the kills came too early: %d revocations, %d exchanges, %d code exchanges were answered", len(revoked), answered, logins)
	}
	t.Logf("%d exchanges, %d revocations and %d code exchanges were answered before the kills", answered, len(revoked), logins)
}

// loadedApp exchanges as fast as it can.
type loadedApp struct {
	*app
	answered int    // in this round
	last     string // the access token of the last exchange that was answered
}

// killUnderLoad kills the gateway while all apps exchange, the victim's session is revoked and another app logs in, and
// says whether the revocation was answered.
func killUnderLoad(t *testing.T, st *stack, load []*loadedApp, victim *app, round int, besides func()) (revoked bool) {
	t.Helper()
	var wg sync.WaitGroup
	for _, a := range load {
		a.answered = 0
		wg.Go(func() { a.run(t) })
	}
	time.Sleep(time.Duration(20+rand.IntN(200)) * time.Millisecond)
	revocation, login := make(chan bool, 1), make(chan struct{})
	wg.Go(func() {
		got, err := victim.revoke()
		if err == nil && got.status != http.StatusOK {
			t.Errorf("revocation: %v", got)
		}
		revocation <- err == nil && got.status == http.StatusOK
	})
	wg.Go(func() {
		besides()
		close(login)
	})
	switch round % 3 {
	case 0: // right after the revocation's answer
		revoked = <-revocation
		st.gateway.kill()
	case 1: // right after the code exchange's
		<-login
		st.gateway.kill()
		revoked = <-revocation
	default: // at any time
		time.Sleep(time.Duration(rand.IntN(4000)) * time.Microsecond)
		st.gateway.kill()
		revoked = <-revocation
	}
	wg.Wait()
	return revoked
}

// redeemQuietly keeps the ORT of a code exchange that is answered.
func (a *app) redeemQuietly(code string) {
	if got, err := a.redeem(code, a.lastVerifier); err == nil && got.status == http.StatusOK {
		a.ort = got.RefreshToken
	}
}

// run exchanges until the gateway is gone.
func (a *loadedApp) run(t *testing.T) {
	for {
		got, err := a.tokenContext(context.Background(), a.refreshForm(nil))
		if err != nil {
			return
		}
		if got.status != http.StatusOK {
			t.Errorf("an exchange under load: %v", got)
			return
		}
		a.answered++
		a.last = got.AccessToken
	}
}

// checkNewest exchanges once and looks at the credential with which the gateway did it: none older than that of the last
// answered exchange.
func (a *loadedApp) checkNewest(t *testing.T, st *stack, i int) {
	t.Helper()
	now := a.works(t).AccessToken
	a.checkUsed(t, st.provider.seen(t), i, now)
}

// checkUsed looks at the credential that one exchange was done with, by its access token.
func (a *loadedApp) checkUsed(t *testing.T, s seen, i int, now string) {
	t.Helper()
	issuedBy := map[string]int{} // refresh token → exchange that issued it
	answeredAt, used := -1, ""
	for n, e := range s.Exchanges {
		issuedBy[e.RefreshToken] = n
		if e.AccessToken == a.last {
			answeredAt = n
		}
		if e.AccessToken == now {
			used = e.Presented
		}
	}
	if from, ok := issuedBy[used]; !ok || answeredAt < 0 || from < answeredAt {
		t.Errorf("app %d: after the start the gateway used the credential of exchange %d, but had answered exchange %d", i, from, answeredAt)
	}
	a.last = now
}

func kills(t *testing.T) int {
	t.Helper()
	if text := os.Getenv("E2E_KILLS"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil {
			t.Fatalf("E2E_KILLS: %v", err)
		}
		return n
	}
	if testing.Short() {
		return 5
	}
	return 20
}
