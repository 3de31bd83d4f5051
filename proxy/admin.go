package proxy

import (
	"net/http"

	"github.com/gorilla/mux"
)

// AdminConfig is what the admin listener serves.
type AdminConfig struct {
	Live, Ready http.HandlerFunc
	Metrics     http.Handler
	Sessions    AdminSessions
}

// Admin routes the admin listener.
func Admin(c AdminConfig) http.Handler {
	r := mux.NewRouter()
	r.Path("/livez").Methods(http.MethodGet, http.MethodHead).HandlerFunc(c.Live)
	r.Path("/readyz").Methods(http.MethodGet, http.MethodHead).HandlerFunc(c.Ready)
	r.Path("/metrics").Methods(http.MethodGet, http.MethodHead).Handler(c.Metrics)
	c.Sessions.mount(r)
	return r
}
