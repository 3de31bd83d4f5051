package app

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"
	"unicode/utf8"
)

// sessionTable prints sessions below one another. Its columns keep the width of the widest page so far.
type sessionTable struct {
	to     io.Writer
	now    time.Time
	widths []int
}

var sessionColumns = []string{"SESSION", "USER", "CLIENTS", "STARTED", "LAST USED", "EXPIRES", "STATE"}

// widestColumn cuts long names: `show` prints them whole.
const widestColumn = 36

func (t *sessionTable) page(page []json.RawMessage) error {
	var rows [][]string
	if t.widths == nil && len(page) > 0 {
		t.widths = make([]int, len(sessionColumns))
		rows = append(rows, sessionColumns)
	}
	for _, raw := range page {
		var s listedSession
		if err := json.Unmarshal(raw, &s); err != nil {
			return errUnreadable
		}
		rows = append(rows, sessionRow(&s, t.now))
	}
	for _, row := range rows {
		for i := range row {
			if i > 0 { // the id is what other commands take: never cut
				row[i] = shortened(row[i])
			}
			t.widths[i] = max(t.widths[i], utf8.RuneCountInString(row[i]))
		}
	}
	for _, row := range rows {
		var line strings.Builder
		for i, cell := range row {
			fmt.Fprintf(&line, "%-*s  ", t.widths[i], cell)
		}
		if _, err := fmt.Fprintln(t.to, strings.TrimRight(line.String(), " ")); err != nil {
			return err
		}
	}
	return nil
}

func shortened(s string) string {
	if utf8.RuneCountInString(s) <= widestColumn {
		return s
	}
	return string([]rune(s)[:widestColumn-1]) + "…"
}

func sessionRow(s *listedSession, now time.Time) []string {
	row := []string{
		shown(s.ID), strings.Join(s.users(), ","), shown(strings.Join(s.Clients, ",")),
		ago(now, s.Started), ago(now, s.LastUsed), "-", "active",
	}
	if s.Ended != nil {
		row[6] = shown(s.Ended.Reason) + " " + ago(now, s.Ended.At)
	} else {
		row[5] = until(now, s.expires())
	}
	for i := range row {
		if row[i] == "" {
			row[i] = "-"
		}
	}
	return row
}

// users are the different names of the user.
func (s *listedSession) users() (names []string) {
	for _, u := range s.Subjects {
		if name := shown(u.Sub); !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

// expires is the next deadline.
func (s *listedSession) expires() time.Time {
	if s.Idle.Before(s.Absolute) {
		return s.Idle
	}
	return s.Absolute
}

// shown is text as it can stand on a terminal: nobody's name moves the cursor.
func shown(s string) string {
	return strings.Map(func(r rune) rune {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			return '·'
		}
		return r
	}, s)
}

func ago(now, t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return lasting(now.Sub(t)) + " ago"
}

func until(now, t time.Time) string {
	if !t.After(now) {
		return "now"
	}
	return "in " + lasting(t.Sub(now))
}

// lasting is a duration in its two largest units.
func lasting(d time.Duration) string {
	d = max(d, 0).Round(time.Second)
	units := []struct {
		name string
		size time.Duration
	}{{"d", 24 * time.Hour}, {"h", time.Hour}, {"m", time.Minute}, {"s", time.Second}}
	for i, u := range units {
		n := d / u.size
		if n == 0 && i < len(units)-1 {
			continue
		}
		text := fmt.Sprintf("%d%s", n, u.name)
		if i+1 < len(units)-1 {
			if rest := d % u.size / units[i+1].size; rest > 0 {
				text += fmt.Sprintf("%d%s", rest, units[i+1].name)
			}
		}
		return text
	}
	return ""
}

// printSession prints everything about one session.
func printSession(to io.Writer, s *listedSession, now time.Time) error {
	w := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
	line := func(name, text string) { fmt.Fprintf(w, "%s\t%s\n", name, text) }
	moment := func(t time.Time, relative string) string {
		return t.UTC().Format(time.RFC3339) + "  (" + relative + ")"
	}
	line("session", shown(s.ID))
	if s.Ended == nil {
		line("state", "active")
	} else {
		line("state", "ended: "+shown(s.Ended.Reason))
		line("ended", moment(s.Ended.At, ago(now, s.Ended.At)))
	}
	for _, u := range s.Subjects {
		line("user", fmt.Sprintf("%s  (%s at %s)", shown(u.Sub), shown(u.Client), shown(u.Issuer)))
	}
	if len(s.Subjects) == 0 {
		line("issuer", shown(strings.Join(s.Issuers, ", ")))
	}
	if s.AuthTime != nil {
		line("logged in", moment(*s.AuthTime, ago(now, *s.AuthTime)))
	}
	line("started", moment(s.Started, ago(now, s.Started)))
	line("last used", moment(s.LastUsed, ago(now, s.LastUsed)))
	if s.Ended == nil {
		line("idle until", moment(s.Idle, until(now, s.Idle)))
	}
	line("absolute until", moment(s.Absolute, until(now, s.Absolute)))
	if s.Owed > 0 {
		line("to give back", counted(s.Owed, "credential")+" of the identity provider")
	}
	if err := w.Flush(); err != nil || len(s.Grants) == 0 {
		return err
	}
	fmt.Fprintln(w, "\nCLIENT\tSCOPE\tKEY\tCREATED\tLAST USED\tUSES")
	for _, g := range s.Grants {
		key := "unbound"
		if g.Bound {
			key = "bound"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%d\n", shown(g.Client), shown(g.Scope), key, ago(now, g.Created), ago(now, g.LastUsed), g.Uses)
	}
	return w.Flush()
}
