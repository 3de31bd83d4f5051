package redisstore

import (
	"strings"
	"testing"
	"time"
)

// A gateway whose clock is wrong leaves the sessions of all others alone, and says so.
func TestClocksApart(t *testing.T) {
	now := time.Now()
	for d, want := range map[time.Duration]bool{0: true, 4 * time.Minute: true, -4 * time.Minute: true, 6 * time.Minute: false, -3 * time.Hour: false} {
		err := apart(now.Add(d), now)
		if (err == nil) != want {
			t.Errorf("%v: got error %v", d, err)
		}
		if err != nil && !strings.Contains(err.Error(), d.Abs().String()) {
			t.Errorf("%v: the error does not tell: %v", d, err)
		}
	}
}
