package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

// spa serves one SPA on an origin of its own.
type spa struct {
	origin string
	config atomic.Pointer[spaConfig]
}

// spaConfig is what the page reads at /config.json.
type spaConfig struct {
	Origin   string `json:"origin"` // the gateway's
	Domain   string `json:"domain"` // Auth0's word for it
	Issuer   string `json:"issuer"`
	ClientID string `json:"clientID"`
	Cache    string `json:"cache"`
	BindCode bool   `json:"bindCode"`
	JSON     bool   `json:"json"`     // Auth0's SDK: bodies are JSON
	Audience string `json:"audience"` // Auth0's SDK: of the login; the ORT is good for others too (MRRT)
	Resource string `json:"resource"` // another that the login asks for, by the upstream's name
}

var sdkFiles = map[string]string{
	"auth0": "node/node_modules/@auth0/auth0-spa-js/dist/auth0-spa-js.production.js",
	"oidc":  "node/node_modules/oidc-client-ts/dist/browser/oidc-client-ts.min.js",
	"web":   "node/node_modules/oauth4webapi/build/index.js", // a module: the page imports it
}

// startSPA serves it at http://<name>.localhost:<free port>: a secure context, and another site than the gateway.
func startSPA(t *testing.T, name, sdk string) *spa {
	t.Helper()
	s := &spa{}
	mux := http.NewServeMux()
	file := func(path, name string) {
		mux.HandleFunc("GET "+path, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Cache-Control", "no-store")
			http.ServeFile(w, r, name)
		})
	}
	page := "node/spa/page.html"
	if sdk == "web" {
		page = "node/spa/module.html"
	}
	file("/{$}", page)
	file("/callback", page)
	file("/sdk.js", sdkFiles[sdk])
	file("/common.js", "node/spa/common.js")
	file("/app.js", "node/spa/"+sdk+".js")
	mux.HandleFunc("GET /config.json", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(s.config.Load())
	})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	_, port, err := net.SplitHostPort(strings.TrimPrefix(server.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	s.origin = "http://" + name + ".localhost:" + port
	return s
}

// chromium starts one browser with a fresh profile. Its tabs share cookies and storage.
func chromium(t *testing.T) context.Context {
	t.Helper()
	opts := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(chromiumProgram(t)), chromedp.NoSandbox, chromedp.DisableGPU, chromedp.UserDataDir(t.TempDir()),
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true),
		chromedp.Flag("ignore-certificate-errors", true),
		// Processes that are started ahead of need, one for each window and each page, are most of the work otherwise.
		chromedp.Flag("disable-features", "site-per-process,Translate,BackForwardCache,PreloadTopChromeWebUI,SpareRendererForSitePerProcess"),
	)
	ctx, cancelAll := chromedp.NewExecAllocator(context.Background(), opts...)
	t.Cleanup(cancelAll)
	ctx, cancel := chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	if err := chromedp.Do(ctx, chromedp.Navigate("about:blank")); err != nil {
		t.Fatalf("starting the browser: %v", err)
	}
	return ctx
}

// tab is one tab with a SPA in it.
type tab struct {
	t      *testing.T
	ctx    context.Context
	origin string // the SPA's
}

const pageTimeout = 45 * time.Second

// open opens a SPA in a new tab of the browser and waits until its script is ready.
func open(t *testing.T, browser context.Context, s *spa) *tab {
	t.Helper()
	ctx, cancel := chromedp.NewContext(browser)
	t.Cleanup(cancel)
	tb := &tab{t: t, ctx: ctx, origin: s.origin}
	// The tab lives as long as the context of its first action.
	if err := chromedp.Do(ctx, chromedp.Navigate(s.origin+"/")); err != nil {
		t.Fatalf("opening %s: %v", s.origin, err)
	}
	tb.ready()
	return tb
}

func (tb *tab) within(f func(ctx context.Context) error) error {
	ctx, cancel := context.WithTimeout(tb.ctx, pageTimeout)
	defer cancel()
	return f(ctx)
}

// ready waits until the page's script has done its start, the redirect back included.
func (tb *tab) ready() {
	tb.t.Helper()
	state := tb.await("the app to be ready", func(where, state string) bool {
		return strings.HasPrefix(where, tb.origin+"/") && (state == "ready" || strings.HasPrefix(state, "failed"))
	})
	if state != "ready" {
		tb.t.Fatalf("the app %s", state)
	}
}

// await polls the page's address and state. A page that is just being replaced answers nothing: it is asked again.
func (tb *tab) await(what string, ok func(where, state string) bool) string {
	tb.t.Helper()
	var last [2]string
	for deadline := time.Now().Add(pageTimeout); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		err := tb.within(func(ctx context.Context) error {
			now, err := chromedp.Run(ctx, chromedp.Evaluate[[2]string](`[location.href, document.readyState === 'loading' ? '' : document.getElementById('state')?.textContent ?? '']`))
			if err == nil {
				last = now
			}
			return err
		})
		if err == nil && ok(last[0], last[1]) {
			return last[1]
		}
	}
	text, _ := chromedp.Run(tb.ctx, chromedp.Evaluate[string](`document.documentElement.outerHTML.slice(0, 1500)`))
	tb.t.Fatalf("waiting for %s: the page is %q, its state %q\n%s", what, last[0], last[1], text)
	return ""
}

// call runs an async function of the page and decodes its result.
func call[T any](tb *tab, expression string) (T, error) {
	var got T
	err := tb.within(func(ctx context.Context) error {
		var err error
		got, err = chromedp.Run(ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
		return err
	})
	if err != nil {
		err = fmt.Errorf("%s: %w", expression, err)
	}
	return got, err
}

func must[T any](tb *tab, expression string) T {
	tb.t.Helper()
	got, err := call[T](tb, expression)
	if err != nil {
		tb.t.Fatal(err)
	}
	return got
}

// login starts the app's login. Where a form is expected it is filled in; then the app must be ready with that user.
func (tb *tab) login(user string, form bool) {
	tb.t.Helper()
	state := `document.getElementById('state').textContent`
	if _, err := call[bool](tb, `(`+state+` = 'leaving', spa.login().catch((err) => { `+state+` = 'failed: ' + err }), true)`); err != nil {
		tb.t.Fatal(err)
	}
	if form {
		tb.await("the login form", func(where, _ string) bool {
			return strings.Contains(where, "/interaction/") || strings.Contains(where, "/login") || strings.Contains(where, "/openid-connect/auth") || strings.Contains(where, "/authorize?")
		})
		tb.fillIn(user)
	}
	tb.ready()
}

// fillIn sends the login form, whose user may be fixed: Keycloak asks for the password alone where a login is renewed.
func (tb *tab) fillIn(user string) {
	tb.t.Helper()
	err := tb.within(func(ctx context.Context) error {
		if err := chromedp.Do(ctx, chromedp.WaitVisible(chromedp.CSS("#password"))); err != nil {
			return err
		}
		const name = "#login, #username:not([readonly]):not([type=hidden])"
		open, err := chromedp.Run(ctx, chromedp.Evaluate[bool](`!!document.querySelector('`+name+`')?.offsetParent`))
		if err != nil {
			return err
		}
		if open {
			if err := chromedp.Do(ctx, chromedp.SendKeys(chromedp.CSS(name), user)); err != nil {
				return err
			}
		}
		return chromedp.Do(ctx, chromedp.SendKeys(chromedp.CSS("#password"), user+"-pass"),
			chromedp.Click(chromedp.CSS("form button:not([type=button]), #kc-login")))
	})
	if err != nil {
		tb.t.Fatalf("filling in the login form: %v", err)
	}
}
