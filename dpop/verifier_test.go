package dpop

import (
	"context"
	"errors"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ort-gateway/ort-gateway/dpop/dpoptest"
)

const testURL = "https://as.example/token"

var (
	testNow   = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	testKey   = dpoptest.NewKey("ES256")
	otherKey  = dpoptest.NewKey("ES256")
	edKey     = dpoptest.NewKey("Ed25519")
	rsaKey    = dpoptest.NewKey("PS256")
	ecKey384  = dpoptest.NewKey("ES384")
	testToken = "an.access~token"
)

// RFC 9449 §4.3, a row for each thing that can be wrong.
func TestVerify(t *testing.T) {
	description := regexp.MustCompile(`^[\x20-\x21\x23-\x5b\x5d-\x7e]+$`) // RFC 6749 §5.2
	seen := map[Reason]bool{}
	for _, a := range attempts {
		t.Run(a.name, func(t *testing.T) {
			err := a.run(t)
			if a.want == "" {
				if err != nil {
					t.Fatalf("refused: %v", err)
				}
				return
			}
			var refused *Error
			if !errors.As(err, &refused) {
				t.Fatalf("got %v, want an *Error", err)
			}
			if a.code == "" {
				a.code = CodeInvalidProof
			}
			if refused.Reason != a.want || refused.Code() != a.code {
				t.Errorf("got %s (%s), want %s (%s)", refused.Reason, refused.Code(), a.want, a.code)
			}
			if !description.MatchString(refused.Error()) {
				t.Errorf("%q is not fit for an error_description", refused.Error())
			}
			seen[refused.Reason] = true
		})
	}
	if t.Failed() {
		return
	}
	for _, r := range Reasons() {
		if !seen[r] {
			t.Errorf("no row is refused for %s", r)
		}
	}
}

// The nonce is told after all that can be read without a signature
// check, and before the signature, the key and the replay.
func TestVerifyOrder(t *testing.T) {
	nonceAt := slices.Index(Reasons(), ReasonNoNonce)
	for _, a := range attempts {
		at := slices.Index(Reasons(), a.want)
		if at < 0 || a.config != nil {
			continue
		}
		t.Run(a.name, func(t *testing.T) {
			a.config = noncesAt(testNow)
			a.opts = append(a.opts, dpoptest.Nonce(""))
			want := a.want
			if at > nonceAt {
				want = ReasonNoNonce
			}
			var refused *Error
			if err := a.run(t); !errors.As(err, &refused) || refused.Reason != want {
				t.Errorf("got %v, want %s", err, want)
			}
		})
	}
}

// A client whose clock is wrong must be told by how much and which way.
func TestClockOffsetIsTold(t *testing.T) {
	for offset, want := range map[time.Duration]string{
		-90 * time.Second: "iat of the DPoP proof is 90 s in the past (at most 60 s): the client's clock is behind by that much, or the proof is old",
		40 * time.Second:  "iat of the DPoP proof is 40 s in the future (at most 5 s): the client's clock is ahead by that much",
	} {
		err := attempt{opts: with(dpoptest.IssuedAt(testNow.Add(offset)))}.run(t)
		if err == nil || err.Error() != want {
			t.Errorf("%v: got %v, want %s", offset, err, want)
		}
	}
}

func TestObserve(t *testing.T) {
	var got []time.Duration
	observe := func(c *Config) {
		noncesAt(testNow)(c)
		c.Observe = func(d time.Duration) { got = append(got, d) }
	}
	attempt{config: observe, opts: with(dpoptest.IssuedAt(testNow.Add(-time.Hour)))}.run(t)
	attempt{config: observe, opts: with(dpoptest.SignedBy(otherKey))}.run(t)
	if !slices.Equal(got, []time.Duration{-time.Hour}) {
		t.Errorf("observed %v, want -1h once: a bad signature proves nothing", got)
	}
}

func TestUnavailable(t *testing.T) {
	down := errors.New("store is down")
	for name, replay := range map[string]ReplayCache{"error": failing{down}, "no answer": answers(0)} {
		err := attempt{config: func(c *Config) { c.Replay = replay }}.run(t)
		var refused *Error
		if !errors.Is(err, ErrUnavailable) || errors.As(err, &refused) {
			t.Errorf("%s: got %v, want ErrUnavailable", name, err)
		}
		if name == "error" && !errors.Is(err, down) {
			t.Errorf("%v hides its cause", err)
		}
	}
}

