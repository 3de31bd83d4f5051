package proxy

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/gorilla/mux"

	"github.com/ort-gateway/ort-gateway/ortengine"
	"github.com/ort-gateway/ort-gateway/sessions"
)

// AdminSessions is the session API of the admin listener:
//
//	GET    /sessions?sub=&client=&issuer=&limit=&cursor=   one page, {"sessions": […], "next": cursor}
//	GET    /sessions/{id}                                  one session, 404
//	DELETE /sessions/{id}                                  {"ended": 0 or 1}
//	DELETE /sessions?sub=&client=&issuer=                  {"ended": n}; sub has to be there
//	GET    /backup                                         a hot copy of the embedded store, 404 with another
//
// Each wants the bearer token (RFC 6750 section 2.1), and each, also one that is
// refused, is a line of the audit log.
type AdminSessions struct {
	Engine *ortengine.Engine
	// Token is the bearer token in force, asked at each request; empty: the API is
	// off, which looks as if it were not there.
	Token func() string
	// Backup makes a hot copy of the store and gives its length in bytes; nil where
	// the store has none.
	Backup func(context.Context) (io.ReadCloser, int64, error)
	// Busy says whether an error of Backup means that one is being made; nil: none does.
	Busy func(error) bool
	// Now is the clock, nil: time.Now.
	Now func() time.Time
}

const (
	adminAtOnce  = 8                // requests at work, and with them their memory; one more is refused
	adminAnswer  = 30 * time.Second // that the store may take, and again the client to take the answer
	adminRefusal = time.Second      // refused tokens have one audit line in this time
)

// adminAPI is AdminSessions at work.
type adminAPI struct {
	AdminSessions
	slots chan struct{}

	mu       sync.Mutex
	refusals int       // since the last line about them
	told     time.Time // when that was
}

func (c AdminSessions) mount(r *mux.Router) {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Token == nil {
		c.Token = func() string { return "" }
	}
	a := &adminAPI{AdminSessions: c, slots: make(chan struct{}, adminAtOnce)}
	routes := []struct {
		path, method, action string
		serve                adminEndpoint
	}{
		{"/sessions", http.MethodGet, "list", a.list},
		{"/sessions", http.MethodDelete, "end", a.endSubject},
		{"/sessions/{id}", http.MethodGet, "show", a.show},
		{"/sessions/{id}", http.MethodDelete, "end", a.end},
		{"/backup", http.MethodGet, "backup", a.backup},
	}
	for _, at := range routes {
		r.Path(at.path).Methods(at.method).Handler(a.endpoint(at.action, at.serve))
	}
	for path, allowed := range map[string]string{"/sessions": "GET, DELETE", "/sessions/{id}": "GET, DELETE", "/backup": "GET"} {
		r.Path(path).Handler(a.endpoint("other", func(w http.ResponseWriter, _ *http.Request, _ *ortengine.AdminAction) error {
			w.Header().Set("Allow", allowed)
			return refusal(http.StatusMethodNotAllowed, ortengine.InvalidRequest, "This path answers "+allowed+" alone")
		}))
	}
}

// adminEndpoint answers, and notes in did what the audit log is to know.
type adminEndpoint func(w http.ResponseWriter, r *http.Request, did *ortengine.AdminAction) error

// endpoint is what all of them have in common: the token, the bounds, the error
// and the audit line.
func (a *adminAPI) endpoint(action string, serve adminEndpoint) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token := a.Token() // once: it may change, and be none, at any moment
		if token == "" {
			writeError(w, notFound("api_off", "There is nothing here"))
			return
		}
		r = withNewIDs(r)
		did := ortengine.AdminAction{Action: action, Result: "ok", Remote: peerHost(r)}
		if !authorized(r, token) {
			w.Header().Set("WWW-Authenticate", `Bearer realm="sessions"`)
			writeError(w, refusal(http.StatusUnauthorized, "invalid_token", "The session API needs ORT_ADMIN_TOKEN as bearer token"))
			a.refused(r.Context(), did)
			return
		}
		err := a.bounded(w, r, &did, serve)
		if err != nil {
			e := ortengine.AsError(err)
			did.Result, did.Cause = e.Code, e.Cause
			if errors.Is(err, errHalfSent) {
				did.Result = "cut_off"
			} else {
				writeError(w, e)
			}
		}
		a.Engine.AdminActed(r.Context(), did)
	})
}

// authorized says whether a request has the bearer token. It compares hashes, so that
// the time tells neither content nor length.
func authorized(r *http.Request, want string) bool {
	fields := r.Header.Values("Authorization")
	if len(fields) != 1 {
		return false
	}
	token, ok := bearer(fields[0], "Bearer")
	has, needs := sha256.Sum256([]byte(token)), sha256.Sum256([]byte(want))
	return subtle.ConstantTimeCompare(has[:], needs[:]) == 1 && ok
}

// refused writes an audit line, unless it wrote one a moment ago: who may reach
// the listener must not fill the log. Those that had none are counted in the next.
func (a *adminAPI) refused(ctx context.Context, did ortengine.AdminAction) {
	a.mu.Lock()
	a.refusals++
	now := a.Now()
	if since := now.Sub(a.told); since >= 0 && since < adminRefusal {
		a.mu.Unlock()
		return
	}
	did.Result, did.Count = "invalid_token", a.refusals
	a.refusals, a.told = 0, now
	a.mu.Unlock()
	a.Engine.AdminActed(ctx, did)
}

