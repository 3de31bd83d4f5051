package app

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// errUnreadable: JSON, but not as a gateway of this version answers.
var errUnreadable = errors.New("the gateway's answer cannot be read: is it of the same version as this program?")

// pageOfList is how many sessions list asks for at a time.
const pageOfList = 500

// listedPage and listedSession are what the session API answers.
type (
	listedPage struct {
		Sessions []json.RawMessage `json:"sessions"`
		Next     string            `json:"next"`
	}
	listedSession struct {
		ID       string          `json:"id"`
		Issuers  []string        `json:"issuers"`
		Subjects []listedSubject `json:"subjects"`
		Clients  []string        `json:"clients"`
		Grants   []listedGrant   `json:"grants"`
		Created  time.Time       `json:"created_at"`
		AuthTime *time.Time      `json:"auth_time"`
		Started  time.Time       `json:"started_at"`
		LastUsed time.Time       `json:"last_used_at"`
		Idle     time.Time       `json:"idle_expires_at"`
		Absolute time.Time       `json:"expires_at"`
		Owed     int             `json:"credentials_to_give_back"`
		Ended    *struct {
			At     time.Time `json:"at"`
			Reason string    `json:"reason"`
		} `json:"ended"`
	}
	listedSubject struct{ Issuer, Client, Sub string }
	listedGrant   struct {
		Client   string    `json:"client"`
		Issuer   string    `json:"issuer"`
		Scope    string    `json:"scope"`
		Bound    bool      `json:"bound"`
		Created  time.Time `json:"created_at"`
		LastUsed time.Time `json:"last_used_at"`
		Uses     uint64    `json:"uses"`
	}
)

// client makes the client; where it is nil, what is wrong was told.
func (p process) client() *adminClient {
	c, err := newAdminClient(p)
	if err != nil {
		fmt.Fprintln(p.stderr, err)
		return nil
	}
	return c
}

// query is what list and end are asked for.
func (f *sessionFlags) query() url.Values {
	q := url.Values{}
	for name, value := range map[string]string{"sub": f.sub, "client": f.client, "issuer": f.issuer} {
		if value != "" {
			q.Set(name, value)
		}
	}
	return q
}

// runSessionsList prints sessions page by page, as they come.
func runSessionsList(ctx context.Context, p process, f *sessionFlags, _ []string) int {
	c := p.client()
	if c == nil {
		return exitUsage
	}
	defer c.close()
	out := bufio.NewWriter(p.stdout)
	show := (&sessionTable{to: out, now: time.Now()}).page
	if f.json {
		show = func(page []json.RawMessage) error { return printLines(out, page) }
	}
	left, seen := f.limit, 0
	for q := f.query(); ; {
		want := pageOfList
		if left > 0 {
			want = min(want, left)
		}
		q.Set("limit", strconv.Itoa(want))
		var page listedPage
		err := c.read(ctx, http.MethodGet, "/sessions", q, &page)
		if err == nil {
			err = show(page.Sessions)
		}
		if err == nil {
			err = out.Flush()
		}
		if err != nil {
			return p.fail(err)
		}
		seen += len(page.Sessions)
		if f.limit > 0 {
			left -= len(page.Sessions)
		}
		if page.Next == "" || f.limit > 0 && left <= 0 {
			break
		}
		q.Set("cursor", page.Next)
	}
	if seen == 0 && !f.json {
		fmt.Fprintln(p.stderr, "no sessions")
	}
	return exitGood
}

func printLines(out io.Writer, page []json.RawMessage) error {
	for _, s := range page {
		if _, err := fmt.Fprintf(out, "%s\n", s); err != nil {
			return err
		}
	}
	return nil
}

// runSessionsShow prints one session.
func runSessionsShow(ctx context.Context, p process, f *sessionFlags, arguments []string) int {
	if len(arguments) == 0 {
		return p.misused("sessions show: which one? `ort-gateway sessions list` prints their ids")
	}
	if !isSessionID(arguments[0]) {
		return p.fail(fmt.Errorf("%w: %s is no session's id", errNoSuch, quoted(arguments[0])))
	}
	c := p.client()
	if c == nil {
		return exitUsage
	}
	defer c.close()
	var raw json.RawMessage
	if err := c.read(ctx, http.MethodGet, "/sessions/"+arguments[0], nil, &raw); err != nil {
		return p.fail(err)
	}
	if f.json {
		return p.printed(printLines(p.stdout, []json.RawMessage{raw}))
	}
	var s listedSession
	if err := json.Unmarshal(raw, &s); err != nil {
		return p.fail(errUnreadable)
	}
	return p.printed(printSession(p.stdout, &s, time.Now()))
}

// isSessionID keeps other texts from becoming another path of the API.
func isSessionID(s string) bool {
	return s != "" && strings.Trim(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_") == ""
}

func (p process) printed(err error) int {
	if err != nil {
		return p.fail(err)
	}
	return exitGood
}

// runSessionsEnd ends one session, or those of a user.
func runSessionsEnd(ctx context.Context, p process, f *sessionFlags, arguments []string) int {
	path := "/sessions"
	switch {
	case len(arguments) == 1 && len(f.query()) > 0:
		return p.misused("sessions end: give a session's id or --sub, not both")
	case len(arguments) == 1 && !isSessionID(arguments[0]):
		return p.fail(fmt.Errorf("%w: %s is no session's id; all sessions of a user end by --sub", errNoSuch, quoted(arguments[0])))
	case len(arguments) == 1:
		path += "/" + arguments[0]
	case f.sub == "":
		return p.misused("sessions end: give a session's id, or --sub for all sessions of a user")
	}
	c := p.client()
	if c == nil {
		return exitUsage
	}
	defer c.close()
	var raw json.RawMessage
	var answer struct{ Ended int }
	err := c.read(ctx, http.MethodDelete, path, f.query(), &raw)
	switch {
	case err != nil:
		return p.fail(err)
	case json.Unmarshal(raw, &answer) != nil:
		return p.fail(errUnreadable)
	case f.json:
		return p.printed(printLines(p.stdout, []json.RawMessage{raw}))
	case answer.Ended == 0:
		fmt.Fprintln(p.stdout, "nothing to end: no such session is alive")
	default:
		fmt.Fprintln(p.stdout, "ended "+counted(answer.Ended, "session"))
	}
	return exitGood
}

func counted(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return strconv.Itoa(n) + " " + what + "s"
}

// runSessionsBackup copies the embedded store of the running gateway into a file.
func runSessionsBackup(ctx context.Context, p process, f *sessionFlags, arguments []string) int {
	if len(arguments) == 0 || arguments[0] == "" {
		return p.misused("sessions backup: into which file?")
	}
	c := p.client()
	if c == nil {
		return exitUsage
	}
	defer c.close()
	var size int64
	place := writeNew
	if f.keep > 0 {
		place = func(path string, write func(io.Writer) error) error { return writeKept(path, f.keep, write) }
	}
	err := place(arguments[0], func(to io.Writer) error {
		resp, err := c.do(ctx, http.MethodGet, "/backup", nil)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		size, err = io.Copy(to, resp.Body)
		switch {
		case errors.Is(err, io.ErrUnexpectedEOF), err == nil && size != resp.ContentLength:
			return fmt.Errorf("the gateway at %s broke the copy off after %d bytes", c.addr, size)
		}
		return err
	})
	if err != nil {
		return p.fail(err)
	}
	fmt.Fprintf(p.stdout, "%s: %d bytes; it opens with the sealing keys of this gateway alone, so keep those too\n", arguments[0], size)
	return exitGood
}
