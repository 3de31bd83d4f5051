package app

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/ort-gateway/ort-gateway/sessions"
)

const sessionsUsage = `ort-gateway sessions list|show|end|backup ask the running gateway, at ORT_ADMIN_ADDR with ORT_ADMIN_TOKEN (or
ORT_ADMIN_TOKEN_FILE). Sessions that ended are shown until their absolute deadline.

  ort-gateway sessions list [--sub S] [--client C] [--issuer I] [--limit N] [--json]
                        all sessions, or those of a user, of a client, of an issuer; N of them at most.
                        --json prints one session a line
  ort-gateway sessions show ID [--json]
                        everything about one session but its secrets
  ort-gateway sessions end ID [--json]
  ort-gateway sessions end --sub S [--client C] [--issuer I] [--json]
                        end it, or those of a user: at once, in every tab, and the user's single sign-on with them
  ort-gateway sessions backup [--keep N] FILE
                        a copy of the embedded store while the gateway works; keep its .key file beside it. --keep
                        replaces a FILE that is there, which becomes FILE.1 and so on: the last N copies are kept

export and import work on ORT_STORE_URL itself, with the whole environment of the gateway, which is stopped:

  ort-gateway sessions export FILE
                        everything that lives on into FILE, sealed with ORT_SEALING_KEYS (embedded store: its .key file)
  ort-gateway sessions import FILE
                        into an empty store, all or nothing. ORT_SEALING_KEYS has to hold every key of the exporting
                        gateway: of an embedded store with a key of its own, ORT_SEALING_KEYS_FILE=….key does

Exit codes: 0 done; 1 it failed, or there is no such session; 2 a wrong setting or command line.
`

// sessionFlags are the options of the subcommands; each takes those that it names.
type sessionFlags struct {
	sub, client, issuer string
	limit, keep         int
	json                bool
}

// sessionCommand is one subcommand of sessions.
type sessionCommand struct {
	flags     string // names of the options that it takes, with spaces around
	arguments int    // at most
	run       func(context.Context, process, *sessionFlags, []string) int
}

func sessionCommands() map[string]sessionCommand {
	return map[string]sessionCommand{
		"list":   {" sub client issuer limit json ", 0, runSessionsList},
		"show":   {" json ", 1, runSessionsShow},
		"end":    {" sub client issuer json ", 1, runSessionsEnd},
		"backup": {" keep ", 1, runSessionsBackup},
		"export": {"", 1, runSessionsExport},
		"import": {"", 1, runSessionsImport},
	}
}

// runSessions runs a subcommand of sessions.
func runSessions(ctx context.Context, p process) int {
	name := ""
	if len(p.args) > 0 {
		name = p.args[0]
	}
	if name == "help" || name == "-h" || name == "--help" {
		fmt.Fprint(p.stdout, sessionsUsage)
		return exitGood
	}
	command, known := sessionCommands()[name]
	if !known {
		return p.misused("unknown command sessions " + quoted(name))
	}
	flags, arguments, err := command.parse(p.args[1:])
	switch {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(p.stdout, sessionsUsage)
		return exitGood
	case err != nil:
		return p.misused("sessions " + name + ": " + err.Error())
	}
	ctx, _, stop := withSignals(ctx)
	defer stop()
	return command.run(ctx, p, flags, arguments)
}

// misused says what is wrong with the command line.
func (p process) misused(text string) int {
	fmt.Fprintf(p.stderr, "ort-gateway: %s\n\n%s", text, sessionsUsage)
	return exitUsage
}

// idLength is the length of a session's id.
var idLength = len(sessions.NewID())

// dashedIDs takes ids out that begin with a dash, as one of 64 does: they would
// pass for options.
func dashedIDs(args []string) (ids, rest []string) {
	for i, arg := range args {
		value := i > 0 && slices.Contains([]string{"sub", "client", "issuer"}, strings.TrimLeft(args[i-1], "-"))
		if strings.HasPrefix(arg, "-") && len(arg) == idLength && isSessionID(arg) && !value {
			ids = append(ids, arg)
		} else {
			rest = append(rest, arg)
		}
	}
	return ids, rest
}

// parse takes options before and behind arguments, as people write them.
func (c *sessionCommand) parse(args []string) (*sessionFlags, []string, error) {
	f := &sessionFlags{}
	set := flag.NewFlagSet("", flag.ContinueOnError)
	set.SetOutput(io.Discard)
	takes := func(name string) bool { return strings.Contains(c.flags, " "+name+" ") }
	for name, text := range map[string]*string{"sub": &f.sub, "client": &f.client, "issuer": &f.issuer} {
		if takes(name) {
			set.StringVar(text, name, "", "")
		}
	}
	for name, number := range map[string]*int{"limit": &f.limit, "keep": &f.keep} {
		if takes(name) {
			set.IntVar(number, name, 0, "")
		}
	}
	if takes("json") {
		set.BoolVar(&f.json, "json", false, "")
	}
	arguments, args := dashedIDs(args)
	for len(args) > 0 {
		if err := set.Parse(args); err != nil {
			return nil, nil, err
		}
		rest := set.Args()
		literal := len(args) > len(rest) && args[len(args)-len(rest)-1] == "--"
		n := min(1, len(rest))
		if literal {
			n = len(rest)
		}
		arguments, args = append(arguments, rest[:n]...), rest[n:]
	}
	var wrong error
	set.Visit(func(one *flag.Flag) {
		switch {
		case one.Value.String() == "":
			wrong = fmt.Errorf("--%s is empty", one.Name)
		case one.Name == "limit" && f.limit < 1, one.Name == "keep" && f.keep < 1:
			wrong = fmt.Errorf("--%s is not a number above 0", one.Name)
		}
	})
	if wrong == nil && len(arguments) > c.arguments {
		wrong = fmt.Errorf("%s is one argument too many", quoted(arguments[c.arguments]))
	}
	return f, arguments, wrong
}
