package proxy

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ort-gateway/ort-gateway/ortengine"
	"github.com/ort-gateway/ort-gateway/sessions"
)

const (
	defaultPage = 50
	maxPage     = 500
	maxValue    = 1024 // of a query's value, in bytes

	cursorPrefix = "1:" // the form of cursors, so that it may change
)

// sessionQuery reads a query that may have these parameters and no other. A value
// that is not understood is an error that names its parameter: a misspelt filter
// would end or show the sessions of others.
func sessionQuery(r *http.Request, allowed ...string) (q ortengine.SessionQuery, err error) {
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return q, invalidRequest("The query cannot be read")
	}
	q.Limit = defaultPage
	for name, list := range values {
		switch {
		case !slices.Contains(allowed, name):
			return q, invalidRequest("Unknown parameter " + shownName(name) + knownNames(allowed))
		case len(list) > 1:
			return q, invalidRequest(name + " is there twice")
		case list[0] == "" || len(list[0]) > maxValue:
			return q, invalidRequest(name + " is empty or longer than 1024 bytes")
		}
		switch value := list[0]; name {
		case "sub":
			q.Subject = value
		case "client":
			q.Client = value
		case "issuer":
			q.Issuer = value
		case "limit":
			if q.Limit, err = strconv.Atoi(value); err != nil || q.Limit < 1 || q.Limit > maxPage {
				return q, invalidRequest("limit is not a number from 1 to " + strconv.Itoa(maxPage))
			}
		case "cursor":
			after, _ := base64.RawURLEncoding.DecodeString(value)
			q.After = sessions.ID(strings.TrimPrefix(string(after), cursorPrefix))
			if cursorOf(q.After) != value {
				return q, invalidRequest("cursor is none that this API gave")
			}
		}
	}
	return q, nil
}

// shownName is a parameter's name as far as it can stand in an answer.
func shownName(name string) string {
	if len(name) > 64 {
		name = name[:64] + "…"
	}
	return strconv.QuoteToASCII(name)
}

func knownNames(allowed []string) string {
	if len(allowed) == 0 {
		return ": there is none here"
	}
	return ": there are " + strings.Join(allowed, ", ")
}

// A page, a session and its parts as the API shows them: nothing that lets in
// (credentials, hashes of cookies, browsers) is among it.
type (
	pageView struct {
		Sessions []sessionView `json:"sessions"`
		Next     string        `json:"next,omitempty"` // cursor of the next page
	}
	sessionView struct {
		ID       string        `json:"id"`
		Issuers  []string      `json:"issuers"`
		Subjects []subjectView `json:"subjects"`
		Clients  []string      `json:"clients"`
		Grants   []grantView   `json:"grants"`
		Created  *time.Time    `json:"created_at"`
		AuthTime *time.Time    `json:"auth_time,omitempty"` // of the newest login, where an ID token told
		Started  *time.Time    `json:"started_at"`          // from when expires_at counts
		LastUsed *time.Time    `json:"last_used_at"`
		Idle     *time.Time    `json:"idle_expires_at"`
		Absolute *time.Time    `json:"expires_at"`
		Ended    *endView      `json:"ended,omitempty"`
		Owed     int           `json:"credentials_to_give_back,omitempty"`
	}
	subjectView struct {
		Issuer string `json:"issuer"`
		Client string `json:"client"`
		Sub    string `json:"sub"`
	}
	grantView struct {
		Client   string     `json:"client"`
		Issuer   string     `json:"issuer"`
		Scope    string     `json:"scope"`
		Bound    bool       `json:"bound"` // to a DPoP key
		Created  *time.Time `json:"created_at"`
		LastUsed *time.Time `json:"last_used_at"`
		Uses     uint64     `json:"uses"`
	}
	endView struct {
		At     *time.Time `json:"at"`
		Reason string     `json:"reason"`
	}
	endedJSON struct {
		Ended int `json:"ended"`
	}
)

// cursorOf is the cursor of what comes after a session.
func cursorOf(last sessions.ID) string {
	return base64.RawURLEncoding.EncodeToString([]byte(cursorPrefix + string(last)))
}

func pageJSON(p ortengine.SessionPage) pageView {
	v := pageView{Sessions: make([]sessionView, 0, len(p.Sessions))}
	for i := range p.Sessions {
		v.Sessions = append(v.Sessions, sessionJSON(&p.Sessions[i]))
	}
	if p.Next != "" {
		v.Next = cursorOf(p.Next)
	}
	return v
}

func sessionJSON(s *ortengine.ListedSession) sessionView {
	v := sessionView{
		ID: string(s.ID), Issuers: []string{}, Subjects: []subjectView{}, Clients: []string{}, Grants: []grantView{},
		Created: instant(s.Created), AuthTime: instant(s.AuthTime), Started: instant(s.Start), LastUsed: instant(s.LastUsed),
		Idle: instant(s.Idle), Absolute: instant(s.Absolute), Owed: len(s.Owed),
	}
	meet := func(issuer, client string) {
		v.Issuers, v.Clients = with(v.Issuers, issuer), with(v.Clients, client)
	}
	for _, u := range s.Subjects {
		v.Subjects = append(v.Subjects, subjectView(u))
		meet(u.Issuer, u.Client)
	}
	for _, g := range s.Grants {
		v.Grants = append(v.Grants, grantView{
			Client: g.Client, Issuer: g.Issuer, Scope: g.Scope, Bound: g.Thumbprint != "",
			Created: instant(g.Created), LastUsed: instant(g.LastUsed), Uses: g.Uses,
		})
		meet(g.Issuer, g.Client)
	}
	if s.Gone != nil {
		v.Ended = &endView{instant(s.Gone.At), string(s.Gone.Reason)}
	}
	return v
}

// with adds what is not there yet.
func with(list []string, one string) []string {
	if one == "" || slices.Contains(list, one) {
		return list
	}
	return append(list, one)
}

// instant is a time in whole seconds and UTC, nil where there is none.
func instant(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC().Truncate(time.Second)
	return &t
}

// writeAdmin is a good answer.
func writeAdmin(w http.ResponseWriter, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return err
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	setLength(h, int64(len(body)))
	if _, err := w.Write(body); err != nil {
		return ortengine.Unavailable("cut_off", "", errHalfSent)
	}
	return nil
}

func setLength(h http.Header, n int64) { h.Set("Content-Length", strconv.FormatInt(n, 10)) }

// issuerOf notes whose subject was asked for, where a session tells.
func issuerOf(did *ortengine.AdminAction, found []ortengine.ListedSession) {
	if did.Subject == "" || did.Issuer != "" || len(found) == 0 {
		return
	}
	for _, u := range found[0].Subjects {
		if u.Sub == did.Subject {
			did.Issuer = u.Issuer
			return
		}
	}
}
