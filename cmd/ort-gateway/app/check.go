package app

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/ort-gateway/ort-gateway/proxy"
)

// level is how good one fact is.
type level string

const (
	levelOK   level = "ok"
	levelWarn level = "warn" // works, but not as well as it could, or perhaps not as meant
	levelFail level = "fail" // does not work
	levelSkip level = "skip" // could not be found out, and why
)

// fact is one line of `ort-gateway check`.
type fact struct {
	Level   level  `json:"level"`
	Topic   string `json:"topic"`
	Issuer  string `json:"issuer,omitempty"` // what it was found at; "" for what concerns the gateway alone
	Fact    string `json:"fact"`
	Setting string `json:"setting,omitempty"` // what to set, in the words of the one that has it: to be changed, or where the fact hangs
}

// report is everything that was found, in the order in which it was looked for.
type report struct {
	Result level         `json:"result"` // the worst of ok, warn and fail
	Counts map[level]int `json:"counts"`
	Facts  []fact        `json:"facts"`
	shown  map[[3]string]bool
}

func newReport() *report {
	return &report{Result: levelOK, Counts: map[level]int{levelOK: 0, levelWarn: 0, levelFail: 0, levelSkip: 0}, shown: map[[3]string]bool{}}
}

// add notes a fact. What was said already, of another issuer at the same upstream, is not said again.
func (r *report) add(f fact) {
	key := [3]string{f.Topic, f.Issuer, f.Fact}
	if r.shown[key] {
		return
	}
	r.shown[key] = true
	r.Facts = append(r.Facts, f)
	r.Counts[f.Level]++
	if f.Level == levelFail || f.Level == levelWarn && r.Result != levelFail {
		r.Result = f.Level
	}
}

// write prints the report: a line a fact, or one JSON document.
func (r *report) write(w io.Writer, asJSON bool, issuers int) error {
	if asJSON {
		e := json.NewEncoder(w)
		e.SetEscapeHTML(false)
		e.SetIndent("", "  ")
		return e.Encode(r)
	}
	var b strings.Builder
	for _, f := range r.Facts {
		fmt.Fprintf(&b, "%-4s %s: ", f.Level, f.Topic)
		if f.Issuer != "" && issuers > 1 {
			b.WriteString("[" + f.Issuer + "] ")
		}
		b.WriteString(f.Fact)
		switch {
		case f.Setting == "":
		case f.Level == levelWarn || f.Level == levelFail:
			b.WriteString("; change: " + f.Setting)
		default:
			b.WriteString("; setting: " + f.Setting)
		}
		b.WriteString("\n")
	}
	fmt.Fprintf(&b, "%d ok, %d warn, %d fail, %d skip\n", r.Counts[levelOK], r.Counts[levelWarn], r.Counts[levelFail], r.Counts[levelSkip])
	_, err := io.WriteString(w, b.String())
	return err
}

// Bounds of one run.
const (
	checkTimeout        = time.Minute      // of everything
	checkRequestTimeout = 10 * time.Second // of one request
	checkPublicTimeout  = 3 * time.Second  // of the look at the public name, which may lead nowhere from here
	checkMaxClients     = 20               // clients that are tried
)

// checker is one run. It asks, and changes nothing: no login, no registration, no cookie is ever sent, and what it sends
// as token or secret was made up.
type checker struct {
	settings *Settings
	report   *report
	upstream http.RoundTripper // to ORT_UPSTREAM_URL, as the gateway goes
	public   http.RoundTripper // to the public origin, as a client goes
	now      func() time.Time
	timeout  time.Duration // of one request

	addresses func() []netip.Addr // this machine's own that others could reach

	down bool // the upstream did not answer at all: nobody asks again
}

func newChecker(s *Settings) *checker {
	return &checker{
		settings: s, report: newReport(), now: time.Now, addresses: ownAddresses, timeout: checkRequestTimeout,
		upstream: proxy.NewTransport(s.UpstreamCAs, upstreamConnect), public: proxy.NewTransport(nil, checkPublicTimeout),
	}
}

// runCheck is `ort-gateway check`: exit code 1 where something does not work, 0 otherwise, 2 for wrong settings.
func runCheck(ctx context.Context, p process) int {
	asJSON := len(p.args) == 1 && p.args[0] == "--json"
	if len(p.args) > 0 && !asJSON {
		fmt.Fprintf(p.stderr, "ort-gateway: check takes no argument but --json\n\n%s", usage)
		return exitUsage
	}
	settings, warnings, err := Load(p.environ, checkSealingKeys)
	if err != nil {
		for _, w := range warnings {
			fmt.Fprintln(p.stderr, "warning: "+w.String())
		}
		fmt.Fprintln(p.stderr, err.Error())
		return exitUsage
	}
	c := newChecker(settings)
	c.run(ctx, warnings)
	if err := c.report.write(p.stdout, asJSON, len(settings.Issuers)); err != nil {
		return p.fail(err)
	}
	if c.report.Result == levelFail {
		return exitFailed
	}
	return exitGood
}

// run looks at everything, the gateway's own things first. The order is fixed.
func (c *checker) run(ctx context.Context, warnings []Warning) {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	for _, w := range warnings {
		c.report.add(fact{Level: levelWarn, Topic: "settings", Fact: w.String()})
	}
	c.checkKeys()
	c.checkStore(ctx)
	c.checkListener()
	c.checkProxies()
	for _, issuer := range c.settings.Issuers {
		if c.down {
			c.report.add(fact{Level: levelSkip, Topic: "discovery", Issuer: issuer, Fact: "not asked: the upstream did not answer before"})
			continue
		}
		c.checkIssuer(ctx, issuer)
	}
}

// checkIssuer looks at one issuer, as far as it answers.
func (c *checker) checkIssuer(ctx context.Context, issuer string) {
	t := c.discover(ctx, issuer)
	if t == nil {
		return
	}
	for _, look := range []func(context.Context, *target){
		c.checkIssuerName, c.checkEndpoints, c.checkForwarded, c.checkRequests, c.checkPKCE, c.checkRefresh,
		c.checkClients, c.checkClock, c.checkConfidential, c.checkDPoP, c.checkSID, c.checkSubjects, c.checkRevocation, c.checkIntrospection,
		c.checkEndSession, c.checkLoginCookies, c.checkBackChannel, c.checkCookies, c.checkCORS, c.checkLifetimes, c.checkReach,
	} {
		if ctx.Err() != nil {
			t.skip("time", fmt.Sprintf("the rest was not looked at: the whole check may take %s", checkTimeout))
			return
		}
		look(ctx, t)
	}
}

// target is one issuer, what it publishes, and who notes what is found there.
type target struct {
	*report
	issuer  string
	doc     *document
	idp     *idpKind
	clients map[string]clientAnswer // what the token endpoint said of each client, with no authentication
	open    []string                // clients whose authorization requests could be tried
	origins map[string]string       // where a client's logins end, as far as its authorization requests could be tried
	answers []*answer               // of the authorization endpoint, for checkCookies
}

func (t *target) ok(topic, text string)   { t.note(levelOK, topic, text, "") }
func (t *target) skip(topic, text string) { t.note(levelSkip, topic, text, "") }

func (t *target) note(l level, topic, text, setting string) {
	t.add(fact{Level: l, Topic: topic, Issuer: t.issuer, Fact: text, Setting: setting})
}
