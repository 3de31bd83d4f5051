package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"
)

// walker does what a newcomer would do on the page, prints each request and
// answer in short, and checks the answers.
type walker struct {
	*world
	ctx      context.Context
	out      io.Writer
	browser  *http.Client // one browser: both apps, one cookie jar
	metadata map[string]any
	one, two *appClient
	checks   int
	faults   []string
	step     string
}

// errStop ends a step whose further parts would make no sense.
type errStop struct{ reason string }

// walk runs all steps and returns the exit code.
func walk(ctx context.Context, w *world, out io.Writer) int {
	walker, err := newWalker(ctx, w, out)
	if err != nil {
		fmt.Fprintln(out, err)
		return 1
	}
	fmt.Fprintf(out, "ort-gateway walkthrough: gateway %s, identity provider behind it %s\n", w.origin, w.idpURL)
	for i, s := range steps {
		walker.step = s.title
		fmt.Fprintf(out, "\n%d. %s\n", i+1, s.title)
		if !walker.try(s.run) {
			break
		}
	}
	if n := len(walker.faults); n > 0 {
		fmt.Fprintf(out, "\n%d of %d checks are not as they should be:\n", n, walker.checks)
		for _, f := range walker.faults {
			fmt.Fprintf(out, "  ✗ %s\n", f)
		}
		fmt.Fprintf(out, "The gateway's last log lines:\n%s", w.panel.tail(15))
		return 1
	}
	fmt.Fprintf(out, "\nAll %d checks are as they should be.\n", walker.checks)
	return 0
}

