package boltstore

import (
	"os"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/ort-gateway/ort-gateway/sessions"
	"github.com/ort-gateway/ort-gateway/sessions/storetest"
)

func TestMain(m *testing.M) {
	if path := os.Getenv(crashFile); path != "" {
		crashWriter(path)
	}
	goleak.VerifyTestMain(m)
}

const fileName = "sessions.db"

func open(t testing.TB, c storetest.Config) sessions.Store {
	s, err := Open(Config{Path: filepath.Join(c.Place, fileName), Now: c.Now, MaxTransactions: c.MaxTransactions})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// crash copies the file as it is: what bbolt has acknowledged is in it, and
// nothing else has been told that it is safe.
func crash(t testing.TB, place string) string {
	b, err := os.ReadFile(filepath.Join(place, fileName))
	if err != nil {
		t.Fatal(err)
	}
	other := t.TempDir()
	if err := os.WriteFile(filepath.Join(other, fileName), b, 0o600); err != nil {
		t.Fatal(err)
	}
	return other
}

func TestStore(t *testing.T)      { storetest.Run(t, open) }
func TestDurability(t *testing.T) { storetest.RunDurability(t, open, crash) }
func TestModel(t *testing.T)      { storetest.RunModel(t, open) }

func TestMoving(t *testing.T) {
	config := func(c storetest.Config) Config { return Config{Path: filepath.Join(c.Place, fileName), Now: c.Now} }
	storetest.RunMoving(t, storetest.Moving{
		Open: open, Kill: crash,
		Fill: func(t testing.TB, c storetest.Config) sessions.Store {
			filled := config(c)
			filled.ForImport = true
			s, err := Open(filled)
			if err != nil {
				t.Fatal(err)
			}
			return s
		},
		Refusal: func(_ testing.TB, place string) error {
			s, err := Open(config(storetest.Config{Place: place}))
			if err != nil {
				return err
			}
			return s.Close()
		},
	})
}

func FuzzOperations(f *testing.F) {
	f.Fuzz(func(t *testing.T, b []byte) { rapid.MakeFuzz(storetest.Operations(t, open))(t, b) })
}