// bounded serves within the bounds of time, memory and requests at work.
func (a *adminAPI) bounded(w http.ResponseWriter, r *http.Request, did *ortengine.AdminAction, serve adminEndpoint) error {
	select {
	case a.slots <- struct{}{}:
		defer func() { <-a.slots }()
	default:
		return ortengine.Unavailable("busy", "Too many requests are at work: try again", nil)
	}
	if did.Action != "backup" { // which the disk bounds, and the client that takes it
		ctx, cancel := context.WithTimeout(r.Context(), adminAnswer)
		defer cancel()
		r = r.WithContext(ctx)
	}
	to := http.NewResponseController(w)
	_ = to.SetWriteDeadline(time.Now().Add(2 * adminAnswer)) // the connection's own clock
	defer func() { _ = to.SetWriteDeadline(time.Time{}) }()  // the next request may be another's
	return serve(w, r, did)
}

func notFound(code, description string) *ortengine.Error {
	return refusal(http.StatusNotFound, code, description)
}

func peerHost(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}

// list is one page of sessions.
func (a *adminAPI) list(w http.ResponseWriter, r *http.Request, did *ortengine.AdminAction) error {
	q, err := sessionQuery(r, "sub", "client", "issuer", "limit", "cursor")
	if err != nil {
		return err
	}
	did.Subject, did.Client, did.Issuer = q.Subject, q.Client, q.Issuer
	page, err := a.Engine.Sessions(r.Context(), q)
	if err != nil {
		return err
	}
	did.Count = len(page.Sessions)
	issuerOf(did, page.Sessions)
	return writeAdmin(w, pageJSON(page))
}

// show is one session.
func (a *adminAPI) show(w http.ResponseWriter, r *http.Request, did *ortengine.AdminAction) error {
	if _, err := sessionQuery(r); err != nil {
		return err
	}
	id := sessions.ID(mux.Vars(r)["id"])
	s, err := a.Engine.ListedSession(r.Context(), id)
	if err != nil {
		return err
	}
	if s == nil {
		return notFound("unknown_session", "There is no session of this id, or it is past its absolute deadline")
	}
	did.Session, did.Count = s.ID, 1
	if len(s.Subjects) > 0 {
		did.Issuer, did.Subject = s.Subjects[0].Issuer, s.Subjects[0].Sub
	}
	return writeAdmin(w, sessionJSON(s))
}

// end ends one session. It is seen through although the client leaves.
func (a *adminAPI) end(w http.ResponseWriter, r *http.Request, did *ortengine.AdminAction) error {
	if _, err := sessionQuery(r); err != nil {
		return err
	}
	ctx, cancel := seenThrough(r)
	defer cancel()
	id := sessions.ID(mux.Vars(r)["id"])
	ended, err := a.Engine.EndByAdmin(ctx, id)
	if err != nil {
		return err
	}
	if ended {
		did.Session, did.Count = id, 1 // another text may be anything
	}
	return writeAdmin(w, endedJSON{did.Count})
}

// endSubject ends the sessions of a user.
func (a *adminAPI) endSubject(w http.ResponseWriter, r *http.Request, did *ortengine.AdminAction) error {
	q, err := sessionQuery(r, "sub", "client", "issuer")
	if err != nil {
		return err
	}
	if q.Subject == "" {
		return invalidRequest("sub is missing: name the user whose sessions end, or DELETE /sessions/{id}")
	}
	ctx, cancel := seenThrough(r)
	defer cancel()
	did.Subject, did.Client, did.Issuer = q.Subject, q.Client, q.Issuer
	if did.Issuer == "" {
		q.Limit = 1
		if page, err := a.Engine.Sessions(ctx, q); err == nil {
			issuerOf(did, page.Sessions)
		}
	}
	did.Count, err = a.Engine.EndSubjectByAdmin(ctx, q)
	if err != nil {
		return err
	}
	return writeAdmin(w, endedJSON{did.Count})
}

func seenThrough(r *http.Request) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(r.Context()), adminAnswer)
}

// errHalfSent says that an answer had begun: nothing more can be said in it.
var errHalfSent = errors.New("the client took only a part of the answer")

// backup gives a hot copy of the store out.
func (a *adminAPI) backup(w http.ResponseWriter, r *http.Request, did *ortengine.AdminAction) error {
	if _, err := sessionQuery(r); err != nil {
		return err
	}
	if a.Backup == nil {
		return notFound("no_backup", "Only the embedded store has a backup here; a shared one has its own")
	}
	copied, size, err := a.Backup(r.Context())
	switch {
	case err != nil && a.Busy != nil && a.Busy(err):
		return ortengine.Unavailable("busy", "Another backup is being made: try again", err)
	case err != nil:
		return ortengine.Unavailable("store_unavailable", "The copy could not be made: "+strings.ReplaceAll(err.Error(), "\n", "; "), err)
	}
	defer copied.Close()
	did.Count = int(size)
	h := w.Header()
	h.Set("Content-Type", "application/octet-stream")
	h.Set("Content-Disposition", `attachment; filename="ort-sessions-`+a.Now().UTC().Format("20060102T150405Z")+`.db"`)
	h.Set("Cache-Control", "no-store")
	setLength(h, size)
	if n, err := io.Copy(unhurried{w, http.NewResponseController(w)}, copied); err != nil || n != size {
		return ortengine.Unavailable("cut_off", "", errors.Join(errHalfSent, err))
	}
	return nil
}

// unhurried lets a slow client take as long as it takes something.
type unhurried struct {
	w  io.Writer
	to *http.ResponseController
}

func (u unhurried) Write(p []byte) (int, error) {
	_ = u.to.SetWriteDeadline(time.Now().Add(adminAnswer))
	return u.w.Write(p)
}
