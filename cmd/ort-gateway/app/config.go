package app

import (
	"crypto/x509"
	"errors"
	"log/slog"
	"net/netip"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/caarlos0/env/v11"
)

// environment is the environment as it is: one field a variable, in the order in which people read about them. What a
// variable means, and an example, is in the table of variables.go; the two are held together by a test.
type environment struct {
	Issuer            issuerList  `env:"ORT_ISSUER,required"`
	UpstreamURL       upstreamURL `env:"ORT_UPSTREAM_URL,required"`
	ListenAddr        listenAddr  `env:"ORT_LISTEN_ADDR" envDefault:":8080"`
	AdminAddr         listenAddr  `env:"ORT_ADMIN_ADDR" envDefault:":9090"`
	AdminToken        adminToken  `env:"ORT_ADMIN_TOKEN"`
	AdminTokenFile    string      `env:"ORT_ADMIN_TOKEN_FILE"`
	StoreURL          storeURL    `env:"ORT_STORE_URL" envDefault:"bolt:ort-sessions.db"`
	StoreURLFile      string      `env:"ORT_STORE_URL_FILE"`
	SealingKeys       Secret      `env:"ORT_SEALING_KEYS"`
	SealingKeysFile   string      `env:"ORT_SEALING_KEYS_FILE"`
	IdleTimeout       duration    `env:"ORT_SESSION_IDLE_TIMEOUT" envDefault:"72h"`
	AbsoluteTimeout   duration    `env:"ORT_SESSION_ABSOLUTE_TIMEOUT" envDefault:"168h"`
	LoginTimeout      duration    `env:"ORT_LOGIN_TIMEOUT" envDefault:"24h"`
	MaxTransactions   count       `env:"ORT_MAX_TRANSACTIONS" envDefault:"200000"`
	Clients           plainNames  `env:"ORT_CLIENTS"`
	Audiences         plainNames  `env:"ORT_AUDIENCES"`
	Confidential      names       `env:"ORT_CONFIDENTIAL_CLIENTS"`
	OnlineOnly        names       `env:"ORT_ONLINE_ONLY_CLIENTS"`
	UpstreamScope     scope       `env:"ORT_UPSTREAM_SCOPE"`
	UpstreamConsent   boolean     `env:"ORT_UPSTREAM_CONSENT" envDefault:"false"`
	LoginCookies      cookieNames `env:"ORT_UPSTREAM_LOGIN_COOKIES" envDefault:"KEYCLOAK_IDENTITY,KEYCLOAK_SESSION,_session,ory_hydra_session,authentik_session,authelia_session,dex_session"`
	UpstreamEnd       upstreamEnd `env:"ORT_UPSTREAM_END" envDefault:"auto"`
	UpstreamTimeout   duration    `env:"ORT_UPSTREAM_TIMEOUT" envDefault:"30s"`
	UpstreamCAFile    string      `env:"ORT_UPSTREAM_CA_FILE"`
	TrustedProxies    prefixes    `env:"ORT_TRUSTED_PROXIES"`
	DPoPAuthority     authority   `env:"ORT_DPOP_AUTHORITY" envDefault:"gateway"`
	DPoPNonce         nonceMode   `env:"ORT_DPOP_NONCE" envDefault:"required"`
	DPoPNonceLifetime duration    `env:"ORT_DPOP_NONCE_LIFETIME" envDefault:"5m"`
	DPoPAlgs          algorithms  `env:"ORT_DPOP_ALGS" envDefault:"ES256,ES384,ES512,EdDSA,Ed25519,PS256,RS256"`
	DPoPProofLifetime duration    `env:"ORT_DPOP_PROOF_LIFETIME" envDefault:"60s"`
	CORSOrigins       origins     `env:"ORT_CORS_ORIGINS"`
	Auth0Paths        boolean     `env:"ORT_AUTH0_PATHS" envDefault:"false"`
	Auth0Audience     auth0Target `env:"ORT_AUTH0_AUDIENCE" envDefault:"audience"`
	TLSCertFile       string      `env:"ORT_TLS_CERT_FILE"`
	TLSKeyFile        string      `env:"ORT_TLS_KEY_FILE"`
	LogLevel          logLevel    `env:"ORT_LOG_LEVEL" envDefault:"info"`
	LogFormat         logFormat   `env:"ORT_LOG_FORMAT" envDefault:"json"`
	ShutdownDelay     pause       `env:"ORT_SHUTDOWN_DELAY" envDefault:"0s"`
	ShutdownTimeout   duration    `env:"ORT_SHUTDOWN_TIMEOUT" envDefault:"15s"`
}

