package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

const (
	adminTimeout   = 75 * time.Second // longer than the gateway takes for any answer
	maxAdminAnswer = 64 << 20         // bytes of a page of sessions
)

// adminClient asks the session API of the running gateway.
type adminClient struct {
	addr  string
	token Secret
	http  *http.Client
}

// newAdminClient reads ORT_ADMIN_ADDR and ORT_ADMIN_TOKEN alone: the other settings need not be there.
func newAdminClient(p process) (*adminClient, error) {
	environ := slices.DeleteFunc(slices.Clone(p.environ), func(line string) bool {
		name, _, _ := strings.Cut(line, "=")
		return name != "ORT_ADMIN_ADDR" && name != "ORT_ADMIN_TOKEN" && name != "ORT_ADMIN_TOKEN_FILE"
	})
	l := &loader{values: variableMap(environ), fromFile: map[string]bool{}}
	l.readFiles()
	addr, err := adminAddr(l.values["ORT_ADMIN_ADDR"])
	if err != nil {
		l.fault("ORT_ADMIN_ADDR", err.Error())
	}
	var token adminToken
	switch text, set := l.values["ORT_ADMIN_TOKEN"]; {
	case !set && !l.faults.has("ORT_ADMIN_TOKEN"):
		l.fault("ORT_ADMIN_TOKEN", "is not set, and the session API needs the token that the running gateway has")
	case set:
		if err := token.UnmarshalText([]byte(text)); err != nil {
			l.fault("ORT_ADMIN_TOKEN", err.Error())
		}
	}
	return &adminClient{addr: addr, token: Secret(token), http: &http.Client{
		// No proxy of the environment: the token is for the gateway alone.
		Transport:     &http.Transport{DisableCompression: true, MaxIdleConns: 1, IdleConnTimeout: time.Minute},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, l.faults.err()
}

// adminAddr is where the gateway of the same environment has its admin listener; "" is the default.
func adminAddr(text string) (string, error) {
	if text == "" {
		defaults, err := defaultValues()
		if err != nil {
			return "", err
		}
		text = defaults["ORT_ADMIN_ADDR"]
	}
	var addr listenAddr
	err := addr.UnmarshalText([]byte(text))
	if _, port, _ := net.SplitHostPort(text); err == nil && port == "0" {
		err = wrong("%s has no fixed port to ask", quoted(text))
	}
	if err != nil {
		return "", err
	}
	return reachable(text), nil
}

// close ends idle connections.
func (c *adminClient) close() { c.http.CloseIdleConnections() }

// do sends a request. Any answer but 200 is an error; one that says 404 is errNoSuch where the session is unknown.
func (c *adminClient) do(ctx context.Context, method, path string, query url.Values) (*http.Response, error) {
	target := url.URL{Scheme: "http", Host: c.addr, Path: path, RawQuery: query.Encode()}
	req, err := http.NewRequestWithContext(ctx, method, target.String(), nil)
	if err != nil {
		return nil, fmt.Errorf("ORT_ADMIN_ADDR: %s is not an address to connect to", quoted(c.addr))
	}
	req.Header.Set("Authorization", "Bearer "+c.token.Reveal())
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, c.unreached(ctx, err)
	}
	if resp.StatusCode == http.StatusOK {
		return resp, nil
	}
	defer resp.Body.Close()
	return nil, c.refused(resp)
}

func (c *adminClient) unreached(ctx context.Context, err error) error {
	if timeout := net.Error(nil); errors.As(err, &timeout) && timeout.Timeout() {
		return fmt.Errorf("asking the gateway at %s: no answer in time", c.addr)
	}
	if ctx.Err() != nil {
		return errors.New("interrupted")
	}
	return fmt.Errorf("asking the gateway at %s: %w; does it run, with this ORT_ADMIN_ADDR?", c.addr, bare(err))
}

// errNoSuch: the gateway knows no such session.
var errNoSuch = errors.New("no such session")

// refused makes an error of an answer.
func (c *adminClient) refused(resp *http.Response) error {
	var e struct {
		Error       string `json:"error"`
		Description string `json:"error_description"`
	}
	body, _ := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	known := json.Unmarshal(body, &e) == nil && e.Error != ""
	switch {
	case resp.StatusCode == http.StatusUnauthorized:
		return fmt.Errorf("the gateway at %s refused the token: ORT_ADMIN_TOKEN is not the one that it has", c.addr)
	case known && e.Error == "unknown_session":
		return fmt.Errorf("%w: %s", errNoSuch, plainText(e.Description))
	case resp.StatusCode == http.StatusNotFound && (!known || e.Error == "api_off"):
		return fmt.Errorf("the gateway at %s has no session API: it runs without ORT_ADMIN_TOKEN, or is none", c.addr)
	case known:
		return fmt.Errorf("the gateway at %s answered %d: %s", c.addr, resp.StatusCode, plainText(e.Description))
	}
	return fmt.Errorf("%s answered %d, and not as a gateway does", c.addr, resp.StatusCode)
}

// read sends a request and reads the JSON of its answer.
func (c *adminClient) read(ctx context.Context, method, path string, query url.Values, into any) error {
	ctx, cancel := context.WithTimeout(ctx, adminTimeout)
	defer cancel()
	resp, err := c.do(ctx, method, path, query)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAdminAnswer))
	if err != nil {
		return c.unreached(ctx, err)
	}
	if err := json.Unmarshal(body, into); err != nil {
		return fmt.Errorf("%s answered, and not as a gateway does", c.addr)
	}
	return nil
}