func newWalker(ctx context.Context, w *world, out io.Writer) (*walker, error) {
	jar, err := cookiejar.New(nil)
	if err != nil {
		return nil, fmt.Errorf("making a cookie jar: %w", err)
	}
	walker := &walker{world: w, ctx: ctx, out: out, browser: &http.Client{
		Jar: jar, Timeout: 30 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	if walker.one, err = newAppClient(w.apps[0].clientID, w.apps[0].origin+"/"); err != nil {
		return nil, err
	}
	walker.two, err = newAppClient(w.apps[1].clientID, w.apps[1].origin+"/")
	return walker, err
}

// try runs a step; false when nothing after it can work.
func (w *walker) try(run func(*walker)) (ok bool) {
	defer func() {
		switch stopped := recover().(type) {
		case nil:
		case errStop:
			w.check(stopped.reason, false)
			ok = false
		default:
			panic(stopped)
		}
	}()
	run(w)
	return w.ctx.Err() == nil
}

func (w *walker) stop(format string, args ...any) { panic(errStop{fmt.Sprintf(format, args...)}) }

// check prints one check; a fault ends nothing, so that all are seen.
func (w *walker) check(what string, good bool) {
	w.checks++
	mark := "✓"
	if !good {
		mark = "✗"
		w.faults = append(w.faults, w.step+": "+what)
	}
	fmt.Fprintf(w.out, "   %s %s\n", mark, what)
}

// checkEqual is a check that says what it got.
func (w *walker) checkEqual(what string, got, want any) {
	if fmt.Sprint(got) != fmt.Sprint(want) {
		w.check(fmt.Sprintf("%s: got %v, want %v", what, short(fmt.Sprint(got)), want), false)
		return
	}
	w.check(fmt.Sprintf("%s: %v", what, want), true)
}

// answer is a response, read.
type answer struct {
	status int
	header http.Header
	body   string
	json   map[string]any // nil where the body is no JSON object
}

func (a *answer) text(name string) string {
	s, _ := a.json[name].(string)
	return s
}

func (a *answer) number(name string) float64 {
	n, ok := a.json[name].(float64)
	if !ok {
		return -1
	}
	return n
}

// request is one request before it is sent.
type request struct {
	method string
	url    string
	form   url.Values
	header http.Header
}

// send sends a request and prints nothing, for use in parallel.
func (w *walker) send(r request) (*answer, error) {
	var body io.Reader
	if r.form != nil {
		body = strings.NewReader(r.form.Encode())
	}
	req, err := http.NewRequestWithContext(w.ctx, r.method, r.url, body)
	if err != nil {
		return nil, err
	}
	for name, values := range r.header {
		req.Header[name] = values
	}
	if r.form != nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	res, err := w.browser.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	if err != nil {
		return nil, fmt.Errorf("reading the answer: %w", err)
	}
	a := &answer{status: res.StatusCode, header: res.Header, body: string(b)}
	_ = json.Unmarshal(b, &a.json)
	return a, nil
}

// do sends a request and prints it and its answer in short.
func (w *walker) do(r request) *answer {
	u, err := url.Parse(r.url)
	if err != nil {
		w.stop("%v", err)
	}
	line := r.method + " " + u.Path
	for _, values := range []url.Values{u.Query(), r.form} {
		for _, name := range slices.Sorted(keys(values)) {
			line += fmt.Sprintf(" %s=%s", name, short(strings.Join(values[name], ",")))
		}
	}
	for _, name := range []string{"Authorization", "DPoP"} {
		for _, value := range r.header[http.CanonicalHeaderKey(name)] {
			line += fmt.Sprintf(" [%s: %s]", name, short(value))
		}
	}
	fmt.Fprintf(w.out, "   → %s\n", line)
	a, err := w.send(r)
	if err != nil {
		w.stop("no answer: %v", err)
	}
	fmt.Fprintf(w.out, "   ← %s\n", a.line())
	return a
}

// line is an answer in one line.
func (a *answer) line() string {
	line := fmt.Sprint(a.status)
	for _, name := range []string{"Location", "WWW-Authenticate", "DPoP-Nonce"} {
		if v := a.header.Get(name); v != "" {
			line += fmt.Sprintf(" [%s: %s]", name, shortLocation(v))
		}
	}
	if a.json == nil {
		if a.body != "" {
			line += " (" + strings.TrimSpace(a.header.Get("Content-Type")) + ")"
		}
		return line
	}
	var members []string
	for _, name := range slices.Sorted(keys(a.json)) {
		value := short(fmt.Sprint(a.json[name]))
		if strings.HasPrefix(name, "error") {
			value = fmt.Sprint(a.json[name]) // the words matter
		}
		members = append(members, name+"="+value)
	}
	if len(members) > 12 {
		return fmt.Sprintf("%s {%d members}", line, len(members))
	}
	return line + " {" + strings.Join(members, ", ") + "}"
}

func keys[V any](m map[string]V) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

// short cuts what may be a secret to a beginning, and what is long to one.
func short(s string) string {
	const limit = 16
	if len(s) <= limit+8 || strings.HasPrefix(s, "http://") || strings.Contains(s, " ") && len(s) < 80 {
		return s
	}
	return s[:limit] + "…"
}

var queryValue = regexp.MustCompile(`=[^&]{24,}`)

// shortLocation keeps the parameters of a redirect readable.
func shortLocation(s string) string {
	return queryValue.ReplaceAllStringFunc(s, func(v string) string {
		if strings.Contains(v, "+") || strings.HasPrefix(v, "=http") {
			return v
		}
		return v[:16] + "…"
	})
}

var requestField = regexp.MustCompile(`name="request" value="([^"]+)"`)

// follow goes from one redirect to the next as a browser does, until an app's
// own address (returned) or a page (the answer).
func (w *walker) follow(a *answer) (*url.URL, *answer) {
	at := w.origin
	for range 10 {
		if a.status < 300 || a.status > 399 {
			return nil, a
		}
		next, err := url.Parse(a.header.Get("Location"))
		if err != nil {
			w.stop("a redirect to nowhere: %v", err)
		}
		base, _ := url.Parse(at)
		next = base.ResolveReference(next)
		if next.Scheme+"://"+next.Host != w.origin {
			return next, a
		}
		at = next.String()
		a = w.do(request{method: http.MethodGet, url: at})
	}
	w.stop("redirects without end")
	return nil, nil
}

// authorize asks for a login with online_access; more are further parameters,
// in pairs, an empty value takes one out.
func (w *walker) authorize(c *appClient, more ...string) (*url.URL, *answer) {
	q := url.Values{
		"response_type": {"code"}, "client_id": {c.id}, "redirect_uri": {c.redirect}, "state": {"state-" + c.id},
		"scope": {"openid profile online_access"}, "code_challenge": {c.newChallenge()}, "code_challenge_method": {"S256"},
	}
	for i := 0; i < len(more); i += 2 {
		q.Set(more[i], more[i+1])
		if more[i+1] == "" {
			q.Del(more[i])
		}
	}
	return w.follow(w.do(request{method: http.MethodGet, url: w.endpoint("authorization_endpoint") + "?" + q.Encode()}))
}

// login fills in the identity provider's form.
func (w *walker) login(page *answer, username, password string) *url.URL {
	m := requestField.FindStringSubmatch(page.body)
	if m == nil {
		w.stop("no login form in the answer (status %d)", page.status)
	}
	r := request{method: http.MethodPost, url: w.origin + "/login", form: url.Values{
		"request": {m[1]}, "username": {username}, "password": {password},
	}}
	to, a := w.follow(w.do(r))
	if to == nil {
		w.stop("the login did not lead back to the app (status %d)", a.status)
	}
	return to
}

func (w *walker) endpoint(name string) string {
	s, _ := w.metadata[name].(string)
	if s == "" {
		w.stop("the discovery document has no %s", name)
	}
	return s
}