// Settings are the checked settings of one gateway, in plain Go values.
type Settings struct {
	Issuers      []string // issuer URLs, each exactly as it was written; at least one
	PublicOrigin *url.URL // the one origin of all issuers: scheme and host alone, no default port
	UpstreamURL  *url.URL // where the IdP listens: scheme and host alone

	ListenAddr string // public listener, host:port
	AdminAddr  string // admin listener, host:port
	AdminToken Secret // not set: the session API is off

	AdminTokenFile string // the file that AdminToken was read from, to be watched; "" where there is none

	StorePath       string // file of the embedded store; "": it is another
	StoreURL        Secret // URL of a store that several replicas share; not set: the embedded one
	SealingKeys     Secret // not set: the embedded store keeps keys of its own beside it
	SealingKeysFile string // the file that SealingKeys was read from, to be watched; "" where there is none

	SessionIdleTimeout     time.Duration // never longer than SessionAbsoluteTimeout
	SessionAbsoluteTimeout time.Duration
	LoginTimeout           time.Duration // life of a transaction
	MaxTransactions        int           // at least 1

	Clients             []string // clients that may get ORTs; nil: all
	Audiences           []string // audiences and resources; nil: all, but none beyond the authorization request
	ConfidentialClients []string // may contain "*"
	OnlineOnlyClients   []string // may contain "*"

	UpstreamScope        *string        // nil: not set, the default; "" was set, and means no scope
	UpstreamConsent      bool           // add prompt=consent where offline_access is added
	UpstreamLoginCookies []string       // cookie names
	UpstreamEnd          string         // auto, logout, revoke or none
	UpstreamTimeout      time.Duration  // answer headers of a token call
	UpstreamCAs          *x509.CertPool // nil: the system's

	TrustedProxies []netip.Prefix // masked; IPv4 is never mapped into IPv6

	DPoPAuthority     string        // gateway or upstream
	DPoPNonceRequired bool          // false: ORT_DPOP_NONCE=off
	DPoPNonceLifetime time.Duration //
	DPoPAlgs          []string      // JWS names
	DPoPProofLifetime time.Duration // without nonces: how far iat may lie in the past

	CORSOrigins []string // as browsers spell them; nil: what the upstream allows

	Auth0Paths    bool   // one issuer, and DPoPAuthority gateway
	Auth0Audience string // audience or resource

	TLSCertFile string // both or neither
	TLSKeyFile  string

	LogLevel  slog.Level
	LogFormat string // json or text

	ShutdownDelay   time.Duration // may be zero
	ShutdownTimeout time.Duration
}

// Warning is something that is probably not meant, but does not stop the gateway.
type Warning struct {
	Variable string // the variable that is concerned
	Text     string // what about it; never a secret
}

// String gives the warning as one line.
func (w Warning) String() string { return w.Variable + ": " + w.Text }

// Load reads the settings from environ ("NAME=value", as os.Environ gives them) and from the files it names.
// parseKeys is asked whether ORT_SEALING_KEYS is good; its error must not contain any part of a key.
// The error lists every fault, one line each; the warnings are complete in either case.
func Load(environ []string, parseKeys func(string) error) (*Settings, []Warning, error) {
	l := &loader{values: variableMap(environ), fromFile: map[string]bool{}, parseKeys: parseKeys}
	l.unknownNames()
	l.readFiles()
	var e environment
	l.parse(&e)
	s := l.settings(&e)
	if err := l.faults.err(); err != nil {
		return nil, l.warnings, err
	}
	return s, l.warnings, nil
}

// loader collects what one Load finds.
type loader struct {
	values    map[string]string // what was set and is not empty; _FILE variants are filled in under their plain name
	scopeSet  bool              // ORT_UPSTREAM_SCOPE was set, perhaps to nothing
	fromFile  map[string]bool   // plain names whose value came from their _FILE
	parseKeys func(string) error
	faults    faults
	warnings  []Warning
}