// A proof that is refused for anything is not used up, and a proof does not use
// up another key's or another URL's jti.
func TestNothingIsBurnt(t *testing.T) {
	replay := NewMemoryReplay(0, nil, false)
	v := newVerifier(t, func(c *Config) { c.Replay = replay })
	verify := func(k *dpoptest.Key, url, jkt string) error {
		_, err := v.Verify(context.Background(), Request{
			Proofs: []string{k.Proof("POST", url, dpoptest.ID("same"))}, Method: "POST", URL: url, Thumbprint: jkt,
		})
		return err
	}
	for _, tt := range []struct {
		name, url, jkt string
		key            *dpoptest.Key
		want           Reason
	}{
		{"wrong key", testURL, otherKey.Thumbprint(), testKey, ReasonOtherKey},
		{"first", testURL, "", testKey, ""},
		{"other key", testURL, "", otherKey, ""},
		{"other URL", testURL + "/2", "", testKey, ""},
		{"again", testURL, "", testKey, ReasonRepeated},
		{"again, spelt otherwise", "HTTPS://as.example:443/%74oken?x=y", "", testKey, ReasonRepeated},
	} {
		err := verify(tt.key, tt.url, tt.jkt)
		var refused *Error
		if tt.want == "" && err != nil || tt.want != "" && (!errors.As(err, &refused) || refused.Reason != tt.want) {
			t.Errorf("%s: got %v, want reason %q", tt.name, err, tt.want)
		}
	}
	if replay.Len() != 3 {
		t.Errorf("%d proofs remembered, want 3", replay.Len())
	}
}

func TestNewChecksItsConfig(t *testing.T) {
	replay := NewMemoryReplay(0, nil, false)
	for want, c := range map[string]Config{
		"Replay":           {},
		`Algs: "none"`:     {Replay: replay, Algs: []string{"none"}},
		`Algs: "HS256"`:    {Replay: replay, Algs: []string{"HS256"}},
		"Algs: no":         {Replay: replay, Algs: []string{}},
		"ProofLifetime":    {Replay: replay, ProofLifetime: -1},
		"Future":           {Replay: replay, Future: -1},
		"Nonces: Lifetime": {Replay: replay, Nonces: NewNonces(NoncesConfig{Lifetime: -1})},
	} {
		if _, err := New(c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("New(%+v): got %v, want an error about %s", c, err, want)
		}
	}
}

func TestThumbprintRefuses(t *testing.T) {
	for name, key := range map[string]string{
		"no JSON":     "key",
		"private":     `{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo","d":"AA"}`,
		"oct":         `{"kty":"oct"}`,
		"other curve": `{"kty":"OKP","crv":"X25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}`,
		"short":       `{"kty":"OKP","crv":"Ed25519","x":"11qY"}`,
		"long":        strings.Repeat(" ", MaxProofSize) + "{}",
	} {
		if got, err := Thumbprint([]byte(key)); err == nil {
			t.Errorf("%s: got %q, want an error", name, got)
		}
	}
}

func TestValidThumbprint(t *testing.T) {
	good := testKey.Thumbprint()
	for s, want := range map[string]bool{
		good: true, "": false, good[1:]: false, good + "A": false, good + "=": false, good[:42] + "B": false,
		good[:41] + "\n" + good[42:]: false, strings.Repeat("+", 43): false,
	} {
		if got := ValidThumbprint(s); got != want {
			t.Errorf("ValidThumbprint(%q) = %v, want %v", s, got, want)
		}
	}
}

type answers ReplayResult

func (answers) Generation() uint64 { return 1 }
func (a answers) Remember(context.Context, uint64, [32]byte, time.Time) (ReplayResult, error) {
	return ReplayResult(a), nil
}

type failing struct{ err error }

func (failing) Generation() uint64 { return 1 }
func (f failing) Remember(context.Context, uint64, [32]byte, time.Time) (ReplayResult, error) {
	return Fresh, f.err
}
