package idp

import (
	"net/http"
	"slices"
)

// cors answers scripts of the clients' own origins, as most providers do: a
// fixed list of header fields, without DPoP, which is not known here. Cookies
// are never part of it.
func (p *Provider) cors(next http.Handler) http.Handler {
	var origins []string
	for _, c := range p.config.Clients {
		origins = append(origins, c.Origins...)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Add("Vary", "Origin")
		allowed := slices.Contains(origins, r.Header.Get("Origin"))
		if allowed {
			w.Header().Set("Access-Control-Allow-Origin", r.Header.Get("Origin"))
		}
		if r.Method != http.MethodOptions {
			next.ServeHTTP(w, r)
			return
		}
		if allowed {
			w.Header().Set("Access-Control-Allow-Methods", "GET, POST")
			w.Header().Set("Access-Control-Allow-Headers", "Authorization, Content-Type")
			w.Header().Set("Access-Control-Max-Age", "600")
		}
		w.WriteHeader(http.StatusNoContent)
	})
}

// anyOrigin is for documents that are public: discovery and keys.
func anyOrigin(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Access-Control-Allow-Origin", "*")
		next.ServeHTTP(w, r)
	})
}