// variableMap keeps the ORT_ variables. The first of two equal names counts, as it does for os.Getenv.
func variableMap(environ []string) map[string]string {
	m := map[string]string{}
	for _, line := range environ {
		name, value, found := strings.Cut(line, "=")
		if _, again := m[name]; again || !found || !strings.HasPrefix(name, "ORT_") {
			continue
		}
		m[name] = value
	}
	return m
}

// readFiles puts the content of each _FILE variable in the place of the variable itself, and takes out what is set but
// empty: that means the default.
func (l *loader) readFiles() {
	_, l.scopeSet = l.values["ORT_UPSTREAM_SCOPE"]
	for name, value := range l.values {
		if value == "" {
			delete(l.values, name)
		}
	}
	for _, v := range variables {
		if !v.hasFile() {
			continue
		}
		path, ok := l.values[v.name+"_FILE"]
		if !ok {
			continue
		}
		if _, both := l.values[v.name]; both {
			l.fault(v.name, "is set, and so is "+v.name+"_FILE: set one of them")
			continue
		}
		l.fromFile[v.name] = true
		content, err := readSetting(path)
		if err != nil {
			l.fault(v.name, err.Error())
			continue
		}
		l.values[v.name] = content
	}
}

// parse fills e. The library names Go fields in its errors; people know variables only.
func (l *loader) parse(e *environment) {
	// An empty map would make the library read the process's own environment.
	l.values["ORT_"] = ""
	err := env.ParseWithOptions(e, env.Options{Environment: l.values})
	if err == nil {
		return
	}
	all := env.AggregateError{}
	if !errors.As(err, &all) {
		l.fault("ORT_ISSUER", "cannot be read")
		return
	}
	for _, err := range all.Errors {
		var parse env.ParseError
		var missing env.VarIsNotSetError
		switch {
		case errors.As(err, &parse):
			text := "has a wrong value"
			var wrong *valueError
			if errors.As(parse.Err, &wrong) { // any other text may repeat the value
				text = wrong.Error()
			}
			l.fault(variableOfField(parse.Name), text)
		case errors.As(err, &missing):
			l.fault(missing.Key, "is required and not set")
		default:
			l.fault("ORT_ISSUER", "cannot be read")
		}
	}
}

// variableOfField gives the variable that the named field of environment holds.
func variableOfField(field string) string {
	f, ok := reflect.TypeFor[environment]().FieldByName(field)
	if !ok {
		return field
	}
	name, _, _ := strings.Cut(f.Tag.Get("env"), ",")
	return name
}

// fault notes what is wrong with the value of the named variable. Where the value came from a file, the file is named.
func (l *loader) fault(variable, text string) {
	shown, example := variable, exampleOf(variable)
	if variable == "ORT_STORE_URL" && strings.HasPrefix(l.values[variable], "redis") {
		example = sharedStoreExample
	}
	if l.fromFile[variable] {
		shown = variable + "_FILE"
		text = "the file " + text
		example = exampleOf(shown)
	}
	l.faults = append(l.faults, fault{variable: variable, shown: shown, text: text, example: example})
}

func (l *loader) warn(variable, text string) {
	l.warnings = append(l.warnings, Warning{Variable: variable, Text: text})
}

// fault is one wrong value.
type fault struct {
	variable string // the variable, without _FILE
	shown    string // the variable as the line names it
	text     string
	example  string
}

type faults []fault

// has reports whether the variable is known to be wrong, so that nothing more need be said about it.
func (f faults) has(variables ...string) bool {
	return slices.ContainsFunc(f, func(one fault) bool { return slices.Contains(variables, one.variable) })
}

// err gives all faults as one error, a line each, in the order of the table; nil where there is none.
func (f faults) err() error {
	if len(f) == 0 {
		return nil
	}
	slices.SortStableFunc(f, func(a, b fault) int { return orderOf(a.variable) - orderOf(b.variable) })
	return settingsError(f)
}

type settingsError []fault

// Error lists the faults, one line each.
func (e settingsError) Error() string {
	lines := make([]string, len(e))
	for i, f := range e {
		lines[i] = f.shown + ": " + f.text + "; example: " + f.shown + "=" + f.example
	}
	return strings.Join(lines, "\n")
}
