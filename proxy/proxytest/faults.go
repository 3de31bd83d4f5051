package proxytest

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
)

// Fault is what an endpoint does in place of what it should. well is the endpoint
// as it should be.
type Fault func(w http.ResponseWriter, r *http.Request, well http.Handler)

// planned is a fault for the next requests of a path, or for all.
type planned struct {
	fault  Fault
	always bool
}

// Next plans faults for the next requests at a path, one each, in this order. A nil
// fault: that request is answered well.
func (p *IdP) Next(path string, faults ...Fault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, f := range faults {
		p.faults[path] = append(p.faults[path], planned{fault: f})
	}
}

// Always plans a fault for every request at a path, until [IdP.Heal].
func (p *IdP) Always(path string, f Fault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.faults[path] = []planned{{f, true}}
}

// Heal forgets what was planned.
func (p *IdP) Heal() {
	p.mu.Lock()
	defer p.mu.Unlock()
	clear(p.faults)
}

// planned takes the fault of a request, nil: none.
func (p *IdP) planned(path string) Fault {
	list := p.faults[path]
	if len(list) == 0 {
		return nil
	}
	if !list[0].always {
		p.faults[path] = list[1:]
	}
	return list[0].fault
}

// Answer is an answer of that status and body, whatever was asked.
func Answer(status int, body string) Fault {
	return func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		io.WriteString(w, body)
	}
}

// Error is an OAuth error.
func Error(status int, code string) Fault {
	return Answer(status, `{"error":"`+code+`","error_description":"made for a test"}`)
}

// Down breaks the connection before anything is done.
func Down(http.ResponseWriter, *http.Request, http.Handler) { panic(http.ErrAbortHandler) }

// Lost does what was asked, and breaks the connection in place of answering.
func Lost(_ http.ResponseWriter, r *http.Request, well http.Handler) {
	well.ServeHTTP(httptest.NewRecorder(), r)
	panic(http.ErrAbortHandler)
}

// Held does what was asked, and answers when release is closed or the client has
// left.
func Held(release <-chan struct{}) Fault {
	return func(w http.ResponseWriter, r *http.Request, well http.Handler) {
		answer := httptest.NewRecorder()
		well.ServeHTTP(answer, r)
		select {
		case <-release:
			copyAnswer(w, answer, answer.Body.Bytes())
		case <-r.Context().Done():
		}
	}
}

// Edited does what was asked, and answers with the body that edit makes of its own.
func Edited(edit func(body []byte) []byte) Fault {
	return func(w http.ResponseWriter, r *http.Request, well http.Handler) {
		answer := httptest.NewRecorder()
		well.ServeHTTP(answer, r)
		copyAnswer(w, answer, edit(answer.Body.Bytes()))
	}
}

// Twice answers with the JSON object that it should, two times in a row.
func Twice(w http.ResponseWriter, r *http.Request, well http.Handler) {
	Edited(func(body []byte) []byte { return append(bytes.Clone(body), body...) })(w, r, well)
}

// With puts a member into the answer, in place of its own of that name; nil takes
// it out.
func With(name string, value any) Fault {
	return Edited(func(body []byte) []byte {
		var m map[string]any
		if json.Unmarshal(body, &m) != nil {
			return body
		}
		if m[name] = value; value == nil {
			delete(m, name)
		}
		b, _ := json.Marshal(m)
		return b
	})
}

// RotatedTwice answers a refresh, and then uses up the refresh token that it has
// just given, as if another had come with it: the next use of it ends the family.
func (p *IdP) RotatedTwice(w http.ResponseWriter, r *http.Request, well http.Handler) {
	answer := httptest.NewRecorder()
	well.ServeHTTP(answer, r)
	var given struct {
		RefreshToken string `json:"refresh_token"`
	}
	json.Unmarshal(answer.Body.Bytes(), &given)
	p.mu.Lock()
	if f := p.refresh[given.RefreshToken]; f != nil {
		p.current[f] = "used by somebody else"
	}
	p.mu.Unlock()
	copyAnswer(w, answer, answer.Body.Bytes())
}

// RedirectError answers an authorization request with an error, delivered to the
// client's redirect_uri.
func RedirectError(code string) Fault {
	return func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
		q := r.URL.Query()
		if raw, _ := io.ReadAll(r.Body); !q.Has("client_id") {
			q, _ = url.ParseQuery(strings.TrimSpace(string(raw)))
		}
		respond(w, r, q, url.Values{"error": {code}})
	}
}

func copyAnswer(w http.ResponseWriter, answer *httptest.ResponseRecorder, body []byte) {
	for name, values := range answer.Header() {
		w.Header()[name] = values
	}
	w.WriteHeader(answer.Code)
	w.Write(body)
}
