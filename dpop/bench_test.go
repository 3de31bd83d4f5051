package dpop

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"math/big"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/ort-gateway/ort-gateway/dpop/dpoptest"
)

// takesAll is a replay memory that costs nothing, so that one proof can be
// verified again and again.
type takesAll struct{}

func (takesAll) Generation() uint64 { return 0 }
func (takesAll) Remember(context.Context, uint64, [32]byte, time.Time) (ReplayResult, error) {
	return Fresh, nil
}

// benchRequest is what a browser sends to a token endpoint.
func benchRequest(v *Verifier) (Request, *ecdsa.PrivateKey) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	key := dpoptest.KeyOf("ES256", private)
	const url = "https://id.example.com/realms/main/protocol/openid-connect/token"
	return Request{
		Proofs: []string{key.Proof("POST", url, dpoptest.Nonce(v.Nonce()))},
		Method: "POST", URL: url, Thumbprint: key.Thumbprint(),
	}, private
}

// BenchmarkFloor is the least that any verifier does: SHA-256 of what was
// signed, and ecdsa.Verify. BenchmarkVerify stays below 1.25 times this.
func BenchmarkFloor(b *testing.B) {
	v := newVerifier(b, nil)
	r, private := benchRequest(v)
	dot := strings.LastIndexByte(r.Proofs[0], '.')
	signed := []byte(r.Proofs[0][:dot])
	sig, err := b64.DecodeString(r.Proofs[0][dot+1:])
	if err != nil {
		b.Fatal(err)
	}
	rr, ss := new(big.Int).SetBytes(sig[:32]), new(big.Int).SetBytes(sig[32:])
	b.ReportAllocs()
	for b.Loop() {
		digest := sha256.Sum256(signed)
		if !ecdsa.Verify(&private.PublicKey, digest[:], rr, ss) {
			b.Fatal("does not verify")
		}
	}
}

func BenchmarkVerify(b *testing.B) {
	v := newVerifier(b, func(c *Config) {
		c.Replay = takesAll{}
		c.Nonces = NewNonces(NoncesConfig{Lifetime: time.Hour})
	})
	r, _ := benchRequest(v)
	ctx := context.Background()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := v.Verify(ctx, r); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkRefuse shows what it costs to say no: below a tenth of the floor for
// everything that is told before the signature.
func BenchmarkRefuse(b *testing.B) {
	v := newVerifier(b, func(c *Config) { c.Nonces = NewNonces(NoncesConfig{Lifetime: time.Hour}) })
	key := dpoptest.NewKey("ES256")
	const url = "https://id.example.com/token"
	for name, proof := range map[string]string{
		"form":    strings.Repeat("A", 600),
		"json":    key.Proof("POST", url, dpoptest.RawHeader("{")),
		"typ":     key.Proof("POST", url, dpoptest.Header("typ", "JWT")),
		"htu":     key.Proof("POST", url+"/other"),
		"nonce":   key.Proof("POST", url),
		"foreign": key.Proof("POST", url, dpoptest.Nonce(strings.Repeat("A", 32))),
		"deep":    key.Proof("POST", url, dpoptest.RawHeader(`{"a":`+strings.Repeat("[", 2500)+strings.Repeat("]", 2500)+`}`)),
	} {
		r := Request{Proofs: []string{proof}, Method: "POST", URL: url}
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := v.Verify(context.Background(), r); err == nil {
					b.Fatal("accepted")
				}
			}
		})
	}
}

func BenchmarkRemember(b *testing.B) {
	m := NewMemoryReplay(0, nil, true)
	until := time.Now().Add(5 * time.Minute)
	var n uint64
	b.ReportAllocs()
	for b.Loop() {
		n++
		if _, err := m.Remember(context.Background(), m.Generation(), entryKey(n), until); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkMemoryReplayFull fills the memory with its default of 1,000,000
// entries and reports what each takes.
func BenchmarkMemoryReplayFull(b *testing.B) {
	for b.Loop() {
		before := heap()
		m := NewMemoryReplay(0, nil, true)
		until := time.Now().Add(time.Hour)
		for n := range uint64(defaultReplayLimit) {
			if _, err := m.Remember(context.Background(), 1, entryKey(n), until); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(heap()-before)/defaultReplayLimit, "B/entry")
		runtime.KeepAlive(m)
	}
}

func entryKey(n uint64) [32]byte {
	return sha256.Sum256(binary.BigEndian.AppendUint64(nil, n))
}

func heap() uint64 {
	runtime.GC()
	var s runtime.MemStats
	runtime.ReadMemStats(&s)
	return s.HeapAlloc
}
