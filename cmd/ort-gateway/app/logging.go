package app

import (
	"context"
	"io"
	"log"
	"log/slog"
	"regexp"
	"strings"

	"github.com/ort-gateway/ort-gateway/proxy"
)

// newLogger makes the program's logger: one line an event, to w.
func newLogger(w io.Writer, s *Settings) *slog.Logger {
	options := &slog.HandlerOptions{Level: s.LogLevel}
	if s.LogFormat == "text" {
		return slog.New(withRequest{slog.NewTextHandler(w, options)})
	}
	return slog.New(withRequest{slog.NewJSONHandler(w, options)})
}

// withRequest adds to a line the ids of the request that its context belongs to, and of its trace.
type withRequest struct{ slog.Handler }

// Handle adds the ids, where there are any.
func (h withRequest) Handle(ctx context.Context, r slog.Record) error {
	if id := proxy.RequestID(ctx); id != "" {
		r.AddAttrs(slog.String("request_id", id))
	}
	if id := proxy.TraceID(ctx); id != "" {
		r.AddAttrs(slog.String("trace_id", id))
	}
	return h.Handler.Handle(ctx, r)
}

// WithAttrs goes on adding them.
func (h withRequest) WithAttrs(a []slog.Attr) slog.Handler {
	return withRequest{h.Handler.WithAttrs(a)}
}

// WithGroup goes on adding them.
func (h withRequest) WithGroup(name string) slog.Handler {
	return withRequest{h.Handler.WithGroup(name)}
}

// redirectStandardLogger sends what libraries write through package log into logger, and gives back a function that
// undoes it.
func redirectStandardLogger(logger *slog.Logger) (undo func()) {
	flags, prefix, writer := log.Flags(), log.Prefix(), log.Writer()
	log.SetFlags(0)
	log.SetPrefix("")
	log.SetOutput(&libraryLog{logger})
	return func() {
		log.SetFlags(flags)
		log.SetPrefix(prefix)
		log.SetOutput(writer)
	}
}

// libraryLogger is a logger for http.Server.ErrorLog and its like.
func libraryLogger(logger *slog.Logger) *log.Logger { return log.New(&libraryLog{logger}, "", 0) }

// libraryLog turns lines of the standard logger into events. Such a line may hold anything that a client or an upstream
// sent: a URL with a code in it, a panic's value, the first bytes of a broken answer. So none of its text passes but a
// beginning that is known; the rest is withheld.
type libraryLog struct{ logger *slog.Logger }

// libraryLines are the beginnings of lines that are known to come up, and how loud they are. The end of each is fixed
// text of the library, so that nothing that varies is in it.
var libraryLines = []struct {
	begins string
	level  slog.Level
}{
	{"http: TLS handshake error", slog.LevelDebug}, // every port scan makes one
	{"http2: server", slog.LevelDebug},
	{"http: URL query contains semicolon", slog.LevelDebug},
	{"http: Accept error", slog.LevelError},
	{"http: superfluous response.WriteHeader call", slog.LevelWarn},
	{"http: response.WriteHeader on hijacked connection", slog.LevelWarn},
	{"http: response.Write on hijacked connection", slog.LevelWarn},
	{"http: panic serving", slog.LevelError},
	{"http2: panic serving", slog.LevelError},
	{"http: proxy error", slog.LevelWarn},
	{"httputil: ReverseProxy read error during body copy", slog.LevelWarn},
	{"suppressing panic for copyResponse error in test", slog.LevelWarn},
	{"Unsolicited response received on idle HTTP channel", slog.LevelWarn},
	{"protocol error: received", slog.LevelWarn},
}

// Write logs one message of package log.
func (l *libraryLog) Write(line []byte) (int, error) {
	text := string(line)
	for _, known := range libraryLines {
		if !strings.HasPrefix(text, known.begins) {
			continue
		}
		var more []any
		if strings.Contains(known.begins, "panic") {
			more = append(more, "stack", stackIn(text))
		}
		l.logger.Log(context.Background(), known.level, known.begins, more...)
		return len(line), nil
	}
	l.logger.Warn("a library's message is withheld, as it may hold secrets", "bytes", len(line))
	return len(line), nil
}

var stackLine = regexp.MustCompile(`^\t\S+/([^/\s]+/[^/\s]+\.go:\d+)(?: \+0x[0-9a-f]+)?$`)

// stackIn takes the places in the source out of a panic's message, at most 20, and leaves its value and arguments.
func stackIn(text string) []string {
	// The panic's value comes first and may be of any form.
	_, trace, _ := cutLast(text, "\ngoroutine ")
	var places []string
	for line := range strings.SplitSeq(trace, "\n") {
		if m := stackLine.FindStringSubmatch(line); m != nil && len(places) < 20 {
			places = append(places, m[1])
		}
	}
	return places
}

func cutLast(s, sep string) (before, after string, found bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}
