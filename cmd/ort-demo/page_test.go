package main

import (
	"context"
	"errors"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	cdplog "github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"github.com/ort-gateway/ort-gateway/cmd/proctest"
)

// TestPage does in a real browser what the page invites to: both apps, the
// thief, the end. It needs Chromium.
func TestPage(t *testing.T) {
	w, err := startWorld(t.Context(), options{idle: 2 * time.Minute, absolute: 10 * time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	defer w.close()
	one := openBrowser(t)
	one.do(chromedp.Navigate(w.apps[0].origin), chromedp.WaitEnabled(chromedp.ID("login")), chromedp.Click(chromedp.ID("login")))
	one.do(chromedp.WaitVisible(chromedp.ID("password")),
		chromedp.SendKeys(chromedp.ID("username"), "alice"), chromedp.SendKeys(chromedp.ID("password"), "alice-pass"),
		chromedp.Click(chromedp.CSS("form button")))
	one.waitText("state", "Logged in as Alice Adams")
	one.click("exchange")
	one.waitText("fact-access", "good for")
	one.click("userinfo")
	one.waitText("state-note", "The access token works: it is Alice Adams")
	one.click("exchange")

	two := one.tab()
	href, err := chromedp.Run(one.ctx, chromedp.Evaluate[string](`document.getElementById("other-link").href`))
	if err != nil {
		t.Fatal(err)
	}
	two.do(chromedp.Navigate(href))
	two.waitText("state", "Logged in as Alice Adams")
	one.waitText("peer-state", "Logged in as Alice Adams")
	if got := w.idp.Stats().Logins; got != 1 {
		t.Errorf("passwords asked: got %d, want 1", got)
	}
	two.do(chromedp.Reload())
	two.waitText("state", "Logged in as Alice Adams") // what IndexedDB kept is enough

	for _, attack := range []string{"no-proof", "foreign-key", "replay"} {
		one.click("try-" + attack)
	}
	one.waitFor(`document.querySelectorAll(".verdict:not(:empty)").length === 3`)
	one.waitFor(`document.querySelectorAll(".verdict.broken").length === 0`)

	one.click("logout")
	for _, b := range []*browserTab{one, two} {
		b.waitText("state", "Ended: logged out")
	}
	one.waitFor(`document.querySelectorAll("#guide .done").length === 6`)
	one.waitFor(`document.getElementById("log").textContent.includes("session_ended")`)
	if got := w.idp.Stats(); got.TokenReuses != 0 || got.CodeReplays != 0 {
		t.Errorf("the identity provider saw %+v, want no reuse and no replay", got)
	}
}

// browserTab is one page of a browser; what it throws, or its policy forbids,
// fails the test.
type browserTab struct {
	*testing.T
	ctx context.Context
}

func openBrowser(t *testing.T) *browserTab {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if errors.Is(err, exec.ErrNotFound) {
		proctest.Missing(t, "chromium is not installed: apt-get install chromium")
	}
	flags := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.DisableGPU, chromedp.UserDataDir(t.TempDir()),
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true))
	allocator, cancel := chromedp.NewExecAllocator(t.Context(), flags...)
	t.Cleanup(cancel)
	limited, cancelLimit := context.WithTimeout(allocator, 90*time.Second)
	t.Cleanup(cancelLimit)
	return newTab(t, limited)
}

func newTab(t *testing.T, parent context.Context) *browserTab {
	t.Helper()
	ctx, cancel := chromedp.NewContext(parent)
	b := &browserTab{t, ctx}
	b.do(chromedp.Navigate("about:blank"))
	thrown, logged := chromedp.Events(ctx, runtime.ExceptionThrown), chromedp.Events(ctx, cdplog.EntryAdded)
	var wg sync.WaitGroup
	wg.Go(func() {
		for e, err := range thrown {
			if err != nil {
				return
			}
			t.Errorf("the page threw: %s %s", e.ExceptionDetails.Text, e.ExceptionDetails.Exception.Description)
		}
	})
	wg.Go(func() {
		for e, err := range logged {
			if err != nil {
				return
			}
			if strings.Contains(e.Entry.Text, "Content Security Policy") {
				t.Errorf("the page breaks its own policy: %s", e.Entry.Text)
			}
		}
	})
	t.Cleanup(func() { cancel(); wg.Wait() })
	return b
}

// tab opens another page of the same browser.
func (b *browserTab) tab() *browserTab { return newTab(b.T, b.ctx) }

func (b *browserTab) do(actions ...chromedp.Action[chromedp.Void]) {
	b.Helper()
	if err := chromedp.Do(b.ctx, actions...); err != nil {
		b.Fatal(err)
	}
}

func (b *browserTab) click(id string) {
	b.Helper()
	b.do(chromedp.WaitEnabled(chromedp.ID(id)), chromedp.Click(chromedp.ID(id)),
		chromedp.WaitNotPresent(chromedp.CSS("#"+id+".busy")))
}

func (b *browserTab) waitText(id, text string) {
	b.Helper()
	b.waitFor(`document.getElementById("` + id + `")?.textContent.includes("` + text + `")`)
}

// waitFor asks the page from outside, again and again: what is asked inside
// ends with a page that is left, and waits in one that is in the background.
func (b *browserTab) waitFor(condition string) {
	b.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); <-tick.C {
		if met, err := chromedp.Run(b.ctx, chromedp.Evaluate[bool]("Boolean("+condition+")")); err == nil && met {
			return
		}
	}
	shown, err := chromedp.Run(b.ctx, chromedp.Evaluate[string]("document.body.innerText"))
	b.Fatalf("never came true: %s; the page shows (%v):\n%s", condition, err, shown)
}
