package e2e

import (
	"fmt"
	"net/http"
	"sync"
	"testing"
)

// Any number of tabs use one ORT at once: the upstream ends the grant when a credential is used twice, and never has to.
func TestFiftyExchangesOfOneORTAtOnce(t *testing.T) {
	t.Run("oidc-provider", func(t *testing.T) {
		st := startStack(t, setup{})
		fiftyAtOnce(t, st)
		s := st.provider.seen(t)
		if s.RevokedGrants != 0 {
			t.Errorf("the upstream saw a credential twice and revoked %d grants", s.RevokedGrants)
		}
		if got, want := len(s.Exchanges), 53; got != want {
			t.Errorf("the upstream answered %d token requests, want %d: one for each exchange", got, want)
		}
		if n, err := st.metric(`ort_gateway_exchanges_total{result="ok"}`); err != nil || n != 52 {
			t.Errorf("the metrics count %v exchanges, want 52: %v", n, err)
		}
	})
	t.Run("demo's provider", func(t *testing.T) {
		st := startStack(t, setup{embedded: true})
		fiftyAtOnce(t, st)
		if got, want := st.embedded.Stats().Refreshes, 52; got != want {
			t.Errorf("the upstream answered %d refreshes, want %d: one for each exchange", got, want)
		}
	})
}

func fiftyAtOnce(t *testing.T, st *stack) {
	first := st.app("app-one", nil)
	first.login(t)
	first.works(t)

	const tabs = 50
	errs := make(chan error, tabs)
	begin := make(chan struct{})
	var wg sync.WaitGroup
	for range tabs {
		tab := *first
		wg.Go(func() {
			<-begin
			got, err := tab.exchange()
			switch {
			case err != nil:
				errs <- err
			case got.status != http.StatusOK || got.AccessToken == "":
				errs <- fmt.Errorf("%v", got)
			}
		})
	}
	close(begin)
	wg.Wait()
	close(errs)
	for err := range errs {
		t.Error(err)
	}
	first.works(t)
}
