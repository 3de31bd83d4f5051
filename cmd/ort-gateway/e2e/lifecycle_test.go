package e2e

import (
	"net/http"
	"testing"
	"time"
)

// SIGTERM: what is in flight is answered and kept, the process ends with 0, and its successor goes on.
func TestSIGTERMAnswersWhatIsInFlight(t *testing.T) {
	st := startStack(t, setup{})
	a := st.app("app-one", nil)
	a.login(t)
	a.works(t)
	calls := st.provider.seen(t).TokenCalls
	st.provider.fault(t, fault{Kind: "slow", Millis: 700})
	type result struct {
		got *answer
		err error
	}
	done := make(chan result, 1)
	go func() {
		got, err := a.exchange()
		done <- result{got, err}
	}()
	st.provider.awaitTokenCall(t, calls)
	if err := st.gateway.terminate(10 * time.Second); err != nil {
		t.Errorf("ending the gateway: %v", err)
	}
	if r := <-done; r.err != nil || r.got.status != http.StatusOK {
		t.Errorf("the exchange in flight: %v %v", r.got, r.err)
	}
	st.startGateway()
	a.works(t)
}
