package ortengine

import (
	"context"
	"log/slog"
	"slices"
	"strings"

	"github.com/ort-gateway/ort-gateway/sessions"
)

// issued tells of a code exchange whose answer is handed over.
func (e *Engine) issued(ctx context.Context, i *Issued, client string) {
	e.Metrics.Issued(i.result)
	if i.Token != "" {
		e.Logger.LogAttrs(ctx, slog.LevelInfo, "ort_issued", slog.String("client", client),
			slog.String("session", string(i.Session.ID)), slog.String("subject", e.subjectHash(&i.Session)))
	}
}

// CodeRefused tells of a code exchange that was refused.
func (e *Engine) CodeRefused(ctx context.Context, why *Error, client string) {
	result := why.Result
	if result == "dpop" { // the proof's own error knows nothing of what it came with
		result = "refused_dpop"
	}
	e.Metrics.Issued(result)
	e.refused(ctx, why, slog.String("at", "code"), slog.String("client", client))
}

// ExchangeRefused tells of an ORT exchange that was refused; o is nil where the
// token did not open.
func (e *Engine) ExchangeRefused(ctx context.Context, why *Error, o *ORT, t Timing) {
	e.exchangeCounted(why.Result, t)
	attrs := []slog.Attr{slog.String("at", "exchange")}
	if o != nil {
		attrs = append(attrs, slog.String("client", o.Client), slog.String("session", string(o.Session)))
	}
	if o == nil && why.Status < 500 { // anybody can send a token that is none
		e.Logger.LogAttrs(ctx, slog.LevelDebug, "ort_refused", append(attrs, slog.String("result", why.Result), slog.String("why", why.Description))...)
		return
	}
	e.refused(ctx, why, attrs...)
}

// ExchangePassed tells of an ORT exchange whose answer was the upstream's.
func (e *Engine) ExchangePassed(ctx context.Context, x Exchanged, t Timing) {
	if x.Answer.Status != 200 {
		e.exchangeCounted("upstream_refused", t)
		e.Logger.LogAttrs(ctx, slog.LevelInfo, "ort_refused", slog.String("at", "exchange"), slog.String("client", x.Grant.Client),
			slog.String("session", string(x.Grant.Session)), slog.String("subject", e.subjectHash(&x.Session)),
			slog.String("result", "upstream_refused"), slog.Int("status", x.Answer.Status))
		return
	}
	e.exchangeCounted("ok", t)
	if e.Logger.Enabled(ctx, slog.LevelInfo) {
		e.Logger.LogAttrs(ctx, slog.LevelInfo, "ort_exchanged", slog.String("client", x.Grant.Client),
			slog.String("session", string(x.Session.ID)), slog.String("subject", e.subjectHash(&x.Session)))
	}
}

func (e *Engine) refused(ctx context.Context, why *Error, attrs ...slog.Attr) {
	level := slog.LevelInfo
	if why.Status >= 500 {
		level = slog.LevelWarn
	}
	if why.subject != "" {
		attrs = append(attrs, slog.String("subject", why.subject))
	}
	attrs = append(attrs, slog.String("result", why.Result), slog.String("why", why.Description))
	if why.Cause != nil {
		attrs = append(attrs, slog.Any("error", why.Cause))
	}
	e.Logger.LogAttrs(ctx, level, "ort_refused", attrs...)
}

// ended tells of an end, and of the session's clients as far as it still knows
// them, for its grants are gone: those that ID tokens named to it, and those whose
// credentials it owes to the upstream.
func (e *Engine) ended(ctx context.Context, s *sessions.Session) {
	e.Metrics.SessionEnded(string(s.End.Reason))
	var clients []string
	know := func(client string) {
		if !slices.Contains(clients, client) {
			clients = append(clients, client)
		}
	}
	for _, u := range s.Subjects {
		know(u.Client)
	}
	for _, o := range s.Owed {
		know(o.Client)
	}
	e.Logger.LogAttrs(ctx, slog.LevelInfo, "session_ended", slog.String("session", string(s.ID)),
		slog.String("reason", string(s.End.Reason)), slog.String("client", strings.Join(clients, ",")), slog.String("subject", e.subjectHash(s)))
}
