package main

import (
	"embed"
	"encoding/json"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"time"
)

//go:embed spa
var spaFiles embed.FS

// demoApp is one of the two apps: the same files, another client.
type demoApp struct {
	clientID string
	name     string
	origin   string
}

func newApps(one, two net.Listener) []*demoApp {
	return []*demoApp{
		{clientID: "app-one", name: "Notebook", origin: "http://" + one.Addr().String()},
		{clientID: "app-two", name: "Gallery", origin: "http://" + two.Addr().String()},
	}
}

// appHandler serves one app: its files, its configuration, and what the page
// shows beside the app.
func (w *world) appHandler(i int) http.Handler {
	files, err := fs.Sub(spaFiles, "spa")
	if err != nil {
		panic(err) // the directory is embedded
	}
	mux := http.NewServeMux()
	mux.Handle("GET /", http.FileServerFS(files))
	mux.HandleFunc("GET /demo/config.json", func(rw http.ResponseWriter, _ *http.Request) { w.appConfig(rw, i) })
	mux.HandleFunc("GET /demo/events", w.events)
	mux.HandleFunc("POST /demo/state", func(rw http.ResponseWriter, r *http.Request) { w.appState(rw, r, i) })
	return w.guard(i, mux)
}

// guard sets what every app should be served with: nothing but its own files
// runs in the page, and the page speaks to nobody but the gateway. A script
// that gets in anyway cannot take the key: it is not extractable.
func (w *world) guard(i int, next http.Handler) http.Handler {
	policy := fmt.Sprintf("default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self' %s; "+
		"base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'", w.origin)
	own := w.apps[i].origin
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		h := rw.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Cache-Control", "no-cache")
		// Another name for this address (DNS rebinding) gets nothing.
		if "http://"+r.Host != own {
			http.Error(rw, "open "+own, http.StatusMisdirectedRequest)
			return
		}
		next.ServeHTTP(rw, r)
	})
}

// appConfig is what the page must know: what a real app would have built in,
// and how the demo is set up.
func (w *world) appConfig(rw http.ResponseWriter, i int) {
	own, other := w.apps[i], w.apps[1-i]
	rw.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(rw).Encode(map[string]any{
		"issuer":      w.origin,
		"clientId":    own.clientID,
		"redirectUri": own.origin + "/",
		"scope":       "openid profile email online_access",
		"demo": map[string]any{
			"name": own.name, "number": i + 1,
			"otherName": other.name, "otherClientId": other.clientID, "otherUrl": other.origin + "/",
			"idle": w.options.idle.Seconds(), "absolute": w.options.absolute.Seconds(),
		},
	})
}

// appState takes the state that a page shows, and passes it to the other
// app's page. It holds no token.
func (w *world) appState(rw http.ResponseWriter, r *http.Request, i int) {
	if r.Header.Get("Origin") != w.apps[i].origin {
		http.Error(rw, "another origin", http.StatusForbidden)
		return
	}
	var state struct {
		State  string  `json:"state"` // in, out, ended, closed
		User   string  `json:"user"`
		Reason string  `json:"reason"`
		Idle   float64 `json:"idle"`     // Unix milliseconds
		Total  float64 `json:"absolute"` // Unix milliseconds
		App    string  `json:"app"`
	}
	if err := json.NewDecoder(http.MaxBytesReader(rw, r.Body, 4<<10)).Decode(&state); err != nil {
		http.Error(rw, "no JSON", http.StatusBadRequest)
		return
	}
	state.App = w.apps[i].clientID
	data, err := json.Marshal(state)
	if err != nil {
		http.Error(rw, "no JSON", http.StatusBadRequest)
		return
	}
	w.panel.publish("peer "+state.App, event{"peer", data})
	rw.WriteHeader(http.StatusNoContent)
}

// events sends the panel as server-sent events, the past first.
func (w *world) events(rw http.ResponseWriter, r *http.Request) {
	rw.Header().Set("Content-Type", "text/event-stream")
	out := http.NewResponseController(rw)
	past, next, end := w.panel.subscribe()
	defer end()
	for _, e := range past {
		fmt.Fprintf(rw, "event: %s\ndata: %s\n\n", e.name, e.data)
	}
	heartbeat := time.NewTicker(20 * time.Second)
	defer heartbeat.Stop()
	for {
		if err := out.Flush(); err != nil {
			return
		}
		select {
		case e := <-next:
			fmt.Fprintf(rw, "event: %s\ndata: %s\n\n", e.name, e.data)
		case <-heartbeat.C:
			fmt.Fprint(rw, ": still here\n\n")
		case <-r.Context().Done():
			return
		}
	}
}
