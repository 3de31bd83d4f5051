package sessions

import "testing"

func pending(c <-chan struct{}) int {
	n := 0
	for {
		select {
		case <-c:
			n++
		default:
			return n
		}
	}
}

func TestSignals(t *testing.T) {
	var s Signals[string]
	a, stopA := s.Listen("a")
	again, stopAgain := s.Listen("a")
	b, stopB := s.Listen("b")
	s.Send("a")
	s.Send("a")
	s.Send("nobody")
	if got := [3]int{pending(a), pending(again), pending(b)}; got != [3]int{1, 1, 0} {
		t.Errorf("after a's: %v signals, want one for each that listens for a", got)
	}
	s.SendAll()
	stopA()
	stopA()
	s.Send("a")
	if got := [3]int{pending(a), pending(again), pending(b)}; got != [3]int{1, 1, 1} {
		t.Errorf("after all's: %v signals, want one each", got)
	}
	s.Send("a")
	if got := [2]int{pending(a), pending(again)}; got != [2]int{0, 1} {
		t.Errorf("after one stopped: %v signals", got)
	}
	stopAgain()
	stopB()
	if n := s.Keys(); n != 0 {
		t.Errorf("somebody listens for %d keys, and has stopped", n)
	}
}
